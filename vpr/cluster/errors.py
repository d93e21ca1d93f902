"""The error of clusters."""

from vpr.base.errors import VprError


class ClusterError(VprError):
    """A cluster that does not answer, or a shard that is lost or out of date."""
