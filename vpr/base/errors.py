"""The error that a command turns into one line."""


class VprError(ValueError):
    """Bad input to a model, run, cache or transport problem; the message names the thing and the remedy."""
