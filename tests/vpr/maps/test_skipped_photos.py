"""Unreadable photos and photos without a position: the others are added or located, and the problem is reported."""

import logging
import os
import sys

import numpy as np
import pytest
from damage import cut
from photos import BETWEEN_BATCHES, a_model, add, alike, write_photo, write_photos
from PIL import Image

from vpr.description.images import ImageError
from vpr.description.photos import find_photo_files
from vpr.maps import photo_versions
from vpr.maps.building import remove_photos
from vpr.maps.photo_map import Map
from vpr.positions.errors import MapError


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", range(12))


def test_unreadable_photos_are_left_out_and_tried_again(tmp_path, photos):
    model, folder, whole = a_model(), tmp_path / "map", (photos / "007.jpg").read_bytes()
    (photos / "007.jpg").write_bytes(whole[:-200])
    (photos / "003.jpg").write_text("no image")
    (photos / "p.csv").write_text("file,lat,lon\n003.jpg,47,8\n")
    for turn in range(2):
        done = add(folder, model, photos, photos / "p.csv")
        assert (done.photos, done.new, done.unchanged) == (10, 10 * (not turn), 10 * turn)
        lost = done.left_out.unreadable
        assert [path.rsplit("/", 1)[1] for path in sorted(lost)] == ["003.jpg", "007.jpg"]
        assert lost[str(photos / "003.jpg")].endswith("003.jpg cannot be decoded (no image)")
    (photos / "007.jpg").write_bytes(whole)
    done = add(folder, model, photos)
    assert (done.photos, done.new, done.described, len(done.left_out)) == (11, 1, 1, 0)
    (photos / "003.jpg").unlink()
    add(tmp_path / "fresh", model, photos)
    opened, fresh = (Map.open(one, model).content for one in (folder, tmp_path / "fresh"))
    order = np.argsort(opened.table.keys)
    np.testing.assert_allclose(opened.global_descriptors[order], fresh.global_descriptors, atol=BETWEEN_BATCHES)


