"""The options of labelled sets that commands share."""

from dataclasses import dataclass
from pathlib import Path

from vpr.base.settings import option
from vpr.datasets.labels.labelled import Halves, load
from vpr.datasets.labels.layouts import Layout
from vpr.datasets.labels.mini import labelled_root


@dataclass(frozen=True)
class LabelOptions:
    """Dataset."""

    layout: Layout = option("folders", "how the images lie: CUB-200-2011, Cars-196, Online Products, or class folders")
    data: Path | None = option(None, "its folder; mini-retrieval, rendered on first use, when left out")
    test_classes: Path | None = option(
        None, "file with the names of the classes to test on, a line each; the layout's half when left out"
    )

    def load(self) -> Halves:
        """Read the set; raises DatasetError as `datasets.labels.load` does."""
        return load(self.layout, labelled_root(self.data, self.layout), self.test_classes)
