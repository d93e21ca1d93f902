"""Damages to the files of a case, by what they are done to."""

import os
import shutil

import numpy as np
from damage import (
    edit_json,
    edit_row,
    fill_cache,
    rename_key,
    zip_of,
)
from training_trees import make_gsv

QUERY = "tree/train_val/cph/query"
PLACES = "tree/train_val/cph/database/postprocessed.csv"


def nothing(case):
    """No damage: the options are the fault."""


def config(setting, value):
    """A recorded setting of the run's model."""
    return lambda case: edit_json(case / "run/config.json", f"run.model.{setting}", value)


def metrics(setting, value):
    """A part of the run's metrics."""
    return lambda case: edit_json(case / "run/metrics.json", setting, value)


def cached(name, value):
    """A row of the cache."""
    return lambda case: fill_cache(case / "a.h5", name, value)


def key(name):
    """The key of a query."""
    return lambda case: rename_key(case / QUERY, name)


def easting(value):
    """A coordinate of a query."""
    return lambda case: edit_row(case / QUERY / "postprocessed.csv", "easting", value)


def street_views(case):
    """GSV-Cities with a place that has no number, in ``gsv``."""
    table = make_gsv(case / "gsv") / "Dataframes" / "London.csv"
    lines = table.read_text().split("\n")
    table.write_text("\n".join([*lines[:2], f"x{lines[2]}".replace("x0", "x"), *lines[3:]]))


def emptied(case):
    """A place without coordinates."""
    for column in ("easting", "northing"):
        edit_row(case / PLACES, column, "")


def listing(*lines):
    """A list of photos, l.csv."""
    return lambda case: (case / "l.csv").write_text("".join(f"{line}\n" for line in lines))


def settings(text):
    """A file of settings of a table over sets, t.yaml."""
    return lambda case: (case / "t.yaml").write_text(text)


def zipped(kind):
    """A zip of predictions."""
    return lambda case: zip_of(case / "p.csv", case / "z.zip", kind)


def pickled(name):
    """An array whose pickle calls a function."""

    class Called:
        def __reduce__(self):
            return os.system, ("touch called",)

    def made(case):
        array = np.empty(1, object)
        array[0] = Called()
        np.save(case / name, array)

    return made


def on(name, damage, *more):
    """A damage done to one file."""
    return lambda case: damage(case / name, *more)


def photos(damage=nothing, *more):
    """Two photos, A.jpg and B.jpg, the second of which is damaged."""

    def made(case):
        for name, photo in zip(("A.jpg", "B.jpg"), sorted((case / QUERY / "images").iterdir())):
            shutil.copy(photo, case / name)
        if damage is not nothing:
            damage(case / "B.jpg", *more)

    return made
