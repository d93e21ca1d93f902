"""Photos and maps that change: who reads meanwhile, what is described again, and maps of an earlier format."""

import csv
import json
import os

import numpy as np
import pytest
from photos import a_model, add, write_photo, write_photos

from vpr.base.files import file_digest
from vpr.cache import DescriptorCache, create
from vpr.maps import photo_map, photo_versions, store
from vpr.maps.building import remove_photos
from vpr.maps.photo_map import Map
from vpr.maps.photo_versions import photo_key
from vpr.maps.store import DESCRIPTORS, MAP, MapContent, columns_of
from vpr.positions.errors import MapError


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", range(12))


def replace_photo(path, seed, size=(96, 80)):
    """Another photo of the same name."""
    write_photo(path, (47.0, 8.0), seed=seed, size=size)


def as_format_1(folder):
    """Rewrite a map as it was before photos had versions."""
    table, cache = MapContent.read(folder).table, DescriptorCache(folder / DESCRIPTORS)
    create(folder / "old.h5", [photo_key(key) for key in cache.keys], cache.spec)
    old, rows = DescriptorCache(folder / "old.h5", writable=True), np.arange(len(cache))
    old.restart(rows, cache.bytes)
    old.write(rows, cache.globals_, cache.patches)
    (folder / "old.h5").rename(folder / DESCRIPTORS)
    content = json.loads((folder / MAP).read_text())
    path = folder / content["files"]["photos"][0]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns_of("earth")[:5], *(row[:5] for row in table.rows())])
    content["files"]["photos"][1], content["format"] = file_digest(path), 1
    del content["place_m"], content["place_is_set"], content["kind"]
    (folder / MAP).write_text(json.dumps(content))


@pytest.mark.parametrize("with_table", [True, False])
def test_a_photo_of_the_same_size_and_another_time_is_described_again(tmp_path, photos, with_table):
    model, folder, path = a_model(), tmp_path / "map", photos / "004.jpg"
    with path.open("ab") as file:
        file.write(bytes(400))
    add(folder, model, photos)
    status = path.stat()
    replace_photo(path, 99, (48, 40))
    path.write_bytes(path.read_bytes().ljust(status.st_size, bytes(1)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 5 * 10**9))
    assert path.stat().st_size == status.st_size
    if not with_table:
        (folder / MAP).unlink()
    assert add(folder, model, photos).described == 1
    opened = Map.open(folder, model)
    expected = model.describe([path]).globals_[0]
    row = opened.content.table.keys.tolist().index(str(path))
    np.testing.assert_allclose(opened.content.global_descriptors[row], expected, atol=1e-5)


def test_readers_have_the_map_of_before_while_a_changed_photo_is_described(tmp_path, photos, monkeypatch):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    before = Map.open(folder, model)
    found = before.locate(photos / "001.jpg")
    for number in range(0, 12, 3):
        replace_photo(photos / f"{number:03d}.jpg", 100 + number)
    changes = []

    def reading(step):
        def read_around(*arguments):
            for now in (lambda: None, lambda: step(*arguments)):
                now()
                opened = Map.open(folder, model)
                changes.append(opened.content.state.change)
                if changes[-1] == 1:
                    assert opened.locate(photos / "001.jpg") == found

        return read_around

    monkeypatch.setattr(DescriptorCache, "write", reading(DescriptorCache.write))
    monkeypatch.setattr(photo_versions, "keep_rows", reading(photo_versions.keep_rows))
    done = add(folder, model, photos)
    monkeypatch.undo()
    assert (done.changed, done.described) == (4, 4)
    assert changes == [1, 1, 2, 2]  # described, and then written anew without the rows of before
    after = Map.open(folder, model)
    assert len(after.finder.photos.images.cache) == 12 and before.locate(photos / "001.jpg") == found
    changed = (after.content.global_descriptors != before.content.global_descriptors).any(1)
    assert np.flatnonzero(changed).tolist() == list(range(0, 12, 3))


def test_versions_of_before_stay_until_they_are_many(tmp_path, photos):
    model, folder, rows = a_model(), tmp_path / "map", []
    add(folder, model, photos)
    for turn in range(6):
        replace_photo(photos / "002.jpg", 50 + turn, (64 + turn, 48))
        assert add(folder, model, photos).described == 1
        rows.append(len(Map.open(folder, model).finder.photos.images.cache))
    assert rows == [13, 14, 15, 12, 13, 14]
    remove_photos(folder, model, ["001.jpg"])
    assert len(Map.open(folder, model).finder.photos.images.cache) == 11  # nothing is left of what was removed


def test_a_map_without_its_table_is_added_to_folder_by_folder(tmp_path, photos):
    model, folder, more = a_model(), tmp_path / "map", write_photos(tmp_path / "more", range(20, 32))
    add(folder, model, photos, more)
    (folder / MAP).unlink()
    for number in range(4):
        replace_photo(photos / f"{number:03d}.jpg", 50 + number)
    assert [add(folder, model, one).described for one in (photos, more)] == [4, 0]
    assert len(Map.open(folder, model)) == len(Map.open(folder, model).finder.photos.images.cache) == 24


