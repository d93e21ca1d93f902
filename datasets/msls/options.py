"""The dataset options that commands share."""

from dataclasses import dataclass, replace
from pathlib import Path

from datasets.default import data_root
from datasets.msls.dataset import MSLS, load
from datasets.msls.protocol import DEFAULT_SEQ_LENGTH, Protocol, Scope, Split, Subtask, Task
from vpr.base.settings import Names, NonNegativeInt, PositiveFloat, option


@dataclass(frozen=True)
class DatasetOptions:
    """Dataset."""

    data: Path | None = option(None, "root of an MSLS tree; mini-MSLS, rendered on first use, when left out")
    split: Split = option("val", "default cities and filters")
    cities: Names = option(Names(), "any folders of train_val/ or test/; the split's cities when left out")
    task: Task = option("im2im", "images or sequences as queries and as database")
    seq_length: NonNegativeInt = option(
        0, f"frames of a sequence, odd; 0 is 1 for im2im and {DEFAULT_SEQ_LENGTH} otherwise"
    )
    subtask: Subtask = option("all", "summer/winter, old/new, day/night; judged by the centre frame")

    def protocol(self) -> Protocol:
        """The dataset's protocol. Raises DatasetError when the options contradict one another."""
        length = self.seq_length or (1 if self.task == "im2im" else DEFAULT_SEQ_LENGTH)
        return Protocol(self.split, tuple(self.cities), self.task, self.subtask, length)

    def load(self) -> MSLS:
        """Read the dataset; raises DatasetError as `datasets.msls.load` does."""
        protocol = self.protocol()
        return load(data_root(self.data), protocol)


@dataclass(frozen=True)
class ProtocolOptions(DatasetOptions):
    """Dataset and protocol."""

    radius: PositiveFloat = option(25.0, "distance within which a database image is a positive, metres")
    scope: Scope = option("city", "search each city by itself, or all cities merged into one index")

    def protocol(self) -> Protocol:
        """The protocol with its radius and scope; errors as `DatasetOptions.protocol`."""
        return replace(super().protocol(), radius_m=self.radius, scope=self.scope)
