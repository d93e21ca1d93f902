"""The options of labelled sets that commands share."""

from dataclasses import dataclass
from pathlib import Path

from vpr.base.settings import option
from vpr.datasets.labels.default_data import labelled_root
from vpr.datasets.labels.labelled_images import ClassSplit, load
from vpr.datasets.labels.layouts import Layout


@dataclass(frozen=True)
class LabelOptions:
    """Dataset."""

    layout: Layout = option(
        "folders", "layout of the folder: CUB-200-2011, Cars-196, Online Products, or class folders"
    )
    data: Path | None = option(None, "folder of the dataset; default: mini-retrieval, rendered on first use")
    test_classes: Path | None = option(
        None, "file with the names of the classes to test on, one per line; default: those of the layout"
    )

    def load(self) -> ClassSplit:
        """Read the set; raises DatasetError as `datasets.labels.load` does."""
        return load(self.layout, labelled_root(self.data, self.layout), self.test_classes)
