"""Images with class labels: CUB-200-2011, Cars-196, Stanford Online Products, and any folder of class folders."""

from vpr.datasets.labels.labelled import Halves, LabelledImages, load

__all__ = ["Halves", "LabelledImages", "load"]
