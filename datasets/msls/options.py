"""The dataset options that commands share."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from vpr.base.settings import Names, NonNegativeInt, PositiveFloat, option
from vpr.datasets.default_data import data_root
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.cities import OFFICIAL_CITIES
from vpr.datasets.msls.dataset import MSLS, load
from vpr.datasets.msls.protocol import DEFAULT_SEQ_LENGTH, Protocol, Scope, Split, Subtask, Task

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class DatasetOptions:
    """Dataset."""

    data: Path | None = option(None, "root of an MSLS tree; default: mini-MSLS, rendered on first use")
    split: Split = option("val", "split: its cities are the default; val and test are filtered by --subtask")
    cities: Names = option(Names(), "any folders of train_val/ or test/; default: the cities of the split")
    task: Task = option("im2im", "images or sequences as queries and as database")
    seq_length: NonNegativeInt = option(
        0, f"number of frames of a sequence, odd; 0 means 1 for im2im and {DEFAULT_SEQ_LENGTH} otherwise"
    )
    subtask: Subtask = option(
        "all",
        "change of condition from query to database: s2w summer to winter, o2n old to new, d2n day to night, and the "
        "reverse; a sequence has the condition of its centre frame",
    )

    def protocol(self) -> Protocol:
        """The protocol of the dataset. Raises DatasetError if the options contradict each other."""
        length = self.seq_length or (1 if self.task == "im2im" else DEFAULT_SEQ_LENGTH)
        return Protocol(self.split, tuple(self.cities), self.task, self.subtask, length)

    def load(self) -> MSLS:
        """Read the dataset; raises DatasetError as `datasets.msls.load` does."""
        protocol = self.protocol()
        return load(self.root(), protocol)

    def root(self) -> Path:
        """The root of the tree. Missing cities of mini-MSLS are rendered first."""
        return data_root(self.data, self.cities, () if self.cities else OFFICIAL_CITIES[self.split])


@dataclass(frozen=True)
class ProtocolOptions(DatasetOptions):
    """Dataset and protocol."""

    radius: PositiveFloat = option(25.0, "distance within which a database image is a positive, metres")
    scope: Scope = option("city", "search each city alone, or all cities in one index")

    def protocol(self) -> Protocol:
        """The protocol with its radius and scope; errors as `DatasetOptions.protocol`."""
        return replace(super().protocol(), radius_m=self.radius, scope=self.scope)


@dataclass(frozen=True)
class ProtocolListOptions(ProtocolOptions):
    """Dataset and protocols."""

    task: Literal[Task, "all"] = option("im2im", "images or sequences as queries and as database; all: one by one")  # type: ignore[assignment]
    subtask: Literal[Subtask, "each"] = option(  # type: ignore[assignment]
        "all",
        "change of condition from query to database: s2w summer to winter, o2n old to new, d2n day to night, and the "
        "reverse; all: any; each: all, then every subtask",
    )

    @property
    def has_several(self) -> bool:
        """Whether the options select more than one protocol."""
        return self.task == "all" or self.subtask == "each"

    def load_each(self) -> Iterator[MSLS]:
        """Yield the dataset under each selected protocol; errors as `load`.

        With ``--subtask each``, a subtask without scored queries is skipped and logged.
        """
        root = self.root()
        tasks = get_args(Task) if self.task == "all" else (self.task,)
        subtasks = get_args(Subtask) if self.subtask == "each" else (self.subtask,)
        for task in tasks:
            length = 0 if task == "im2im" and self.task == "all" else self.seq_length
            for subtask in subtasks:
                one = replace(self, data=root, task=task, subtask=subtask, seq_length=length)
                if self.subtask != "each" or subtask == "all":
                    yield one.load()
                    continue
                try:
                    dataset = one.load()
                except DatasetError as error:
                    log.info("%s, subtask %s is left out: %s", task, subtask, error)
                    continue
                if len(dataset.retrieval_set.scored):
                    yield dataset
                else:
                    log.info("%s, subtask %s is left out: no query has a positive", task, subtask)
