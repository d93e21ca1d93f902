"""Labelled sets in their published layouts, and mini-retrieval in each of them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from vpr.datasets.bird_world.config import tiny_birds
from vpr.datasets.bird_world.rendering import render
from vpr.datasets.errors import DatasetError
from vpr.datasets.labels import load
from vpr.datasets.mini_retrieval import main

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = ("cub", "cars", "sop", "folders")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return {name: render(tiny_birds(name), tmp_path_factory.mktemp("sets") / name) for name in LAYOUTS}


def contents(root):
    return {path.name: path.read_bytes() for path in root.rglob("*.jpg")}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_has_the_same_images_in_the_same_halves(sets, layout):
    split = load(layout, sets[layout])
    sides = split.training, split.testing
    assert [len(side.files) for side in sides] == [32, 32]
    assert [np.unique(side.classes, return_counts=True)[1].tolist() for side in sides] == [[8] * 4] * 2
    assert not set(sides[0].classes) & set(sides[1].classes)
    plain = load("folders", sets["folders"])
    for side, known in zip(sides, (plain.training, plain.testing)):
        first, second = (
            sorted((one.root / file).read_bytes() for file in one.files[one.classes == one.classes.min()])
            for one in (side, known)
        )
        assert first == second
    assert (split.size_remark() is None) == (layout == "folders")
    with Image.open(split.testing.root / split.testing.files[0]) as image:
        assert image.size == (48, 48) and np.asarray(image).std() > 5


def test_every_image_asks_for_the_others_of_its_class(sets):
    tested = load("folders", sets["folders"]).testing
    data = tested.retrieval_set()
    assert data.own.tolist() == list(range(32)) and data.drives.tolist() == tested.classes.tolist()
    for image, row in enumerate(data.positives):
        others = [n for n in range(32) if n != image and tested.classes[n] == tested.classes[image]]
        assert row.tolist() == others
    some = tested.retrieval_set(np.array([tested.classes[-1]]))
    assert some.own.tolist() == list(range(24, 32)) and len(some.database) == 32
    assert all(set(row) | {own} == set(range(24, 32)) for row, own in zip(some.positives, some.own))
    assert data.fingerprint != replace(tested, files=tested.files[::-1]).fingerprint


def test_a_search_leaves_the_query_out(sets):
    data = load("folders", sets["folders"]).testing.retrieval_set()
    ranked = np.array([[n, (n + 1) % 32, (n + 2) % 32] for n in range(32)])
    ranked[5] = [7, 5, 8]
    ranked[6] = [1, 2, 3]  # itself is not there at all
    similarity = np.tile([0.9, 0.5, 0.1], (32, 1))
    values, found = data.without_own(similarity, ranked)
    assert found[0].tolist() == [1, 2] and found[5].tolist() == [7, 8] and found[6].tolist() == [1, 2]
    assert values[0].tolist() == [0.5, 0.1] and values[5].tolist() == [0.9, 0.1] and values[6].tolist() == [0.9, 0.5]


def test_the_table_of_cars_is_read(sets, tmp_path):
    split = load("cars", sets["cars"])
    files = np.concatenate([split.training.files, split.testing.files])
    classes = np.concatenate([split.training.classes, split.testing.classes])
    row = np.dtype([("relative_im_path", object), ("class", object)])
    table = np.array([(file, number + 1) for file, number in zip(files, classes)], row)
    names = np.array(split.images.names, object)
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"annotations": table, "class_names": names})
    again = load("cars", tmp_path)
    assert again.testing.files.tolist() == split.testing.files.tolist()
    assert again.testing.fingerprint == split.testing.fingerprint
    (tmp_path / "cars_annos.mat").write_bytes((tmp_path / "cars_annos.mat").read_bytes()[:200])
    with pytest.raises(DatasetError, match="is not a cars_annos.mat"):
        load("cars", tmp_path)


def test_classes_to_test_on_may_be_named(sets, tmp_path):
    (tmp_path / "a.txt").write_text("bird_000\n\nbird_007 \n")
    split = load("folders", sets["folders"], tmp_path / "a.txt")
    assert {Path(file).parts[0] for file in split.testing.files} == {"bird_000", "bird_007"}
    (tmp_path / "b.txt").write_text("bird_000\nalbatross\n")
    with pytest.raises(DatasetError, match=r"names 'albatross', which is not a class \(1 such names\)"):
        load("folders", sets["folders"], tmp_path / "b.txt")


def test_what_is_missing_or_odd_is_named(sets, tmp_path):
    with pytest.raises(DatasetError, match="pass --data of the unpacked set"):
        load("cub", tmp_path / "nowhere")
    missing = {"cub": "no folder", "cars": "no class folders", "sop": "no .*Ebay_train.txt", "folders": "no class"}
    for layout, words in missing.items():
        with pytest.raises(DatasetError, match=words):
            load(layout, tmp_path)
    (tmp_path / "images" / "lark").mkdir(parents=True)
    (tmp_path / "images" / "lark" / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match="no class folders with images"):
        load("cub", tmp_path)
    (tmp_path / "images" / "lark" / "a.JPG").write_bytes(b"")
    with pytest.raises(DatasetError, match="class folders of CUB are named NNN.NAME"):
        load("cub", tmp_path)
    table = (sets["sop"] / "Ebay_train.txt").read_text()
    odd = {
        table.replace("path", "where"): "lacks the columns",
        table: "class 1 is in Ebay_train.txt and in Ebay_test.txt; remove it",
    }
    for content, words in odd.items():
        for name in ("Ebay_train.txt", "Ebay_test.txt"):
            (tmp_path / name).write_text(content)
        with pytest.raises(DatasetError, match=words):
            load("sop", tmp_path)


def test_a_name_that_is_no_text_is_named(sets, tmp_path):
    folder = tmp_path / "set" / "lark"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    with pytest.raises(DatasetError, match="the name is not UTF-8; rename it"):
        load("folders", tmp_path / "set")


def photo(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)).save(path)
    return path


def classes_of(folder, names, images=3):
    for number, name in enumerate(names):
        for image in range(images):
            photo(folder / name / f"{image}.jpg", 10 * number + image)
    return folder


def test_near_copies_of_systems_are_no_images(tmp_path, caplog):
    caplog.set_level("INFO", "vpr")
    classes_of(tmp_path, ("lark", "wren", "crow", "kite"))
    before = load("folders", tmp_path).images
    for path in list(tmp_path.rglob("*.jpg")):
        photo(path.parent / "@eaDir" / path.name / "SYNOPHOTO_THUMB_M.jpg", 0)
        photo(path.parent / ".ipynb_checkpoints" / f"{path.stem}-checkpoint.jpg", 0)
        photo(path.parent / "__MACOSX" / f"._{path.name}", 0)
        path.with_name(f"._{path.name}").write_bytes(b"x")
    for name in ("@eaDir", ".Trash-1000", "#recycle", "__MACOSX"):
        photo(tmp_path / name / "a.jpg", 0)
    after = load("folders", tmp_path).images
    assert after.files.tolist() == before.files.tolist() and after.fingerprint == before.fingerprint
    assert "skipped" not in caplog.text
    photo(tmp_path / "lark" / "small" / "0.jpg", 0)
    (tmp_path / "lark" / "notes.txt").write_text("x")
    assert load("folders", tmp_path).images.fingerprint == before.fingerprint
    assert "2 other files are skipped (1 .txt, 1 in folders below class folders)" in caplog.text


@pytest.mark.parametrize("layout", ["folders", "cars"])
def test_folders_above_class_folders_are_no_classes(tmp_path, layout):
    for half in ("train", "test"):
        classes_of(tmp_path / half, ("lark", "wren"))
    with pytest.raises(DatasetError, match=r"test has only folders of images \(test/lark\); pass the folder"):
        load(layout, tmp_path)
    assert len(load(layout, tmp_path / "train").images.files) == 6


def test_cars_of_kaggle_are_no_classes(tmp_path):
    for half in ("cars_train", "cars_test"):
        photo(tmp_path / "nested" / half / half / "00001.jpg", 0)
        photo(tmp_path / "flat" / half / "00001.jpg", 0)
    with pytest.raises(DatasetError, match=r"cars_test has only folders of images .*cars_annos.mat"):
        load("cars", tmp_path / "nested")
    for layout in ("cars", "folders"):
        with pytest.raises(
            DatasetError, match="holds cars_test, cars_train, which are not classes; known layouts: CUB"
        ):
            load(layout, tmp_path / "flat")


def test_images_of_one_class_have_no_wrong_answer(tmp_path):
    classes_of(tmp_path, ("lark", "wren"))
    split = load("folders", tmp_path)
    with pytest.raises(DatasetError, match="all 3 images are of one class, so every answer would be right"):
        split.testing.retrieval_set()
    assert len(split.images.retrieval_set().scored) == 6


def test_an_image_that_is_listed_twice(sets, tmp_path):
    for name in ("Ebay_train.txt", "Ebay_test.txt"):
        (tmp_path / name).write_text((sets["sop"] / name).read_text())
    lines = (tmp_path / "Ebay_test.txt").read_text().split("\n")
    (tmp_path / "Ebay_test.txt").write_text("\n".join([*lines[:-1], lines[1], ""]))
    with pytest.raises(DatasetError, match=r"lists .*jpg twice \(1 such images\); an image would be its own answer"):
        load("sop", tmp_path)
    fields = lines[1].split()
    fields[1] += ".5"
    (tmp_path / "Ebay_test.txt").write_text("\n".join([lines[0], " ".join(fields), *lines[2:]]))
    with pytest.raises(DatasetError, match="a class_id is not a whole number"):
        load("sop", tmp_path)


def test_names_of_classes_with_other_white_space(tmp_path):
    names = ("a\u00a0b", "c\u2028d", "e", "f\u3000")
    classes_of(tmp_path / "set", names)
    (tmp_path / "a.txt").write_bytes("\ufeffa\u00a0b\r\nc\u2028d\r\nf\u3000\r\n".encode())
    assert load("folders", tmp_path / "set", tmp_path / "a.txt").is_training.tolist() == [False, False, True, False]


@pytest.mark.parametrize("ending", [".JFIF", ".avif", ".gif", ".MPO", ".webp", ".jp2"])
def test_images_of_other_endings_are_images(tmp_path, ending):
    classes_of(tmp_path, ("lark", "wren"))
    (tmp_path / "lark" / f"z{ending}").write_bytes(b"x")
    assert len(load("folders", tmp_path).images.files) == 7


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b'{"config": [1]}', b"[]"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / "mini_retrieval.json").write_bytes(content)
    with pytest.raises(DatasetError, match="is not a mini-retrieval manifest; remove its folder"):
        render(tiny_birds(), tmp_path)


@pytest.mark.slow
def test_a_killed_rendering_resumes_to_the_same_bytes(sets, tmp_path):
    code = (
        "import sys; from pathlib import Path; from vpr.datasets.bird_world.rendering import render; "
        "from vpr.datasets.bird_world.config import tiny_birds; render(tiny_birds(), Path(sys.argv[1]), workers=1)"
    )
    out = tmp_path / "set"
    process = subprocess.Popen([sys.executable, "-c", code, str(out)], env=dict(os.environ, PYTHONPATH=str(ROOT)))
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.jpg"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "mini_retrieval.json").exists()
    render(tiny_birds(), out, workers=2)
    assert contents(out) == contents(sets["folders"]) and not list(out.glob("*partial*"))
    with pytest.raises(DatasetError, match=r"holds another mini-retrieval \(seed 0\); choose another --out"):
        render(replace(tiny_birds(), seed=1), out)


def test_the_command_prints_the_halves_and_draws_a_sheet(seams, tmp_path, capsys):
    tiny = tiny_birds("cub")
    seams.replace("vpr.datasets.bird_world.config.BirdConfig", lambda *_: tiny)
    arguments = ["--out", str(tmp_path / "set"), "--layout", "cub", "--contact-sheet", str(tmp_path / "sheet.png")]
    assert main(arguments) == 0
    assert "train     4 classes     32 images\ntest      4 classes     32 images\n" in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.asarray(sheet)[: 4 * 112].std() > 20
    assert json.loads((tmp_path / "set" / "mini_retrieval.json").read_text())["images"] == 64
