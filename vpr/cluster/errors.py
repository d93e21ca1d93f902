"""What goes wrong with a cluster."""

from vpr.base.errors import VprError


class ClusterError(VprError):
    """A cluster that does not answer, or that lost what it held; the message names the thing and the remedy."""
