"""The exceptions whose message is meant for the user; everything else is a defect or a model's own failure."""


class UsageError(ValueError):
    """The request makes no sense: what was given, what is allowed, what to do. Exit code 2."""


class Unsupported(Exception):  # noqa: N818 - reads as a statement at the raise site
    """The cell can't run here; the message names what is missing (a package with its pip command, data, a GPU)."""
