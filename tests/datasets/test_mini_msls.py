"""Mini-MSLS: same seed, same bytes; the MSLS layout; ground truth; resuming; refusals."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vpr.datasets import mini_msls
from vpr.datasets.default_data import PARTIAL_MANIFEST, ensure_mini_msls
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.options import DatasetOptions
from vpr.datasets.street_world import rendering
from vpr.datasets.street_world.config import scale_config, tiny_config
from vpr.datasets.street_world.rendering import render, world_folder
from vpr.datasets.street_world.tables import FILES, city_tables

ROOT = Path(__file__).resolve().parents[2]


def fingerprints(root: Path) -> dict[str, str]:
    """Return the hash of every file of a tree by its relative path."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read(folder: Path, name: str) -> pd.DataFrame:
    """Read one CSV of the tree."""
    return pd.read_csv(folder / name, index_col=0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A tiny tree, rendered by two processes."""
    return render(tiny_config(), tmp_path_factory.mktemp("mini") / "tree", workers=2)


def sides(root: Path):
    """Yield every query and database folder."""
    for plan in tiny_config().cities:
        for side in ("query", "database"):
            yield root / plan.part / plan.name / side


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_workers(tree, tmp_path):
    again = render(tiny_config(), tmp_path / "again", workers=1)
    assert fingerprints(again) == fingerprints(tree)


def test_other_seeds_share_no_key(tree, tmp_path):
    few = tuple(replace(city, streets=1, strays=0, queries=1) for city in tiny_config().cities[:1])
    other = render(replace(tiny_config(7), cities=few), tmp_path / "other", workers=1)
    names = [{path.name for path in root.rglob("*.jpg")} for root in (tree, other)]
    assert names[0] and names[1] and not names[0] & names[1]


def test_the_layout_is_that_of_msls(tree):
    keys: list[str] = []
    for folder in sides(tree):
        tables = [read(folder, name) for name in FILES]
        for table in tables:
            assert list(table.index) == list(range(len(table)))
            assert list(table["key"]) == list(tables[0]["key"])
        assert sorted(path.stem for path in (folder / "images").iterdir()) == sorted(tables[0]["key"])
        keys += list(tables[0]["key"])
    assert len(set(keys)) == len(keys) and all(len(key) == 22 for key in keys)
    counts = json.loads(world_folder(tree, tiny_config()).manifest.read_text())["counts"]
    assert sum(sum(side.values()) for side in counts.values()) == len(keys)
    assert not world_folder(tree, tiny_config()).partial_manifest.exists()


def test_columns_and_values(tree):
    for folder in sides(tree):
        raw, seq, post, subtask = (read(folder, name) for name in FILES)
        assert list(raw) == ["key", "lon", "lat", "ca", "captured_at", "pano"]
        assert list(seq) == ["key", "sequence_key", "frame_number"]
        assert set(post) >= {"easting", "northing", "night", "control_panel", "view_direction", "unique_cluster"}
        assert list(subtask) == ["key", "all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d"]
        assert subtask["all"].all() and raw["ca"].between(0, 360).all()
        assert set(post["view_direction"]) <= {"Forward", "Backward", "Sideways"}
        night = "n2d" if folder.name == "query" else "d2n"
        assert (subtask[night] == post["night"]).all()
        for _, rows in seq.groupby("sequence_key"):
            assert (np.diff(rows["frame_number"]) >= 1).all()


def test_compass_tells_where_a_forward_camera_drives():
    config = scale_config()

    tables = city_tables(replace(config, cities=config.cities[:1]), config.cities[0])["database"]
    post, errors = tables["postprocessed.csv"], []
    for _, rows in post.groupby(tables["seq_info.csv"]["sequence_key"]):
        if (rows["view_direction"] == "Forward").all():
            east, north = np.diff(rows[["easting", "northing"]].to_numpy()[[0, -1]], axis=0)[0]
            ca = tables["raw.csv"].loc[rows.index, "ca"]
            errors += list((ca - np.degrees(np.arctan2(east, north)) + 180) % 360 - 180)
    assert abs(np.mean(errors)) < 3 and np.std(errors) < 20


def test_ground_truth(tree):
    for city in ("cph", "sf"):
        places = [
            read(tree / "train_val" / city / side, "postprocessed.csv")[["easting", "northing"]].to_numpy()
            for side in ("query", "database")
        ]
        distances = np.linalg.norm(places[0][:, None] - places[1][None], axis=2)
        covered = (distances <= 25).any(axis=1)
        assert 0.5 < covered.mean() < 1.0  # the stray street has no positives
        assert distances[~covered].min() > 100


def test_every_subtask_has_both_sides_in_the_validation_cities():

    config = scale_config()
    for side in ("query", "database"):
        tables = [
            city_tables(config, plan)[side]["subtask_index.csv"] for plan in config.cities if plan.name in ("cph", "sf")
        ]
        assert (pd.concat(tables).drop(columns="key").sum() > 0).all()


def test_images_are_pictures(tree):
    wide = 0
    for folder in sides(tree):
        raw = read(folder, "raw.csv")
        for key, pano in zip(raw["key"], raw["pano"], strict=True):
            with Image.open(folder / "images" / f"{key}.jpg") as image:
                pixels = np.asarray(image)
            wide += pano
            assert pixels.shape == (56, 112 if pano else 56, 3)
            assert pixels.std() > 4
    assert wide < 30


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bytes(tree, tmp_path):
    out = tmp_path / "killed"
    code = (
        "import sys; from pathlib import Path; from vpr.datasets.street_world.rendering import render; "
        "from vpr.datasets.street_world.config import tiny_config; "
        "render(tiny_config(), Path(sys.argv[1]), workers=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], env=dict(os.environ, PYTHONPATH=str(ROOT)))
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.jpg"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not world_folder(out, tiny_config()).manifest.exists()
    render(tiny_config(), out, workers=2)
    assert fingerprints(out) == fingerprints(tree)


def test_a_kill_before_the_note_is_written_leaves_a_folder_that_can_be_used(tmp_path, seams):
    seams.replace("vpr.datasets.rendered_folder.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rendering.make_folders(tmp_path, tiny_config(), tiny_config().cities)
    (tmp_path / ".mini_msls.partial.json.host.1-1.tmp").touch()
    assert not world_folder(tmp_path, tiny_config()).is_complete()


def test_city_after_city_is_the_same_tree(tree, tmp_path):
    for cities in (["sf", "cph"], [], ["cph"], ["london"]):
        render(tiny_config(), tmp_path, workers=1, cities=cities)
    assert {path.name for path in (tmp_path / "train_val").iterdir()} == {"sf", "cph", "london"}
    assert not world_folder(tmp_path, tiny_config()).manifest.exists()
    render(tiny_config(), tmp_path, workers=1)
    assert fingerprints(tmp_path) == fingerprints(tree)
    with pytest.raises(DatasetError, match=r"no city 'atlantis'; it holds trondheim, "):
        render(tiny_config(), tmp_path / "other", cities=["atlantis"])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (DatasetOptions(), ["cph", "sf"]),
        (DatasetOptions(split="test"), ["miami"]),
        (DatasetOptions(split="train", cities=("london",)), ["london"]),
    ],
)
def test_a_command_renders_the_cities_that_it_reads(options, wanted, seams):
    asked = []
    seams.replace("vpr.datasets.street_world.rendering.render", lambda *given: asked.append(given[-1]) or Path("there"))
    assert options.root() == Path("there") and asked == [wanted]


def test_a_tree_that_is_named_and_not_complete_is_continued(tmp_path, seams):
    root = world_folder(tmp_path, scale_config("medium", 3))
    assert DatasetOptions(data=tmp_path).root() == tmp_path  # no tree of ours
    root.begin()
    asked = []
    seams.replace("vpr.datasets.street_world.rendering.render", lambda *given: asked.append(given) or given[1])
    assert (
        root.partial_manifest.name == PARTIAL_MANIFEST
        and DatasetOptions(data=tmp_path, split="test").root() == tmp_path
    )
    assert asked == [(scale_config("medium", 3), tmp_path, None, ["miami"])]


def test_a_complete_tree_returns_at_once(tree, tmp_path, seams):
    """Nothing is rendered, and no file is read or written."""
    render_units = seams.watch("vpr.datasets.street_world.rendering.render_units")
    digest = seams.watch("vpr.datasets.street_world.rendering.tree_digest")
    tables = seams.watch("vpr.datasets.street_world.rendering.write_tables")
    one = replace(tiny_config(), cities=tuple(replace(city, streets=1, strays=0) for city in tiny_config().cities[:1]))
    small = render(one, tmp_path / "small", workers=1)  # each of them is called for an incomplete tree
    before = {path: path.stat().st_mtime_ns for root in (tree, small) for path in root.rglob("*")}
    for watched in (render_units, digest, tables):
        watched.forbid()
    assert render(tiny_config(), tree) == tree and render(one, small) == small
    assert {path: path.stat().st_mtime_ns for root in (tree, small) for path in root.rglob("*")} == before


def test_another_world_is_refused(tree):
    with pytest.raises(DatasetError, match="choose another --out"):
        render(tiny_config(1), tree)


def test_foreign_folders_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not a mini-MSLS tree"):
        render(tiny_config(), tmp_path)


def test_the_command_fails_with_one_line(tree, tmp_path, capsys):
    assert mini_msls.main(["--out", str(tree), "--seed", "3"]) == 1
    assert mini_msls.main(["--out", str(tmp_path / "x"), "--seed", "-1"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and all(line.startswith("python -m datasets.mini_msls: error: ") for line in lines)


def test_the_cache_folder_can_be_moved(monkeypatch, seams, tmp_path):
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path))
    seams.replace("vpr.datasets.street_world.rendering.render", lambda config, folder, *rest: folder)
    assert ensure_mini_msls(seed=4).is_relative_to(tmp_path / "mini_msls")
