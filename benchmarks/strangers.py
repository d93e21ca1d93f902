"""``python -m benchmarks.strangers NAME=TREE/CITY ...``: photos whose place is not on the map.

TREE is an MSLS tree. Half of the places of each city, by squares of 100 m, are left out of a map, once the one half and
once the other. Queries with a photo of this map within 25 m are *known*; those that only have one among the photos that
are left out are *strangers*. Prints a Markdown table: the area under the ROC curve (AUROC) by which a number tells the
two apart, the share of strangers that is accepted and of known photos that is refused at the default, what is accepted
if 15 % of the known are refused, and the expected calibration error (ECE) with equal weight for both. *Before* are the
rules of version 0.2: probability times familiarity, and a threshold for each. Drives are located with ``--sequence``.

``--fit NAME,NAME`` fits `vpr.maps.on_map` to these sets and prints its constants. The table then also has them as
*fitted*, and fitted to the *others* of these sets. With ``--parts`` maps of 60 photos are fitted to as well. *drives*
are located by the constants of the product.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.locating import BLOCK_M, RADIUS_M
from vpr.base.errors import VprError
from vpr.description.batches import BATCH, ImageDescriptors
from vpr.maps import on_map
from vpr.maps.building import add_photos
from vpr.maps.candidates import Candidates
from vpr.maps.checking import photo_places
from vpr.maps.locating import locate
from vpr.maps.on_map import FEATURES, OnMapModel
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.sources.positions import Photo
from vpr.positions.geodesy import to_degrees
from vpr.retrieval.reliability import calibration_error, equal_weights
from vpr.run import Run, load

CRS = "EPSG:32631"
OLD_THRESHOLD, OLD_FAMILIARITY = 0.5, 0.1  # of version 0.2
PART = 60  # photos of a small map
KEPT = 0.85  # share of known photos that the last column keeps


@dataclass(frozen=True, eq=False)
class City:
    """One city of an MSLS tree."""

    name: str
    database: list[Photo]
    queries: list[Photo]
    drives: list[str]  # of the queries
    described: ImageDescriptors  # of the queries

    @classmethod
    def read(cls, name: str, folder: Path, model: Run) -> City:
        """Read a city, and describe its queries."""
        (database, _), (queries, drives) = (read_side(folder / side) for side in ("database", "query"))
        paths = [photo.path for photo in queries]
        parts = [model.describe(paths[start : start + BATCH]) for start in range(0, len(paths), BATCH)]
        patches = np.concatenate([part.patches for part in parts if part.patches is not None])
        return cls(
            name, database, queries, drives, ImageDescriptors(np.concatenate([p.globals_ for p in parts]), patches)
        )

    def parts(self, small: bool) -> Iterator[list[Photo]]:
        """Both halves of the database, by squares; with ``small`` also the first squares of about `PART` photos."""
        squares = [f"{round(x / BLOCK_M)} {round(y / BLOCK_M)} {round(z / BLOCK_M)}" for x, y, z in self.places]
        order = np.random.default_rng(0).permutation(sorted({*squares})).tolist()
        yield from ([p for p, square in zip(self.database, squares) if square in order[k::2]] for k in (0, 1))
        for count in range(1, len(order)) if small else ():
            part = [photo for photo, square in zip(self.database, squares) if square in order[:count]]
            if len(part) >= PART:
                yield part
                return

    @property
    def places(self) -> np.ndarray:
        """The places of the database, (N, 3) metres."""
        return photo_places(self.database)


def read_side(folder: Path) -> tuple[list[Photo], list[str]]:
    """The photos of one side of a city, in the order of their drives, and these drives."""
    table = pd.read_csv(folder / "postprocessed.csv").merge(pd.read_csv(folder / "seq_info.csv"), on="key")
    table = table.sort_values(["sequence_key", "frame_number"], kind="stable")
    photos = []
    for row in table.itertuples():
        photos.append(Photo(folder / "images" / f"{row.key}.jpg", to_degrees(row.easting, row.northing, CRS)))
    return photos, [str(key) for key in table.sequence_key]


@dataclass(frozen=True, eq=False)
class Half:
    """The answers of a map that lacks places to Q queries, which are known or strangers."""

    found: Candidates
    unknown_scores: np.ndarray
    known: np.ndarray  # (Q,) bool
    before: np.ndarray  # (Q,) the number of version 0.2, in [0, 1]
    accepted_before: np.ndarray  # (Q,) bool
    drives: tuple[np.ndarray, np.ndarray] | None  # (Q,) on-map probability and decision of frames; None: no drives

    def features(self) -> dict[str, np.ndarray]:
        """As `on_map.best_match_features`."""
        return on_map.best_match_features(self.found, self.unknown_scores)


def measure(city: City, part: list[Photo], model: Run) -> Half:
    """Make a map of part of the city, and locate the queries that are known or strangers."""
    with tempfile.TemporaryDirectory() as folder:
        add_photos(Path(folder) / "map", model, part)
        photo_map, config = Map.open(Path(folder) / "map", model), LocateConfig(threshold=0.0)
        found = photo_map.finder.find(city.described, config.depth, None, photo_map.geometry(config))
        truth, context = photo_places(city.queries), photo_map.context(config)
        near, anywhere = (
            np.array([np.linalg.norm(places - one, axis=1).min() <= RADIUS_M for one in truth])
            for places in (photo_map.finder.places, city.places)
        )
        names = [str(photo.path) for photo in city.queries]
        alone = locate(found, names, context, config)
        probability, familiarity = (
            np.array([np.nan if value is None else value for value in values], float)
            for values in ([one.probability for one in alone], [one.familiarity for one in alone])
        )
        accepted = ~(probability < OLD_THRESHOLD) & ~(familiarity < OLD_FAMILIARITY)
        drives = None
        if max(map(city.drives.count, city.drives)) > 1:
            frames = []
            for drive in dict.fromkeys(city.drives):
                rows = np.array([one == drive for one in city.drives])
                some = found.take(slice(int(rows.argmax()), int(rows.argmax() + rows.sum())))
                frames += locate(some, names, context, LocateConfig(sequence=True))
            told = np.array([np.nan if one.on_map_probability is None else one.on_map_probability for one in frames])
            drives = told[anywhere], np.array([one.on_map for one in frames])[anywhere]
        product_before = np.nan_to_num(probability, nan=1.0) * np.nan_to_num(familiarity, nan=1.0)
        return Half(
            _take(found, anywhere), context.unknown_scores, near[anywhere], product_before[anywhere],
            accepted[anywhere], drives,
        )  # fmt: skip


def _take(found: Candidates, rows: np.ndarray) -> Candidates:
    names = ("rows", "global_similarity", "structural", "scores", "places", "geometry")
    arrays = {name: getattr(found, name) for name in names if getattr(found, name) is not None}
    return replace(found, **{name: array[rows] for name, array in arrays.items()})


def fit(sets: Sequence[Sequence[Half]], names: Sequence[str]) -> OnMapModel:
    """Fit a regression of these features; all sets weigh the same, and so do known and strangers in each."""
    from sklearn.linear_model import LogisticRegression

    inputs, targets, weights = [], [], []
    for half, share in ((half, 1 / len(halves)) for halves in sets for half in halves):
        features, known = half.features(), half.known
        inputs.append(np.column_stack([features[name] for name in names]))
        targets.append(known)
        weights.append(share * equal_weights(known))
    weight = np.concatenate(weights)
    weight *= len(weight) / weight.sum()
    fitted = LogisticRegression(C=1.0).fit(np.concatenate(inputs), np.concatenate(targets), weight)
    return OnMapModel(dict(zip(names, fitted.coef_[0].round(4).tolist())), float(fitted.intercept_[0].round(4)))


def fit_all(sets: Sequence[Sequence[Half]]) -> dict[tuple[bool, bool], OnMapModel]:
    """The models with and without geometry, and with and without the map's own photos."""
    result = {}
    for geometry, familiar in product((True, False), repeat=2):
        left_out = {name for name, used in (("geometry", geometry), ("familiar", familiar)) if not used}
        result[geometry, familiar] = fit(sets, [name for name in FEATURES if name not in left_out])
    return result


