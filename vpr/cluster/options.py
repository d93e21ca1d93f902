"""Options for a cluster."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vpr.base.errors import VprError
from vpr.base.settings import PositiveInt, option

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from vpr.cluster.connecting import Cluster


@dataclass(frozen=True)
class ClusterOptions:
    """More than one machine."""

    cluster: str = option("", "use a Ray cluster: HOST:PORT of its head node, or local to start one on this machine")

    def connect(self) -> AbstractContextManager[Cluster | None]:
        """A context manager of the cluster; None without ``--cluster``. Errors as `vpr.cluster.connecting.connect`."""
        if not self.cluster:
            return nullcontext()
        from vpr.cluster.connecting import connect

        return connect(self.cluster)


@dataclass(frozen=True)
class ShardOptions(ClusterOptions):
    """More than one machine."""

    shards: PositiveInt | None = option(
        None, "number of shards for the descriptors, with --cluster; default: one per machine"
    )

    def connect(self) -> AbstractContextManager[Cluster | None]:
        """As `ClusterOptions.connect`; raises VprError for ``--shards`` without ``--cluster``."""
        if self.shards is not None and not self.cluster:
            remedy = "pass --cluster local or HOST:PORT too"
            raise VprError(f"--shards {self.shards} needs a cluster", thing="--shards", remedy=remedy)
        return super().connect()
