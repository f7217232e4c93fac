"""Experiments: one module and one dataclass each; the class is the configuration's schema too."""
