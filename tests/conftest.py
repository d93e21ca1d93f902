"""What all tests share: a cache folder of their own, a tiny rendered tree, and tiny runs for the commands."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from seams import Seams
from tiny import SMALL, TEACHER


def pytest_configure(config: pytest.Config) -> None:
    """No test touches the user's cache; only compiled kernels outlive a session, in pytest's own cache.

    Ctrl-C ends a process again: a shell ignores it for jobs in the background, and child processes inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="vpr-tests-"))
    if getattr(config, "cache", None) is not None:
        (folder / "kernels").symlink_to(config.cache.mkdir("kernels"), target_is_directory=True)
    config.stash[CACHE_FOLDER] = folder
    os.environ["VPR_CACHE_DIR"] = str(folder)
    # Exporting the many small networks of the tests takes minutes; tests of the other engine unset it.
    os.environ["VPR_ENGINE"] = "torch"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what is costly to make run in one process: those of a file, and all that try faults."""
    for item in items:
        file = item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group("faults" if "/faults/" in file else file))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests cached."""
    shutil.rmtree(config.stash[CACHE_FOLDER], ignore_errors=True)


CACHE_FOLDER = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def tiny_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MSLS tree of about 150 small images; tests that change it copy it first."""
    from vpr.datasets.street_world.config import tiny_config
    from vpr.datasets.street_world.rendering import render

    return render(tiny_config(), tmp_path_factory.mktemp("tiny") / "tree")


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of 64 small images, eight of each class."""
    from vpr.datasets.bird_world.config import tiny_birds
    from vpr.datasets.bird_world.rendering import render

    return render(tiny_birds(), tmp_path_factory.mktemp("birds") / "set")


@pytest.fixture(scope="session")
def teacher_run(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NetVLAD teacher after a handful of steps."""
    from vpr.teacher import main

    out = tmp_path_factory.mktemp("runs") / "teacher"
    assert main(["--data", str(tiny_tree), "--out", str(out), "--clusters", "4", *TEACHER]) == 0
    return out


@pytest.fixture(scope="session")
def distilled_run(tiny_tree: Path, teacher_run: Path) -> Path:
    """A distilled student after a handful of steps."""
    from vpr.distill.__main__ import main

    out = teacher_run.parent / "distill"
    arguments = ["--data", str(tiny_tree), "--teacher", str(teacher_run), "--out", str(out), "--grid", "3", *SMALL]
    assert main(arguments) == 0
    return out


@pytest.fixture(scope="module")
def validation(tiny_tree: Path):
    """The validation split of the tiny tree."""
    from vpr.datasets.msls import Protocol, load

    return load(tiny_tree, Protocol())


@pytest.fixture
def seams(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seams]:
    """Functions that are replaced or watched for a test, each of which must be called."""
    replaced = Seams(monkeypatch)
    yield replaced
    replaced.check()


@pytest.fixture
def perfect(validation, tmp_path: Path) -> Path:
    """A prediction file that names a positive first, then nine others, for every scored query."""
    from vpr.eval.files.prediction_file import write_predictions

    data, path = validation.retrieval_set, tmp_path / "perfect.csv"
    rows = []
    for queries, entries in data.spans():
        for query in (query for query in data.scored if queries.start <= query < queries.stop):
            right = data.positives[query].tolist()
            wrong = [entry for entry in range(entries.start, entries.stop) if entry not in right]
            rows.append(data.database.names[[right[0], *wrong][:10]].tolist())
    write_predictions(path, data.queries.names[data.scored].tolist(), rows)
    return path
