"""The options of ``python -m eval.msls``, one dataclass a stage."""

from dataclasses import dataclass
from typing import Literal

from datasets.msls import DEFAULT_SEQ_LENGTH, Protocol, Split, Subtask, Task
from eval.ranking import Scope
from vpr.cache import PatchType
from vpr.command import option
from vpr.device import Device

Fusion = Literal["auto", "similarity", "reciprocal-rank"]


@dataclass(frozen=True)
class ProtocolConfig:
    """Protocol."""

    split: Split = option("val", "default cities and filters")
    cities: tuple[str, ...] = option((), "any folders of train_val/ or test/; the split's cities when left out")
    task: Task = option("im2im", "images or sequences as queries and as database")
    seq_length: int = option(0, f"frames of a sequence, odd; 0 is 1 for im2im and {DEFAULT_SEQ_LENGTH} otherwise")
    subtask: Subtask = option("all", "summer/winter, old/new, day/night; judged by the centre frame")
    radius: float = option(25.0, "metres within which a database image is a positive")
    scope: Scope = option("city", "search each city by itself, or all cities merged into one index")

    def protocol(self) -> Protocol:
        """The dataset's protocol. Raises DatasetError when the options contradict one another."""
        length = self.seq_length or (1 if self.task == "im2im" else DEFAULT_SEQ_LENGTH)
        return Protocol(self.split, self.cities, self.task, self.subtask, length, self.radius)


@dataclass(frozen=True)
class RankingConfig:
    """Shortlist and re-ranking."""

    run: str = option("runs/distill", "run folder of the structural model, or 'builtin'")
    shortlist: str = option("student", "student, teacher, or somebody's prediction file to re-rank")
    depth: int = option(100, "candidates of a shortlist")
    rerank: bool = option(False, "re-rank the shortlist by S_global + weight * S_struct")
    weight: float = option(-1.0, "weight of S_struct; -1 takes the one that the run fixed on its held-out city")
    fusion: Fusion = option(
        "auto",
        "order by our similarity alone, or fuse its order with the shortlist's by reciprocal ranks; "
        "auto fuses for a prediction file",
    )
    patches: PatchType = option("float16", "how the cache holds patch descriptors; int8 takes half the space")
    cache: str = option("", "HDF5 descriptor cache; one in the run folder when left out")
    device: Device = option("auto", "where to compute")
    workers: int = option(0, "processes that decode images; 0 decodes in the main process")
