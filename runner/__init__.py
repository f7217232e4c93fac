"""One declarative benchmark runner for PyTorch: suite x model x experiment x backend x device."""

__version__ = "0.1.0"
