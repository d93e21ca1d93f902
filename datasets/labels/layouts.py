"""The published layouts of image retrieval sets: their images, the classes, and the training classes.

Readers return the images in a fixed order: files relative to the root, forward slashes; class numbers; the names of the
classes; and whether each class is for training. Source of the splits: Oh Song et al., "Deep Metric
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

from vpr.base.files import is_utf8
from vpr.base.photo_files import is_hidden, is_photo, skipped_text, walk_files
from vpr.datasets.errors import DatasetError

log = logging.getLogger("vpr")

Layout = Literal["cub", "cars", "sop", "folders"]
CUB_FOLDER, CUB_TRAIN = "CUB_200_2011", 100  # classes 1 to 100 train
CARS_TRAIN = 98
CARS_TABLE = "cars_annos.mat"
SOP_TABLES = ("Ebay_train.txt", "Ebay_test.txt")
SPLIT_NAMES = (
    "train", "test", "val", "valid", "validation", "training", "testing", "query", "queries", "gallery", "database",
    "cars_train", "cars_test",
)  # fmt: skip
# common names of folders above class folders
LAYOUTS = "CUB_200_2011/images/NNN.NAME/*.jpg (cub), images/CLASS/*.jpg (cars), Ebay_*.txt (sop), CLASS/*.jpg (folders)"
PUBLISHED = {"cub": (5864, 5924), "cars": (8054, 8131), "sop": (59551, 60502)}  # images of training, of testing


class ImageList(NamedTuple):
    """The images of a set."""

    files: np.ndarray  # (N,) str
    classes: np.ndarray  # (N,) int64, from 0
    names: list[str]  # of the classes
    training: np.ndarray  # (classes,) bool


def read_layout(layout: Layout, root: Path) -> ImageList:
    """The images of a folder in one of the layouts; raises DatasetError, which names missing files."""
    if not root.is_dir():
        raise DatasetError(f"no folder {root}; pass --data of the unpacked set")
    images = READERS[layout](root)
    if len(repeated := [file for file, count in Counter(images.files.tolist()).items() if count > 1]):
        raise DatasetError(
            f"{root} lists {repeated[0]} twice ({len(repeated)} such images); an image would be its own answer"
        )
    return images


def _cub(root: Path) -> ImageList:
    """``CUB_200_2011/images/001.Black_footed_Albatross/*.jpg``; the root may also be the inner folder."""
    folder = CUB_FOLDER if (root / CUB_FOLDER).is_dir() else "."
    files, classes, names = _class_folders(root, root / folder / "images", "CUB_200_2011/images/NNN.NAME/*.jpg")
    numbers = [name.split(".")[0] for name in names]
    if not all(number.isdecimal() for number in numbers):
        raise DatasetError(f"{root}: class folders of CUB are named NNN.NAME; pass --layout folders for others")
    return ImageList(files, classes, names, np.array([int(number) <= CUB_TRAIN for number in numbers]))


def _cars(root: Path) -> ImageList:
    """``images/CLASS/*.jpg``, or ``cars_annos.mat`` with the files that it names."""
    if (root / CARS_TABLE).is_file():
        files, classes, names = _cars_table(root / CARS_TABLE)
    else:
        folder = root / "images" if (root / "images").is_dir() else root
        files, classes, names = _class_folders(root, folder, "images/CLASS/*.jpg, or cars_annos.mat beside car_ims/")
    return ImageList(files, classes, names, np.arange(len(names)) < min(CARS_TRAIN, len(names) // 2))


def _cars_table(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    try:
        table = scipy.io.loadmat(path, squeeze_me=True)
        files = np.array([str(row["relative_im_path"]) for row in table["annotations"]])
        classes = np.array([int(row["class"]) - 1 for row in table["annotations"]])
        names = [str(name) for name in table["class_names"]]
    except Exception as error:  # a damaged file may raise any error
        raise DatasetError(f"{path} is not a cars_annos.mat ({type(error).__name__}); unpack it again") from error
    if not len(classes) or classes.min() < 0 or classes.max() >= len(names):
        raise DatasetError(f"{path} names classes that it does not list; unpack it again")
    return files, classes, names


def _sop(root: Path) -> ImageList:
    """``Ebay_train.txt`` and ``Ebay_test.txt``, columns image_id class_id super_class_id path."""
    parts = []
    for name in SOP_TABLES:
        path = root / name
        if not path.is_file():
            raise DatasetError(f"no {path}; pass --data of the folder that holds {' and '.join(SOP_TABLES)}")
        try:
            table = pd.read_csv(path, sep=r"\s+", dtype={"path": str}, usecols=["class_id", "path"])
            integers = table["class_id"].astype(np.int64)
            if (integers != table["class_id"]).any():
                raise ValueError("a class_id is not a whole number")
            table["class_id"] = integers
        except (ValueError, OverflowError, pd.errors.ParserError) as error:
            reason = str(error).splitlines()[0]
            raise DatasetError(f"{path} lacks the columns class_id and path ({reason}); unpack it again") from error
        if table["path"].isna().any():
            raise DatasetError(f"{path} has rows without a path; unpack it again")
        parts.append(table.assign(training=name == SOP_TABLES[0]))
    table = pd.concat(parts)
    numbers, classes = np.unique(table["class_id"], return_inverse=True)
    training = np.zeros(len(numbers), bool)
    training[classes[table["training"]]] = True
    if training[classes[~table["training"]]].any():
        both = numbers[np.intersect1d(classes[table["training"]], classes[~table["training"]])[0]]
        raise DatasetError(f"{root}: class {both} is in {' and in '.join(SOP_TABLES)}; remove it from one of them")
    return ImageList(table["path"].to_numpy(str), classes, [str(number) for number in numbers], training)


def _folders(root: Path) -> ImageList:
    """``CLASS/*.jpg``: the first half of the class folders, by name, is for training."""
    files, classes, names = _class_folders(root, root, "CLASS/*.jpg")
    return ImageList(files, classes, names, np.arange(len(names)) < len(names) // 2)


def _class_folders(root: Path, folder: Path, layout: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The images of class folders: files, class numbers, names. Folders without images are not classes.

    Skipped and counted: other files, and images in folders below a class folder, which are often copies.
    """
    if not folder.is_dir():
        raise DatasetError(f"no folder {folder}; {root} should hold {layout}")
    files: list[str] = []
    classes: list[int] = []
    names: list[str] = []
    others = Counter[str]()
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)):
        images = _class_images(path, layout, others)
        if images:
            found = [image.relative_to(root).as_posix() for image in images]
            if bad_name := next((name for name in found if not is_utf8(name)), None):
                raise DatasetError(f"{bad_name!r}: the name is not UTF-8; rename it")
            files += found
            classes += [len(names)] * len(images)
            names.append(path.name)
    if not names:
        raise DatasetError(f"{folder} holds no class folders with images; {root} should hold {layout}")
    if all(name.lower() in SPLIT_NAMES for name in names):
        raise DatasetError(f"{folder} holds {', '.join(names)}, which are not classes; known layouts: {LAYOUTS}")
    if others:
        log.info("%s: %s", folder, skipped_text(others))
    return np.array(files), np.array(classes, np.int64), names


def _class_images(folder: Path, layout: str, others: Counter[str]) -> list[Path]:
    """The images of a class folder, sorted; other files in it are counted.

    Raises DatasetError for a folder that holds class folders, such as ``train``.
    """
    images, inner, below = [], folder, 0
    for path in walk_files(folder):
        if not is_photo(path):
            others[path.suffix.lower() or "without an ending"] += 1
        elif path.parent == folder:
            images.append(path)
        else:
            inner = path.parent if inner == folder else inner
            below += 1
    if below and not images:
        inner_name = inner.relative_to(folder.parent).as_posix()
        raise DatasetError(
            f"{folder.parent}: {folder.name} has only folders of images ({inner_name}); pass the folder that holds the "
            f"class folders: {layout}"
        )
    others.update({"in folders below class folders": below} if below else {})
    return sorted(images)


READERS: dict[str, Callable[[Path], ImageList]] = {"cub": _cub, "cars": _cars, "sop": _sop, "folders": _folders}
