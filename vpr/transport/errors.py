"""The error of transport."""

from vpr.base.errors import VprError


class TransportError(VprError):
    """A transport problem that has no meaningful answer; the message names the argument and the remedy."""
