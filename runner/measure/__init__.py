"""The measuring engine: clocks, pairing, stopping, probes, memory, statistics. Knows neither Hydra nor the runner."""
