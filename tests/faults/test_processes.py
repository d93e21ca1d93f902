"""What a process meets outside its files: Ctrl-C while it starts, folders that it may not write."""

import os
import shutil
from pathlib import Path

import pytest
from damage import snapshot
from permissions import needs_permissions, python
from warm import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def locked():
    """Takes the right to write from a folder and all below it, until the test ends."""
    folders = []

    def lock(folder: Path) -> Path:
        folders.extend(path for path in (folder, *folder.rglob("*")) if path.is_dir())
        for path in folders:
            path.chmod(0o555)
        return folder

    yield lock
    for path in folders:
        path.chmod(0o755)


@pytest.mark.parametrize("module", ["jsonargparse", "faiss"])
def test_control_c_during_an_import_ends_in_one_line(case, module):
    """The module presses it itself, in the middle of its import; one is imported at the start, one inside the work."""
    pressed = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(20)\n"
    (case / f"{module}.py").write_text(pressed)
    arguments = ["--run", "run", "--data", "tree", "--cache", "a.h5", "--device", "cpu"]
    done = python("-m", "eval.msls", *arguments, cwd=case, PYTHONPATH=f"{case}{os.pathsep}{ROOT}")
    said = "python -m eval.msls: interrupted; the same command continues from here"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (130, said) and "Traceback" not in done.stderr


def test_other_programs_keep_their_own_control_c(tmp_path):
    (tmp_path / "other.py").write_text("import signal, vpr\nassert signal.getsignal(2) is signal.default_int_handler\n")
    assert python("-m", "other", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}").returncode == 0


@needs_permissions
def test_a_run_that_may_only_be_read_is_evaluated(case, locked, tmp_path):
    shutil.rmtree(case / "run/cache", ignore_errors=True)
    locked(case / "run")
    before = snapshot(case / "run")
    arguments = ["--run", "run", "--data", "tree", "--device", "cpu", "--rerank", "--shortlist", "teacher"]
    done = python("-m", "eval.msls", *arguments, cwd=case, VPR_CACHE_DIR=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert snapshot(case / "run") == before and "run/cache cannot be written; descriptors are kept in" in done.stderr
    assert len(list((tmp_path / "cache/descriptors").glob("*.h5"))) == 2


@needs_permissions
def test_a_map_that_may_only_be_read_is_asked(case, locked, tmp_path):
    for name in ("map", "run"):
        locked(case / name)
    before = snapshot(case / "map")
    photo = next((case / "tree/train_val/cph/query/images").iterdir())
    done = python("-m", "vpr.locate", "map", photo, "--device", "cpu", cwd=case, VPR_CACHE_DIR=tmp_path / "cache")
    assert done.returncode == 0 and "photos are on the map" in done.stdout, done.stderr
    assert snapshot(case / "map") == before
    known = next((case / "tree/train_val/cph/database/images").iterdir())
    refused = python("-m", "vpr.map", "map", "remove", known.name, "--device", "cpu", cwd=case)
    line = refused.stderr.splitlines()[-1]
    assert refused.returncode == 1 and line.endswith("permission denied; check the path and its permissions"), line


@needs_permissions
def test_compiled_code_is_kept_where_it_can_be_written_or_in_memory(locked, tmp_path):
    nothing, install = tmp_path / "nothing", tmp_path / "install"
    nothing.mkdir()
    shutil.copytree(ROOT / "vpr", install / "vpr", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    for folder in (install, nothing):
        locked(folder)
    script = (
        "from vpr.transport.cpu import compiling, fused; from numba import config; "
        "print(compiling.__file__, compiling.ENTRY['cache'], config.CACHE_DIR)"
    )
    kept = {"HOME": nothing, "XDG_CACHE_HOME": None, "NUMBA_CACHE_DIR": None}
    for moved, expected in ((None, f"False {nothing}/.cache/vpr/numba"), (tmp_path / "c", f"True {tmp_path}/c/numba")):
        done = python("-c", script, cwd=install, VPR_CACHE_DIR=moved, **kept)
        assert done.stdout.split(" ", 1) == [f"{install}/vpr/transport/cpu/compiling.py", expected + "\n"], done.stderr
