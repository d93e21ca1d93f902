"""A city of altered views of photographs: what it holds, and when it is made again."""

import numpy as np
import pytest
from photos import large_photo
from PIL import Image

from vpr.base.files import file_digest
from vpr.datasets import photo_views
from vpr.datasets.msls import Protocol, load


@pytest.fixture
def photographs(tmp_path):
    """Two photographs, one of them twice, and pictures that make no place."""
    folder = tmp_path / "photographs"
    large_photo(folder / "a.jpg", 1)
    large_photo(folder / "below/b.png", 2)
    large_photo(folder / "copy.jpg", 1)
    Image.new("RGB", (600, 600), "grey").save(folder / "flat.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)).save(folder / "small.jpg")
    (folder / "damaged.jpg").write_bytes((folder / "a.jpg").read_bytes()[:3000])
    chunk = (folder / "below/b.png").read_bytes()
    (folder / "chunk.png").write_bytes(chunk[:12] + b"IHDX" + chunk[16:])  # Pillow raises SyntaxError
    return folder


def make(photographs, out, *options):
    assert photo_views.main(["--photos", str(photographs), "--out", str(out), *options]) == 0
    return {str(path.relative_to(out)): file_digest(path) for path in out.rglob("*") if path.is_file()}


def test_each_photograph_is_a_place_of_the_tree(photographs, tmp_path):
    make(photographs, tmp_path / "tree", "--views", "3", "--size", "64")
    (city,) = load(tmp_path / "tree", Protocol(cities=("photos",))).cities
    assert (len(city.database), len(city.query)) == (2, 6)
    assert city.positives.counts.tolist() == [1] * 6
    with Image.open(tmp_path / "tree/train_val/photos/query/images/p0001q2.jpg") as view:
        assert view.size == (64, 64)


def test_the_same_photographs_give_the_same_bytes(photographs, tmp_path, capsys):
    first = make(photographs, tmp_path / "a", "--size", "32")
    assert make(photographs, tmp_path / "b", "--size", "32") == first
    (tmp_path / "a/train_val/photos/query/images/p0000q.jpg").touch()
    assert make(photographs, tmp_path / "a", "--size", "32") == first
    large_photo(photographs / "more.jpg", 3)
    assert photo_views.main(["--photos", str(photographs), "--out", str(tmp_path / "a"), "--size", "32"]) == 1
    assert "holds another photo-views (photos " in capsys.readouterr().err


def test_a_city_joins_a_tree(photographs, tiny_tree, tmp_path):
    out = tmp_path / "tree"
    (out / "train_val").mkdir(parents=True)
    (out / "train_val/cph").symlink_to(tiny_tree / "train_val/cph")
    make(photographs, out, "--city", "others", "--size", "32")
    assert len(load(out, Protocol(cities=("cph", "others"))).cities) == 2


@pytest.mark.parametrize("city", ["../photos", "", "a/b", ".."])
def test_a_city_is_one_name(photographs, tmp_path, capsys, city):
    given = ["--photos", str(photographs), "--out", str(tmp_path / "tree"), "--city", city]
    assert photo_views.main(given) == 1
    assert "--city" in capsys.readouterr().err
    assert not (tmp_path / "tree").exists()


def test_views_are_no_photographs(photographs, capsys):
    assert photo_views.main(["--photos", str(photographs), "--out", str(photographs / "tree")]) == 1
    assert "where its views would be taken for photographs" in capsys.readouterr().err


def test_at_most_so_many_places(photographs, tmp_path):
    assert len([name for name in make(photographs, tmp_path / "a", "--places", "1") if name.endswith(".jpg")]) == 2


def test_a_folder_without_photographs_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, words in (("none", "check --photos"), ("empty", "name another folder with --photos")):
        assert photo_views.main(["--photos", str(tmp_path / name), "--out", str(tmp_path / "tree")]) == 1
        assert words in capsys.readouterr().err
        assert not (tmp_path / "tree").exists()
