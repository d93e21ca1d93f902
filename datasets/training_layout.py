"""What a folder of training photos is, found from its files: an MSLS tree, GSV-Cities, or a set with positions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vpr.datasets.default_data import is_mini_msls
from vpr.datasets.gsv_cities import is_gsv_cities
from vpr.datasets.msls.tree import BRANCHES, OTHER_SIDES, SIDES
from vpr.datasets.places.photos import is_list

TrainingLayout = Literal["MSLS", "GSV-Cities", "positions"]


def training_layout(root: Path) -> TrainingLayout:
    """The layout of a root; that of MSLS for one that does not exist, whose reader then says so."""
    if is_list(root):
        return "positions"
    if not root.is_dir() or is_mini_msls(root) or _has_cities(root):
        return "MSLS"
    return "GSV-Cities" if is_gsv_cities(root) else "positions"


def _has_cities(root: Path) -> bool:
    """Whether a folder has a city of MSLS: ``train_val/CITY`` or ``test/CITY``."""
    if (root / BRANCHES[0]).is_dir():
        return True
    inside = (root / BRANCHES[1]).iterdir() if (root / BRANCHES[1]).is_dir() else ()
    return any((city / SIDES[0]).is_dir() for city in inside if city.name not in OTHER_SIDES)