def test_a_photo_of_the_map_that_becomes_unreadable_stays_as_it_was(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    before, rows = (
        np.array(Map.open(folder, model).content.global_descriptors),
        Map.open(folder, model).content.table.rows(),
    )
    cut(photos / "005.jpg", 0.6)
    (photos / "p.csv").write_text("file,lat,lon\n005.jpg,47,8\n006.jpg,47,9\n")
    done = add(folder, model, photos / "p.csv")
    assert (done.photos, done.changed, [*done.left_out.unreadable]) == (12, 1, [str(photos / "005.jpg")])
    after = Map.open(folder, model).content
    np.testing.assert_array_equal(after.global_descriptors, before)
    assert [n for n, (one, other) in enumerate(zip(rows, after.table.rows())) if one != other] == [6]
    (folder / "descriptors.h5").unlink()  # now it is needed
    with pytest.raises(MapError, match=r"005.jpg cannot be decoded .*; restore it, or remove it from the map"):
        add(folder, model, photos / "006.jpg")


def test_a_photo_whose_format_needs_a_package_ends_no_folder(tmp_path, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (photos / "a.heic").write_bytes(b"x")
    photo_map = Map.build(tmp_path / "map", photos, model=a_model())
    assert len(photo_map) == 12
    assert photo_map.added.left_out.unreadable[str(photos / "a.heic")].endswith("pip install 'vpr-ot[heic]'")
    assert photo_map.locate_readable([photos / "a.heic"])[0] == []
    with pytest.raises(
        MapError, match=r"none of 1 photos can be added: .*a.heic is HEIC, .*: pip install 'vpr-ot\[heic\]'"
    ):
        photo_map.add(photos / "a.heic")


def test_folders_behind_links_are_read_once(tmp_path, photos):
    (photos / "below").mkdir()
    (photos / "below" / "loop").symlink_to(photos)
    (photos / "far").symlink_to(write_photos(tmp_path / "elsewhere", range(20, 23)))
    (photos / "far2").symlink_to(tmp_path / "elsewhere")
    (photos / "nowhere.jpg").symlink_to("nowhere.jpg")
    found = [path.relative_to(photos).as_posix() for path in find_photo_files(photos)]
    assert found == [*(f"{n:03d}.jpg" for n in range(12)), *(f"far/{n:03d}.jpg" for n in range(20, 23))]


def test_a_link_to_a_photo_is_that_photo(tmp_path, photos):
    model, folder, links = a_model(), tmp_path / "map", tmp_path / "links"
    links.mkdir()
    (photos / "again.jpg").symlink_to("003.jpg")
    (links / "b.jpg").symlink_to(photos / "004.jpg")
    assert add(folder, model, photos).photos == 12
    for given in ((links, photos), (links,)):
        added = Map.open(folder, model).add(*given).added
        assert (added.photos, added.new, added.changed) == (12, 0, 0)
    (links / "far.jpg").symlink_to(write_photo(tmp_path / "far.jpg", (48, 9), seed=50))
    assert Map.open(folder, model).add(links).added.new == 1  # what it leads to is not in the map


def test_a_folder_reached_by_two_paths_is_one(tmp_path, photos):
    model = a_model()
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "way").symlink_to(tmp_path)
    for folder, ways in ((tmp_path / "a", (photos, tmp_path / "link")), (tmp_path / "b", (tmp_path / "link", photos))):
        assert add(folder, model, ways[0]).photos == 12
        write_photo(photos / "002.jpg", (47.002, 8.0), seed=60, size=(96, 80 + ord(folder.name)))
        done = add(folder, model, ways[1], tmp_path / "way" / "link")
        assert (done.photos, done.new, done.changed, done.described) == (12, 0, 1, 1)
        assert (
            remove_photos(folder, model, [str(tmp_path / "link" / "003.jpg"), str(tmp_path / "way/photos/004.jpg")])
            == 2
        )
        write_photos(photos, [2])


def test_a_map_behind_a_link_is_that_map(tmp_path, photos):
    model, folder, link = a_model(), tmp_path / "map", tmp_path / "link"
    link.symlink_to(folder)
    folder.mkdir()
    frames = write_photos(folder / "frames" / "drive", range(20, 24))
    assert add(folder, model, photos, frames).photos == 16
    done = add(link, model, link / "frames", photos)
    assert (done.photos, done.new, done.changed) == (16, 0, 0)
    found = [Map.open(one, model).content.table.keys.tolist() for one in (folder, link)]
    assert found[0] == found[1] and str(frames / "020.jpg") in found[0]


def test_a_photo_that_vanishes_while_photos_are_added_is_left_out(tmp_path, photos, seams):
    usual = photo_versions._problem_of
    seams.replace(
        "vpr.maps.photo_versions._problem_of",
        lambda file: usual(file) or (file.endswith("3.jpg") and os.unlink(file)) or "",
    )
    done = add(tmp_path / "map", a_model(), photos)
    assert done.photos == 11 and [*done.left_out.unreadable.values()] == [f"{photos / '003.jpg'} is missing"]


def test_a_map_of_nothing_is_refused(tmp_path):
    write_photo(tmp_path / "a.jpg", (47, 8))
    cut(tmp_path / "a.jpg", 0.6)
    (tmp_path / "p.csv").write_text("file,lat,lon\na.jpg,47,8\n")
    with pytest.raises(MapError, match=r"none of 1 photos can be read: .*a.jpg cannot be decoded"):
        add(tmp_path / "map", a_model(), tmp_path / "p.csv")
    with pytest.raises(MapError, match="no map at"):
        Map.open(tmp_path / "map", a_model())


def test_left_out_photos_are_reported_to_python(tmp_path, photos, caplog):
    write_photo(photos / "none.jpg", None)
    (photos / "p.csv").write_text("file,lat,lon\n001.jpg,47,8\nx.jpg,47,9\n")
    (photos / "002.jpg").write_text("no image")
    with caplog.at_level(logging.WARNING, "vpr"):
        photo_map = Map.build(tmp_path / "map", photos, photos / "p.csv", model=a_model())
    added = photo_map.added
    assert (added.photos, added.new, len(added.left_out)) == (11, 11, 3)
    assert list(added.left_out.without) == [str(photos / "none.jpg")]
    assert list(added.left_out.missing) == ["x.jpg"] and [*added.left_out.unreadable] == [str(photos / "002.jpg")]
    assert "1 photos have no position and are left out: none.jpg" in caplog.text
    assert photo_map.remove("003.jpg").added is None


def test_unreadable_photos_are_reported_and_the_others_located(tmp_path, photos):
    photo_map = Map.build(tmp_path / "map", photos, model=a_model())
    good, bad = photos / "004.jpg", write_photo(tmp_path / "bad.jpg", None)
    cut(bad, 0.6)
    given = [good, bad, tmp_path / "gone.jpg", good]
    located, unreadable = photo_map.locate_readable(given)
    alike(located, photo_map.locate_all([good, good]))
    assert [*unreadable] == [str(bad), str(tmp_path / "gone.jpg")]
    assert "is missing" in unreadable[str(tmp_path / "gone.jpg")]
    with pytest.raises(ImageError, match=r"bad.jpg cannot be decoded"):
        photo_map.locate_all(given)
    assert photo_map.locate_readable([bad]) == ([], {str(bad): unreadable[str(bad)]})


def test_images_of_pillow_in_any_mode_are_taken_or_named(tmp_path, photos):
    photo_map = Map.build(tmp_path / "map", photos, model=a_model())
    grey = np.random.default_rng(0).integers(0, 256, (40, 48), np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    expected = photo_map.locate(Image.fromarray(grey))
    assert deep.mode == "I;16" and photo_map.locate(deep).matches == expected.matches
    for mode in ("1", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV"):
        assert photo_map.locate(Image.new(mode, (48, 40))).matches
    for wrong in (Image.fromarray(grey.astype(np.float32)), Image.new("I", (8, 8), 1 << 20)):
        with pytest.raises(ImageError, match=rf"mode {wrong.mode} cannot be read: "):
            photo_map.locate(wrong)


def test_what_was_left_out_is_no_photo_of_the_map(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    (photos / "003.jpg").write_bytes((photos / "003.jpg").read_bytes()[:-200])
    add(folder, model, photos)
    remove_photos(folder, model, ["001"])
    assert len(Map.open(folder, model)) == len(Map.open(folder, model).finder.photos.images.cache) == 10
