"""Models of a pytorch/benchmark checkout through its own `Model` classes, offline and without lasting side effects."""
