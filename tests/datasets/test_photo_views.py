"""A city of altered views of photographs: what it holds, and when it is made again."""

import numpy as np
import pytest
from photos import large_photo
from PIL import Image

from vpr.base.files import file_digest
from vpr.datasets import photo_views, view_changes
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


def test_views_of_a_few_pixels_are_refused(photographs, tmp_path, capsys):
    assert photo_views.main(["--photos", str(photographs), "--out", str(tmp_path / "tree"), "--size", "3"]) == 1
    assert "pass --size 16 or more" in capsys.readouterr().err
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


def edges(path):
    """Where the picture changes most from pixel to pixel, as a unit vector."""
    with Image.open(path) as opened:
        grey = np.asarray(opened.convert("L"), np.float32)
    steps = np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:]
    found = (steps - steps.mean()).ravel()
    return found / np.linalg.norm(found)


def test_at_another_time_the_camera_stays(photographs, tmp_path):
    alike = {}
    for change in ("viewpoint", "time"):
        out = tmp_path / change
        make(photographs, out, "--change", change, "--views", "12", "--size", "96")
        images = out / "train_val/photos"
        front = edges(images / "database/images/p0000d.jpg")
        views = [path for path in (images / "query/images").iterdir() if path.name.startswith("p0000")]
        alike[change] = np.median([front @ edges(path) for path in views])
    assert alike["time"] > alike["viewpoint"] + 0.2


def test_views_at_another_time_are_the_same_bytes_again(photographs, tmp_path, capsys):
    later = ("--change", "time", "--size", "32", "--views", "2")
    first = make(photographs, tmp_path / "a", *later)
    assert make(photographs, tmp_path / "b", *later) == first
    elsewhere = ("--size", "32", "--views", "2")
    make(photographs, tmp_path / "c", *elsewhere)
    for tree, options, found in (("a", elsewhere, "change time"), ("c", later, "change not given")):
        assert photo_views.main(["--photos", str(photographs), "--out", str(tmp_path / tree), *options]) == 1
        assert f"holds another photo-views ({found})" in capsys.readouterr().err


@pytest.fixture
def street():
    """A bright sky above a darker ground with texture, 64 x 64 pixels."""
    pixels = np.random.default_rng(0).uniform(0, 0.6, (64, 64, 3)).astype(np.float32)
    pixels[:24] = (0.6, 0.7, 0.9)
    return pixels


def test_the_sky_is_what_is_flat_and_bright_above(street):
    sky = view_changes._sky(street)[..., 0]
    assert sky[:20].all()
    assert not sky[28:].any()
    assert not view_changes._sky(street[::-1]).any()  # below is no sky
    assert not view_changes._sky(np.full_like(street, 0.8)).any()  # nor is a picture of one colour


def test_things_in_front_cover_a_part_of_the_lower_rows(street):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        changed = (view_changes._things_in_front(street, np.ones_like(street), rng) != street).any(2)
        assert not changed[:16].any()
        assert changed.mean() <= view_changes.THINGS * 0.3**2


def test_another_time_leaves_the_pictures_as_they_are(street):
    before, other = street.copy(), np.random.default_rng(1).random(street.shape, np.float32)
    of_other = other.copy()
    seen = [view_changes.at_another_time(street, other, np.random.default_rng(seed)) for seed in range(30)]
    assert all(picture.shape == street.shape and np.isfinite(picture).all() for picture in seen)
    assert (street == before).all()
    assert (other == of_other).all()
