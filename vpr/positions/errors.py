"""The errors of maps."""

from vpr.base.errors import VprError


class MapError(VprError):
    """A map, a list of positions or a track that is missing or damaged; the message names it and the remedy."""


class ColumnError(MapError):
    """A list without the columns of positions."""


class NoPosition(MapError):
    """The position of a photo is invalid; the message says why. Only this photo is left out."""
