"""The protocol: split, cities, task, subtask, sequence length, radius and scope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from vpr.datasets.errors import DatasetError

Split = Literal["train", "val", "test"]
Task = Literal["im2im", "im2seq", "seq2im", "seq2seq"]
Subtask = Literal["all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d"]
Scope = Literal["city", "merged"]  # each city is searched alone, or all in one index

DEFAULT_SEQ_LENGTH = 5  # the default of commands for the tasks with sequences


@dataclass(frozen=True)
class Protocol:
    """The MSLS protocol; raises DatasetError if fields contradict each other.

    The split sets the default cities and, for any cities, the filters: val and test filter by the subtask, training
    uses all frames.
    """

    split: Split = "val"
    cities: tuple[str, ...] = ()  # empty: the existing official cities of the split
    task: Task = "im2im"
    subtask: Subtask = "all"
    seq_length: int = 1  # frames of a sequence, odd; 1 for im2im, 3 or more for the other tasks
    radius_m: float = 25.0  # metres; positives lie within it, inclusive
    scope: Scope = "city"

    def __post_init__(self) -> None:
        for name, choices in (("split", Split), ("task", Task), ("subtask", Subtask), ("scope", Scope)):
            _check_choice(name, getattr(self, name), get_args(choices))
        self._check_length()
        if not (math.isfinite(self.radius_m) and self.radius_m > 0):
            raise DatasetError(f"a radius of {self.radius_m} m is not a distance; give metres above 0")

    @property
    def query_length(self) -> int:
        """Frames of a query: the sequence length or 1."""
        return self.seq_length if self.task.startswith("seq") else 1

    @property
    def database_length(self) -> int:
        """Frames of a database entry: the sequence length or 1."""
        return self.seq_length if self.task.endswith("seq") else 1

    def _check_length(self) -> None:
        if self.seq_length < 1 or self.seq_length % 2 == 0:
            raise DatasetError(f"a sequence of {self.seq_length} frames has no centre frame; give an odd --seq-length")
        if self.task == "im2im" and self.seq_length != 1:
            raise DatasetError(
                f"task im2im has no sequences of {self.seq_length} frames; leave --seq-length out or pass a task"
            )
        if self.task != "im2im" and self.seq_length == 1:
            raise DatasetError(f"task {self.task} needs sequences; pass --seq-length 3 or more, e.g. 5")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DatasetError(f"{name} '{value}' is unknown; choose one of {', '.join(choices)}")
