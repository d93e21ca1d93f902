"""Options of work on a cluster."""

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

    cluster: str = option("", "work on a Ray cluster: HOST:PORT of its head, or local for one on this machine alone")

    def joined(self) -> AbstractContextManager[Cluster | None]:
        """Inside, the cluster; None where none is asked for. Errors as `vpr.cluster.connecting.joined`."""
        if not self.cluster:
            return nullcontext()
        from vpr.cluster.connecting import joined

        return joined(self.cluster)


@dataclass(frozen=True)
class ShardOptions(ClusterOptions):
    """More than one machine."""

    shards: PositiveInt | None = option(
        None, "parts that the descriptors are held in, with --cluster; one for each machine when left out"
    )

    def joined(self) -> AbstractContextManager[Cluster | None]:
        """As of all work on a cluster; VprError for shards without one."""
        if self.shards is not None and not self.cluster:
            raise VprError(f"--shards {self.shards} are parts on a cluster; pass --cluster local or HOST:PORT too")
        return super().joined()
