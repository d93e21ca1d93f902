"""The published layouts of image retrieval sets: which images there are, of which class, and on which side.

Readers return the images in a fixed order: files relative to the root, forward slashes; class numbers; the names of the
classes; and whether each class is one of the training half. Source of the splits: Oh Song et al., "Deep Metric
Learning via Lifted Structured Feature Embedding", CVPR 2016.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy.io

from vpr.base.photo_files import files_in, is_hidden, is_photo, passed_over
from vpr.datasets.errors import DatasetError

log = logging.getLogger("vpr")

Layout = Literal["cub", "cars", "sop", "folders"]
CUB_FOLDER, CUB_TRAIN = "CUB_200_2011", 100  # classes 1 to 100 train
CARS_TRAIN = 98
CARS_TABLE = "cars_annos.mat"
SOP_TABLES = ("Ebay_train.txt", "Ebay_test.txt")
HALVES = (
    "train", "test", "val", "valid", "validation", "training", "testing", "query", "queries", "gallery", "database",
    "cars_train", "cars_test",
)  # fmt: skip
# names of folders above class folders
LAYOUTS = "CUB_200_2011/images/NNN.NAME/*.jpg (cub), images/CLASS/*.jpg (cars), Ebay_*.txt (sop), CLASS/*.jpg (folders)"
PUBLISHED = {"cub": (5864, 5924), "cars": (8054, 8131), "sop": (59551, 60502)}  # images of training, of testing


class Listed(NamedTuple):
    """The images of a set."""

    files: np.ndarray  # (N,) str
    classes: np.ndarray  # (N,) int64, from 0
    names: list[str]  # of the classes
    training: np.ndarray  # (classes,) bool


def read_layout(layout: Layout, root: Path) -> Listed:
    """The images of a folder in one of the layouts. Raises DatasetError naming what is missing, and what would be
    there."""
    if not root.is_dir():
        raise DatasetError(f"no folder {root}; pass --data of the unpacked set")
    listed = READERS[layout](root)
    if len(twice := [file for file, count in Counter(listed.files.tolist()).items() if count > 1]):
        raise DatasetError(f"{root} lists {twice[0]} twice ({len(twice)} such); an image would be its own answer")
    return listed


def _cub(root: Path) -> Listed:
    """``CUB_200_2011/images/001.Black_footed_Albatross/*.jpg``; the root may be the folder inside, too."""
    inside = CUB_FOLDER if (root / CUB_FOLDER).is_dir() else "."
    files, classes, names = _class_folders(root, root / inside / "images", "CUB_200_2011/images/NNN.NAME/*.jpg")
    numbers = [name.split(".")[0] for name in names]
    if not all(number.isdecimal() for number in numbers):
        raise DatasetError(f"{root}: class folders of CUB are named NNN.NAME; pass --layout folders for others")
    return Listed(files, classes, names, np.array([int(number) <= CUB_TRAIN for number in numbers]))


def _cars(root: Path) -> Listed:
    """``images/CLASS/*.jpg``, or ``cars_annos.mat`` with the files that it names."""
    if (root / CARS_TABLE).is_file():
        files, classes, names = _cars_table(root / CARS_TABLE)
    else:
        folder = root / "images" if (root / "images").is_dir() else root
        files, classes, names = _class_folders(root, folder, "images/CLASS/*.jpg, or cars_annos.mat beside car_ims/")
    return Listed(files, classes, names, np.arange(len(names)) < min(CARS_TRAIN, len(names) // 2))


def _cars_table(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    try:
        table = scipy.io.loadmat(path, squeeze_me=True)
        files = np.array([str(row["relative_im_path"]) for row in table["annotations"]])
        classes = np.array([int(row["class"]) - 1 for row in table["annotations"]])
        names = [str(name) for name in table["class_names"]]
    except Exception as error:  # whatever a damaged file makes the reader do
        raise DatasetError(f"{path} is no cars_annos.mat ({type(error).__name__}); unpack it again") from error
    if not len(classes) or classes.min() < 0 or classes.max() >= len(names):
        raise DatasetError(f"{path} names classes that it does not list; unpack it again")
    return files, classes, names


def _sop(root: Path) -> Listed:
    """``Ebay_train.txt`` and ``Ebay_test.txt``, columns image_id class_id super_class_id path."""
    parts = []
    for name in SOP_TABLES:
        path = root / name
        if not path.is_file():
            raise DatasetError(f"no {path}; pass --data of the folder that holds {' and '.join(SOP_TABLES)}")
        try:
            table = pd.read_csv(path, sep=r"\s+", dtype={"path": str}, usecols=["class_id", "path"])
            whole = table["class_id"].astype(np.int64)
            if (whole != table["class_id"]).any():
                raise ValueError("a class_id is no whole number")
            table["class_id"] = whole
        except (ValueError, OverflowError, pd.errors.ParserError) as error:
            reason = str(error).splitlines()[0]
            raise DatasetError(f"{path} has not the columns class_id and path ({reason}); unpack it again") from error
        if table["path"].isna().any():
            raise DatasetError(f"{path} has rows without a path; unpack it again")
        parts.append(table.assign(training=name == SOP_TABLES[0]))
    table = pd.concat(parts)
    numbers, classes = np.unique(table["class_id"], return_inverse=True)
    training = np.zeros(len(numbers), bool)
    training[classes[table["training"]]] = True
    if training[classes[~table["training"]]].any():
        raise DatasetError(f"{root}: a class is in both tables; unpack them again")
    return Listed(table["path"].to_numpy(str), classes, [str(number) for number in numbers], training)


def _folders(root: Path) -> Listed:
    """``CLASS/*.jpg``: the first half of the class folders, by name, trains."""
    files, classes, names = _class_folders(root, root, "CLASS/*.jpg")
    return Listed(files, classes, names, np.arange(len(names)) < len(names) // 2)


def _class_folders(root: Path, folder: Path, wanted: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The images of class folders: files, class numbers, names. Folders without images are no classes.

    Other files, and images in folders below a class folder, which are often copies, are passed over and counted.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; {root} should hold {wanted}")
    files: list[str] = []
    classes: list[int] = []
    names: list[str] = []
    others = Counter[str]()
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)):
        images = _images_of_class(path, wanted, others)
        if images:
            found = [image.relative_to(root).as_posix() for image in images]
            if odd := next((name for name in found if not _is_text(name)), None):
                raise DatasetError(f"{odd!r}: a name that is not UTF-8; rename it")
            files += found
            classes += [len(names)] * len(images)
            names.append(path.name)
    if not names:
        raise DatasetError(f"{folder} holds no class folders with images; {root} should hold {wanted}")
    if all(name.lower() in HALVES for name in names):
        raise DatasetError(f"{folder} holds {', '.join(names)}, which are no classes; known layouts: {LAYOUTS}")
    if others:
        log.info("%s: %s", folder, passed_over(others))
    return np.array(files), np.array(classes, np.int64), names


def _images_of_class(folder: Path, wanted: str, others: Counter[str]) -> list[Path]:
    """The images of a class folder, sorted; other files in it are counted. Raises DatasetError for a folder of folders
    of images, such as ``train``."""
    images, inner, below = [], folder, 0
    for path in files_in(folder):
        if not is_photo(path):
            others[path.suffix.lower() or "without an ending"] += 1
        elif path.parent == folder:
            images.append(path)
        else:
            inner = path.parent if inner == folder else inner
            below += 1
    if below and not images:
        where = inner.relative_to(folder.parent).as_posix()
        raise DatasetError(
            f"{folder.parent}: {folder.name} holds no images but folders of them ({where}); pass the folder above the "
            f"class folders: {wanted}"
        )
    others.update({"in folders below class folders": below} if below else {})
    return sorted(images)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


READERS: dict[str, Callable[[Path], Listed]] = {"cub": _cub, "cars": _cars, "sop": _sop, "folders": _folders}