def predict(half: Half, model: OnMapModel) -> np.ndarray:
    """The on-map probabilities (Q,) of a half."""
    return on_map.probabilities(model.log_odds(half.features()))


def row(known: np.ndarray, number: np.ndarray, accepted: np.ndarray) -> str:
    """The cells of one rule."""
    from sklearn.metrics import roc_auc_score

    number = np.nan_to_num(number, nan=1.0)
    area, wrong = 100 * roc_auc_score(known, number), 100 * accepted[~known].mean()
    kept = 100 * (number[~known] >= np.quantile(number[known], 1 - KEPT)).mean()
    error = 100 * calibration_error(number, known, equal_weights(known))
    return f"{area:.1f} | {wrong:.0f}, {100 * (~accepted[known]).mean():.0f} | {kept:.0f} | {error:.1f}"


def print_table(sets: dict[str, list[Half]], fitted: list[str], threshold: float) -> None:
    """Print the table; each cell joins both halves."""
    print("\n| set | queries there, not there | rule | AUROC | accepted of strangers, refused of known | accepted if "
          "15 % of known are refused | ECE |\n" + "|---" * 7 + "|")  # fmt: skip
    for name, parts in sets.items():
        halves = parts[:2]
        known = np.concatenate([half.known for half in halves])
        counts, before = f"{known.sum()}, {(~known).sum()}", np.concatenate([half.before for half in halves])
        was = np.concatenate([half.accepted_before for half in halves])
        print(f"| {name} | {counts} | before | {row(known, before, was)} |")
        key = "geometry" in halves[0].features(), "familiar" in halves[0].features()
        models = {"now": on_map.MODELS[key]}
        if fitted:
            models["fitted"] = fit_all([sets[other] for other in fitted])[key]
        if name in fitted and len(fitted) > 1:
            models["others"] = fit_all([sets[other] for other in fitted if other != name])[key]
        for title, model in models.items():
            now = np.concatenate([predict(half, model) for half in halves])
            print(f"| | | {title} | {row(known, now, now >= threshold)} |")
        if halves[0].drives is not None:
            told, decided = (np.concatenate([half.drives[k] for half in halves if half.drives]) for k in (0, 1))
            print(f"| | | drives | {row(known, told, decided)} |", flush=True)


