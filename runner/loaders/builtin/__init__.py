"""Built-in models: the catalogue, and one module per library or model of our own with its builder functions."""
