"""From a workload to a model in the ONNX format and a session of ONNX Runtime, and what is known of either."""
