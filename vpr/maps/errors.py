"""The errors of maps."""

from vpr.base.errors import VprError


class MapError(VprError):
    """A map, a list of positions or a track that is missing or damaged; the message names it and the remedy."""


class NoPosition(MapError):
    """A position of one photo that cannot be; the message says why. The photo is left out, the others are not."""