def strangers_table(sets: Sequence[Sequence[Half]], steps: int = 20) -> tuple[float, ...]:
    """The share of strangers that reach each threshold from 0 to 1, each set fitted to the others; the mean of sets."""
    shares = []
    for number, halves in enumerate(sets):
        models = fit_all([*sets[:number], *sets[number + 1 :]] if len(sets) > 1 else sets)
        told = np.concatenate([predict(half, models[True, True])[~half.known] for half in halves[:2]])
        shares.append([(told >= threshold).mean() for threshold in np.linspace(0, 1, steps + 1)])
    return tuple(np.mean(shares, axis=0).round(3).tolist())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cities", nargs="+", metavar="NAME=TREE/CITY")
    parser.add_argument("--fit", default="", help="names of the sets to fit to, separated by commas")
    parser.add_argument("--parts", action="store_true", help="also fit to maps of 60 photos")
    parser.add_argument("--run", default="builtin")
    arguments = parser.parse_args()
    model, sets = load(arguments.run), dict[str, list[Half]]()
    for name, folder in (one.split("=", 1) for one in arguments.cities):
        if not (Path(folder) / "database").is_dir():
            raise VprError(f"{folder} is no city of an MSLS tree", thing=folder, remedy="name TREE/train_val/CITY")
        city = City.read(name, Path(folder), model)
        sets[name] = [measure(city, part, model) for part in city.parts(arguments.parts)]
        print(f"{name}: {len(city.database)} photos, {len(city.queries)} queries", flush=True)
    fitted = [name for name in arguments.fit.split(",") if name]
    if fitted:
        print("MODELS =", fit_all([sets[name] for name in fitted]))
        print("STRANGERS =", strangers_table([sets[name] for name in fitted]))
    print_table(sets, fitted, LocateConfig().threshold)


if __name__ == "__main__":
    main()
