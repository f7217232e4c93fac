"""What suite `huggingface` knows of transformers' models: configurations, inputs, small variants, generation."""
