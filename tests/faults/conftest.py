"""A small tree with everything that commands read, and the process that tries commands on copies of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import SMALL, TEACHER
from warm import Warm

PLACES = "tree/train_val/cph/database/postprocessed.csv"


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Runs commands in children of one process."""
    process = Warm(tmp_path_factory.mktemp("warm"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def pair(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Warm, Warm]]:
    """Two such processes, for what runs at the same time."""
    second = Warm(tmp_path_factory.mktemp("second"))
    yield warm, second
    second.close()


@pytest.fixture(scope="session")
def whole(warm: Warm, tiny_tree: Path, tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``tree`` and the labelled ``set``, the runs ``teacher`` and ``run``, a full cache ``a.h5``, the
    predictions ``p.csv`` and the ``map`` of a city's database."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny_tree, folder / "tree")
    shutil.copytree(tiny_set, folder / "set")
    usual = ["--run", "run", "--data", "tree", "--cache", "a.h5", "--device", "cpu"]
    for command, arguments in (
        ("vpr.teacher", ["--data", "tree", "--out", "teacher", "--clusters", "4", *TEACHER]),
        ("vpr.distill", ["--data", "tree", "--teacher", "teacher", "--out", "run", "--grid", "3", *SMALL]),
        ("vpr.extract", usual),
        ("eval.msls", [*usual, "--submission", "p.csv"]),
        ("vpr.map", ["map", "add", PLACES, "--crs", "EPSG:32631", "--run", "run", "--device", "cpu"]),
    ):
        done = warm(command, arguments, cwd=folder)
        assert done.code == 0, done.err
    return folder


@pytest.fixture
def case(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "case"))
