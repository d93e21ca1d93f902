"""Images with class labels: CUB-200-2011, Cars-196, Stanford Online Products, and any folder of class folders."""

from vpr.datasets.labels.labelled_images import ClassSplit, LabelledImages, load

__all__ = ["ClassSplit", "LabelledImages", "load"]
