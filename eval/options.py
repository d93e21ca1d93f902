"""The options of evaluation, one dataclass a stage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.machine import Device
from vpr.base.settings import NonNegativeFloat, NonNegativeInt, PositiveInt, option
from vpr.cache import PatchType

Fusion = Literal["auto", "similarity", "trust", "reciprocal-rank"]


@dataclass(frozen=True)
class SourceConfig:
    """Model and shortlist."""

    run: Path = option(Path("runs/distill"), "run folder of the structural model, or 'builtin'")
    shortlist: str = option(
        "student", "student, teacher, or somebody's predictions (.csv, .zip) or descriptors (.h5, .npy, folder)"
    )
    rerank: bool = option(False, "re-rank the shortlist by S_global + weight * S_struct")
    cache: Path | None = option(None, "HDF5 descriptor cache; one in the run folder when left out")


@dataclass(frozen=True)
class RankingConfig:
    """Ranking."""

    depth: PositiveInt = option(100, "candidates of a shortlist")
    weight: NonNegativeFloat | None = option(None, "weight of S_struct; the one that the run fixed when left out")
    fusion: Fusion = option(
        "auto",
        "similarity: order by S_global + weight * S_struct; trust: fuse this with the shortlist's scores, or ranks, as "
        "far as each side is estimated to be right; reciprocal-rank: fuse ranks alike; auto: trust for a shortlist of "
        "another model",
    )
    adapt: bool | None = option(
        None,
        "fit whitening and VLAD again to the database images, never to the queries; when left out, models with a "
        "whitening head do so where the database is large enough",
    )
    patches: PatchType = option("float16", "how the cache holds patch descriptors; int8 takes half the space")
    device: Device = option("auto", "where to compute")
    workers: NonNegativeInt = option(0, "processes that decode images; 0 decodes in threads of the main process")