def test_a_map_of_format_1_opens_and_grows(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    found = Map.open(folder, model).locate(photos / "003.jpg")
    as_format_1(folder)
    assert Map.open(folder, model).locate(photos / "003.jpg") == found
    assert add(folder, model, photos).described == 0
    replace_photo(photos / "005.jpg", 99)
    done = add(folder, model, photos, write_photos(tmp_path / "more", range(12, 14)))
    assert (done.described, done.unchanged, done.changed, done.new) == (3, 11, 1, 2)
    opened = Map.open(folder, model)
    assert sum("?" in name for name in opened.content.table.described_as) == 3
    add(tmp_path / "fresh", model, photos, tmp_path / "more")
    np.testing.assert_allclose(
        opened.content.global_descriptors, Map.open(tmp_path / "fresh", model).content.global_descriptors, atol=1e-6
    )


def test_a_map_of_a_later_format_is_left_alone(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    content = json.loads((folder / MAP).read_text())
    for written, words in (
        (5, "has format 5, and this vpr reads up to 4; use the vpr that wrote it"),
        ("x", "map.json is damaged"),
    ):
        (folder / MAP).write_text(json.dumps({**content, "format": written}))
        for use in (lambda: Map.open(folder, model), lambda: add(folder, model, photos)):
            with pytest.raises(MapError, match=words):
                use()


def meanwhile(monkeypatch, owner, name, change, times):
    """Change the map before a function does its work, the first ``times`` times."""
    usual, left = getattr(owner, name), [times]

    def changing(*arguments):
        if left[0]:
            left[0] -= 1
            monkeypatch.setattr(owner, name, usual)
            change()
            monkeypatch.setattr(owner, name, changing)
        return usual(*arguments)

    monkeypatch.setattr(owner, name, changing)


SEAMS = [(store, "_verify"), (DescriptorCache, "_open"), (photo_map, "VectorIndex")]


@pytest.mark.parametrize(("owner", "name"), SEAMS)
def test_a_map_that_changes_while_it_is_opened_is_opened_as_it_is_then(tmp_path, photos, monkeypatch, owner, name):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    meanwhile(monkeypatch, owner, name, lambda: remove_photos(folder, model, ["001.jpg"]), 1)
    opened = Map.open(folder, model)
    assert len(opened) == 11 and opened.content.state.change == 2
    images = opened.finder.photos.images
    np.testing.assert_array_equal(images.cache.globals_[images.rows], opened.content.global_descriptors)
    assert images.cache.keys[images.rows].tolist() == [*opened.content.table.described_as]


def test_a_map_that_keeps_changing_is_an_error(tmp_path, photos, monkeypatch):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    meanwhile(monkeypatch, store, "_verify", lambda: os.utime(folder / MAP), 10**6)
    with pytest.raises(MapError, match="keeps changing while it is read; wait until the command"):
        Map.open(folder, model)
    monkeypatch.undo()
    (folder / "globals-1.npy").unlink()
    with pytest.raises(MapError, match="the file is missing") as error:
        Map.open(folder, model)
    assert error.value.thing == str(folder / "globals-1.npy") and str(folder / MAP) in error.value.remedy


def test_an_open_map_answers_after_photos_were_removed(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    opened = Map.open(folder, model)
    found = opened.locate(photos / "001.jpg")
    opened.remove("001.jpg", "002.jpg")
    assert opened.locate(photos / "001.jpg") == found


def test_a_map_that_was_moved_keeps_the_photos_in_its_folder(tmp_path, photos):
    model, folder, moved = a_model(), tmp_path / "map", tmp_path / "else where" / "town"
    add(folder, model, photos)
    frames = write_photos(folder / "frames" / "drive-1", range(20, 24))
    add(folder, model, frames)
    found = Map.open(folder, model).locate(frames / "021.jpg")
    moved.parent.mkdir()
    folder.rename(moved)
    opened = Map.open(moved, model)
    expected = [path.as_posix() for base in (photos, moved / "frames/drive-1") for path in sorted(base.iterdir())]
    assert opened.content.table.keys.tolist() == expected
    again = opened.locate(moved / "frames/drive-1/021.jpg")
    assert [one.photo for one in again.matches] == [one.photo.replace(str(folder), str(moved)) for one in found.matches]
    done = add(moved, model, moved / "frames", photos)
    assert (done.unchanged, done.new, done.described) == (16, 0, 0)
    assert remove_photos(moved, model, [str(moved / "frames/drive-1/020.jpg"), "021"]) == 2
    with pytest.raises(MapError, match="no photo of"):
        remove_photos(moved, model, [str(folder / "frames")])
