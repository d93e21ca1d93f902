"""The options of evaluation, one dataclass for each group of a command's options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.machine import Device
from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveInt, option, output
from vpr.cache import PatchType
from vpr.models.settings import RUN, TRUST

Fusion = Literal["auto", "similarity", "trust", "reciprocal-rank"]
TableFormat = Literal["text", "csv", "markdown", "latex"]


@dataclass(frozen=True)
class SourceOptions:
    """Model and shortlist."""

    run: Path = option(Path("runs/distill"), RUN)
    shortlist: str = option(
        "student",
        "source of the shortlist: student, teacher, a file of predictions (.csv, .zip), or descriptors of another "
        "model (.h5, .npy, folder)",
    )
    rerank: bool = option(False, "re-rank the shortlist by S_global + weight * S_struct")
    cache: Path | None = output(
        None, "HDF5 file that caches the descriptors; default: a file in the run folder", "cache"
    )


@dataclass(frozen=True)
class RankingOptions:
    """Ranking."""

    depth: PositiveInt = option(100, "number of candidates in a shortlist")
    weight: NonNegativeFloat | None = option(None, "weight of S_struct; default: the calibrated weight of the run")
    fusion: Fusion = option(
        "auto",
        "how the shortlist is re-ranked. similarity: by S_global + weight * S_struct. trust: by this score fused with "
        "the scores or ranks of the shortlist, weighted by the estimated precision of each. reciprocal-rank: by both "
        "ranks with equal weight. auto: trust if another model made the shortlist, otherwise similarity",
    )
    adapt: bool | None = option(
        None,
        "fit whitening and VLAD again on the database images, never on the queries; default: only for "
        "models with a whitening head if the database is large enough",
    )
    patches: PatchType = option(
        "float16",
        "type of cached patch descriptors. int8 takes half the space; pq28 and pq14 take 28 and 14 bytes a patch of "
        "the database, and the queries stay float16",
    )
    device: Device = option("auto", "device for the computation")
    workers: NonNegativeInt = option(0, "processes that decode images; 0 decodes in threads of the main process")
    trust: bool = option(False, TRUST)
