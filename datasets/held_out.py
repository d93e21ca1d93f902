"""Sets held out of a training: cities of MSLS or of GSV-Cities, or a split of any other set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from vpr.datasets import gsv_cities
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.tree import Location, existing_cities
from vpr.datasets.places import place_set
from vpr.datasets.places.layout import Split, find_places, has_split
from vpr.datasets.places.rules import PlaceRules
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.datasets.training_layout import training_layout

CITY = "amsterdam"  # held out by default, of MSLS
SPLIT: Split = "val"  # and of sets with splits
Sets = Mapping[str, RetrievalSet]  # by name


@dataclass(frozen=True)
class HeldOut:
    """Held-out data, read when they are needed. The default is none."""

    name: str = ""  # of all sets, joined by commas; empty for none
    load: Callable[[], Sets] = dict
    digests: str = ""  # of the sets, if the fingerprint of the training tree does not cover them

    @property
    def identity(self) -> str:
        """What a run records that is validated on the data: the name, and the digests if there are any."""
        return f"{self.name} {self.digests}".strip()


def held_out_cities(root: Path, names: Sequence[str]) -> dict[str, RetrievalSet]:
    """Cities of an MSLS tree, by name. Raises DatasetError for a missing city."""
    return {name: load(root, Protocol(split="val", cities=(name,))).retrieval_set for name in names}


def default_city(root: Path, cities: Sequence[str]) -> tuple[str, ...]:
    """The city of an MSLS tree that is held out if none is named: `CITY` if the tree has it and training does not."""
    usual = CITY not in cities and Location(CITY, "train_val") in existing_cities(root)
    return (CITY,) if usual else ()


def cities_left(root: Path, known: Sequence[str], held_out: Sequence[str]) -> tuple[str, ...]:
    """The cities of a root that are not held out. Raises DatasetError if none is left to train on."""
    left = tuple(name for name in known if name not in held_out)
    if known and not left:
        raise DatasetError(
            f"all cities of {root} are held out ({', '.join(known)}), and none is left to train on",
            thing="--held-out",
            remedy="hold out fewer, or name other data by --validation",
        )
    return left


def hold_out(root: Path, names: Sequence[str] | None, crs: str = "", separate: bool = True) -> HeldOut:
    """The held-out data of a root of any layout.

    names: cities, or a split; None for the default. separate: whether nothing of the root is trained on, so that a set
    without splits may be used as it is. Raises DatasetError as the readers do.
    """
    if names is not None and not names:
        return HeldOut()
    layout = training_layout(root)
    if layout == "MSLS":
        sets: Sets = held_out_cities(root, default_city(root, ()) if names is None else names)
    elif layout == "GSV-Cities":
        if names is None and separate:
            known = ", ".join(gsv_cities.city_names(root))
            raise DatasetError(f"{root} has many cities; name those to validate on by --held-out: {known}")
        sets = {name: gsv_cities.retrieval_set(root, name) for name in names or ()}
    else:
        sets = _split_sets(root, names, crs, separate)
    return HeldOut(",".join(sets), lambda: sets, " ".join(data.fingerprint[:16] for data in sets.values()))


def _split_sets(root: Path, names: Sequence[str] | None, crs: str, separate: bool) -> Sets:
    """The splits of a set with queries and database, by the name of its folder and the split."""
    if unknown := next((name for name in names or () if name not in get_args(Split)), None):
        raise DatasetError(
            f"{root} has no city '{unknown}'; name a split by --held-out: {', '.join(get_args(Split))}, or leave it out"
        )
    splits: list[Split | None] = [cast(Split, name) for name in names or ()]
    if names is None and has_split(root, SPLIT):
        splits = [SPLIT]
    elif names is None:
        splits = [None] if separate else []
    sets = {}
    for split in splits:
        data = place_set.load(find_places(root, split=split), PlaceRules(crs=crs, unanswered="left out")).retrieval_set
        if data.positives is None or not data.positives.counts.any():
            raise DatasetError(f"{root}: of no query it is known what is right; pass another --validation")
        title = root.resolve().name.replace(",", " ")
        sets[f"{title} {split}" if split else title] = data
    return sets
