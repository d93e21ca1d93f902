"""Finds the cities of an MSLS tree: ``train_val/<city>`` and ``test/<city>``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vpr.base.photo_files import is_hidden
from vpr.datasets.errors import DatasetError, file_error
from vpr.datasets.msls.cities import OFFICIAL_CITIES

BRANCHES: tuple[str, ...] = ("train_val", "test")
SIDES = ("query", "database")  # folders of a city
OTHER_SIDES = ("queries", *SIDES)  # of a data set of VPR-datasets-downloader
OTHER_LAYOUT = "that is the layout of another tool: evaluate it with python -m eval.places"


@dataclass(frozen=True)
class Location:
    """The place of one city in the tree."""

    name: str
    branch: str  # 'train_val' or 'test'

    def side_folder(self, side: str) -> str:
        """'train_val/cph/query', relative to the root, with forward slashes on every system."""
        return f"{self.branch}/{self.name}/{side}"


def existing_cities(root: Path) -> list[Location]:
    """Every city folder of the tree, by branch and name; DatasetError if ``root`` is not an MSLS tree."""
    if not root.is_dir():
        raise file_error(root, "the folder does not exist", "give the folder that holds train_val/ and test/")
    branches = [branch for branch in BRANCHES if (root / branch).is_dir()]
    if not branches:
        raise file_error(root, "not an MSLS tree, it has neither train_val/ nor test/", _hint(root))
    cities = [
        Location(folder.name, branch)
        for branch in branches
        for folder in sorted((root / branch).iterdir())
        if folder.is_dir() and not is_hidden(folder.name)
    ]
    if cities and all(place.name in OTHER_SIDES for place in cities):
        raise file_error(root, f"not an MSLS tree, {branches[0]}/{cities[0].name}/ is not a city", OTHER_LAYOUT)
    return cities


def _hint(root: Path) -> str:
    """The remedy for a folder that is not a tree: a folder nearby that is one, if there is one."""
    near = [place.parent for place in (root, *root.absolute().parents[:3]) if place.name in BRANCHES]
    inside = [path for path in sorted(root.iterdir()) if path.is_dir() and not is_hidden(path.name)]
    if found := next((place for place in (*near, *inside) if _is_tree(place)), None):
        return f"give {found}"
    if root.absolute().name in OTHER_SIDES or any(path.name in OTHER_SIDES for path in inside):
        return OTHER_LAYOUT
    return "give the folder that holds them"


def _is_tree(place: Path) -> bool:
    """Whether a folder has a city with both of its sides."""
    return any(
        (city / SIDES[0]).is_dir() and (city / SIDES[1]).is_dir()
        for branch in BRANCHES
        for city in place.glob(f"{branch}/*")
    )


def locate(root: Path, split: str, names: tuple[str, ...]) -> list[Location]:
    """The places of the named cities in their order, or of the existing official cities of the split.

    A name that is in both branches is taken from test/ in the test split, otherwise from train_val/. Raises
    DatasetError for an unknown or repeated name, and if there is no official city of the split.
    """
    existing = existing_cities(root)
    if not existing:
        raise file_error(root, "the tree holds no city", "unpack a city's metadata and images into it")
    preferred = existing if split == "test" else existing[::-1]
    places = {place.name: place for place in preferred}
    listed = ", ".join(sorted(places))
    if names:
        for name in names:
            if name not in places:
                raise DatasetError(f"{root} has no city '{name}'; it holds {listed}")
        if len(set(names)) != len(names):
            raise DatasetError(f"a city is named twice in {','.join(names)}; name each once")
        return [places[name] for name in names]
    official = [places[name] for name in OFFICIAL_CITIES[split] if name in places]
    if not official:
        raise DatasetError(
            f"{root} holds no official city of the {split} split"
            f" ({', '.join(OFFICIAL_CITIES[split])}); it holds {listed}: pass --cities {sorted(places)[0]}"
        )
    return official
