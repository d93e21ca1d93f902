"""Maps: photos are added and removed, the model adapts, damage is reported, and one process writes at a time."""

import io
import math
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from photos import BETWEEN_BATCHES, a_model, add, alike, write_photo, write_photos
from PIL import Image

from vpr.base.errors import VprError
from vpr.base.files import write_lock
from vpr.cache import DescriptorCache
from vpr.description.adaptation import Adaptation
from vpr.description.images import ImageError
from vpr.maps.building import remove_photos
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.store import DESCRIPTORS, MAP, State
from vpr.positions.errors import MapError
from vpr.retrieval.confidence import Curve, Curves


def content(folder):
    """The bytes of every file of a map but those of locks, and what its cache holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos", range(12))


def test_photos_go_in_out_and_in_again(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    done = add(folder, model, photos)
    assert (done.photos, done.new, done.described, done.adapted_to) == (12, 12, 12, 0)
    whole = Map.open(folder, model)
    np.testing.assert_allclose(whole.positions[:, 0], 47 + np.arange(12) * 1e-3, atol=1e-9)
    again = add(folder, model, photos)
    assert (again.new, again.changed, again.unchanged, again.described) == (0, 0, 12, 0)
    assert State.of(folder).change == 1
    assert remove_photos(folder, model, ["003.jpg", "004", str(photos / "005.jpg")]) == 3
    smaller = Map.open(folder, model)
    assert len(smaller) == 9 and len(smaller.finder.photos.images.cache) == 9
    with pytest.raises(MapError, match="no photo of"):
        remove_photos(folder, model, ["003.jpg"])
    with pytest.raises(MapError, match="would leave no photo"):
        remove_photos(folder, model, [str(photos)])
    third = add(folder, model, photos)
    assert (third.new, third.unchanged, third.described) == (3, 9, 3)
    back = Map.open(folder, model)
    order = np.argsort(back.content.table.keys)
    np.testing.assert_allclose(
        back.content.global_descriptors[order], whole.content.global_descriptors, atol=BETWEEN_BATCHES
    )
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") == [
        DESCRIPTORS, "globals-3.npy", MAP, "photos-3.csv", "strangers-3.npy",
    ]  # fmt: skip


def test_files_of_others_in_the_folder_stay(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    own = ["photos-001.jpg", "photos-2024.csv", "index-2.jpg", "globals-1.npy.bak", "photos-01.csv", "globals-1.csv"]
    for name in own:
        (folder / name).write_text("mine")
    (folder / "globals-3.npy").write_text("of a change that was stopped")
    remove_photos(folder, model, ["003.jpg"])
    assert all((folder / name).read_text() == "mine" for name in own)
    assert sorted(path.name for path in folder.glob("globals-*.npy")) == ["globals-2.npy"]


def test_another_file_is_described_again_and_another_position_is_taken(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    before = np.array(Map.open(folder, model).content.global_descriptors)
    path = photos / "004.jpg"
    size = path.stat().st_size
    write_photo(path, (10.0, 10.0), seed=99)
    with path.open("ab") as file:
        file.write(bytes(max(0, size - path.stat().st_size)))
    os.utime(path, ns=(1, 1))  # of the same size or not, the time tells
    done = add(folder, model, photos)
    assert (done.changed, done.described) == (1, 1)
    opened = Map.open(folder, model)
    assert np.flatnonzero((opened.content.global_descriptors != before).any(1)).tolist() == [4]
    assert opened.positions[4].tolist() == pytest.approx([10, 10])
    (photos / "p.csv").write_text("file,lat,lon\n004.jpg,20,20\n")
    done = add(folder, model, photos / "p.csv")
    assert (done.changed, done.described) == (1, 0)
    assert Map.open(folder, model).positions[4].tolist() == [20, 20]


@pytest.mark.slow
def test_the_model_adapts_and_again_when_the_map_has_doubled(tmp_path):
    model, folder, photos = a_model(head="whitening"), tmp_path / "map", tmp_path / "photos"
    assert add(folder, model, write_photos(photos / "a", [0])).adapted_to == 0
    assert add(folder, model, write_photos(photos / "b", range(1, 40))).adapted_to == 40
    first = Map.open(folder, model)
    assert add(folder, model, write_photos(photos / "c", range(200, 210))).adapted_to == 40
    grown = Map.open(folder, model)
    np.testing.assert_array_equal(grown.content.global_descriptors[:40], first.content.global_descriptors)
    shutil.rmtree(photos / "a")  # no photo is read again
    assert add(folder, model, write_photos(photos / "d", range(300, 330))).adapted_to == 80
    last = Map.open(folder, model)
    patches = last.finder.photos.images.cache.read_patches(last.finder.photos.images.rows)
    expected = Adaptation.fit(patches)
    np.testing.assert_allclose(
        last.content.global_descriptors, expected.global_descriptors(expected.adapt_patches(patches)), atol=1e-5
    )
    assert np.abs(last.content.global_descriptors[:40] - first.content.global_descriptors).max() > 0.01


def test_a_call_that_was_stopped_continues(tmp_path, photos, monkeypatch):
    model, folder = a_model(), tmp_path / "map"
    write_photos(photos, range(12, 150))
    stop = {"after": 1}
    write = DescriptorCache.write

    def stopping(self, *arguments):
        stop["after"] -= 1
        if stop["after"] < 0:
            raise KeyboardInterrupt
        write(self, *arguments)

    monkeypatch.setattr(DescriptorCache, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        add(folder, model, photos)
    with pytest.raises(MapError, match="no map at"):
        Map.open(folder, model)
    monkeypatch.undo()
    assert add(folder, model, photos).described == 150 - 64
    found = content(folder)
    shutil.rmtree(folder)
    add(folder, model, photos)
    assert content(folder) == found


def test_two_writers_and_other_models_are_refused(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    with write_lock(folder / MAP, wait=False):
        for change in (lambda: add(folder, model, photos), lambda: remove_photos(folder, model, ["001"])):
            with pytest.raises(ValueError, match="is being written by another process"):
                change()
        assert len(Map.open(folder, model)) == 12  # readers are not held up
    other, anew = replace(a_model(1), name="elsewhere"), a_model(1)  # the second lies where the map's model was
    for wrong, words in ((other, r"made by another model \(somewhere"), (anew, "run at somewhere has changed since")):
        for change in (lambda: add(folder, wrong, photos), lambda: Map.open(folder, wrong)):  # noqa: B023
            with pytest.raises(MapError, match=words):
                change()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    with pytest.raises(MapError, match="is not empty and not a map"):
        add(tmp_path / "other", model, photos)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [MAP, "photos-1.csv", "globals-1.npy", "strangers-1.npy", "adaptation-1.safetensors", DESCRIPTORS]
)
@pytest.mark.parametrize("kind", ["cut", "gone", "changed"])
def test_damage_is_named_and_the_remedy_helps(tmp_path, name, kind):
    model, folder = a_model(head="whitening"), tmp_path / "map"
    photos = write_photos(tmp_path / "photos", range(130))
    add(folder, model, photos)
    before, path = Map.open(folder, model).content, folder / name
    data = path.read_bytes()
    path.unlink()
    if kind != "gone":
        path.write_bytes(data[: len(data) // 2] if kind == "cut" else b"x" * len(data))
    with pytest.raises(MapError) as error:
        Map.open(folder, model)
    assert name in str(error.value) or (name, kind) == (MAP, "gone")
    for step in ("remove", "add"):
        if step == "remove" and "remove" in str(error.value) and path.exists():
            (path if name == DESCRIPTORS else folder / MAP).unlink()
        elif step == "add":
            (folder / MAP).unlink(missing_ok=name != DESCRIPTORS) if name != DESCRIPTORS else None
            done = add(folder, model, photos)
    assert done.described == (130 if name == DESCRIPTORS else 0)
    np.testing.assert_array_equal(Map.open(folder, model).content.global_descriptors, before.global_descriptors)


def test_paths_arrays_and_images_of_pillow_are_photos(tmp_path, photos):
    model = a_model()
    photo_map = Map.build(tmp_path / "map", photos, model=model)
    path = tmp_path / "q.png"
    with Image.open(photos / "003.jpg") as image:
        pixels = np.asarray(image.convert("RGB"))
    Image.fromarray(pixels).save(path)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "t.png", exif=turned)
    given = [path, str(path), pixels, Image.open(path), tmp_path / "t.png", Image.open(tmp_path / "t.png")]
    given += [path.read_bytes(), io.BytesIO(path.read_bytes())]
    found = photo_map.locate_all(given)
    assert [one.photo for one in found[:4]] == [str(path), str(path), "photo 2", str(path)]
    for one in found:
        alike([replace(one, photo="")], [replace(found[0], photo="")])
        assert len(one.matches) == 5
    assert "data:image/jpeg" in found[0]._repr_html_()
    with pytest.raises(VprError, match="is not a photo"):
        photo_map.locate(pixels[..., 0])
    assert photo_map.locate_all([]) == []


def test_a_photo_that_changed_while_no_table_knew_it_is_described_again(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    add(folder, model, photos)
    write_photo(photos / "004.jpg", (47.004, 8), seed=99, size=(96, 80))
    (folder / MAP).unlink()  # as a kill before the first table leaves it
    done = add(folder, model, photos)
    assert done.described == 1
    found = Map.open(folder, model).locate(photos / "004.jpg", LocateConfig(top=1))
    assert found.matches[0].photo.endswith("004.jpg") and found.matches[0].s_global == pytest.approx(1, abs=1e-3)


def test_remove_takes_what_is_named_and_nothing_else(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    other = write_photos(tmp_path / "other", range(3))
    add(folder, model, photos, other)
    with pytest.raises(MapError, match=r"2 photos are called 001\.jpg, such as .*; pass a path"):
        remove_photos(folder, model, ["001.jpg"])
    with pytest.raises(MapError, match="an empty name"):
        remove_photos(folder, model, [""])
    assert (
        remove_photos(folder, model, [str(other / "001.jpg")]) == 1 and remove_photos(folder, model, [str(other)]) == 2
    )
    assert len(Map.open(folder, model)) == 12


def test_names_of_photos_may_hold_anything_but_a_null(tmp_path):
    model, folder = a_model(), tmp_path / "map"
    names = ["a b.jpg", "c\rd.jpg", "e\nf.jpg", 'g"h,i.jpg', "\u00fc.jpg"]
    for number, name in enumerate(names):
        write_photo(tmp_path / "photos" / name, (47 + number / 1000, 8), seed=number)
    add(folder, model, tmp_path / "photos")
    keys = Map.open(folder, model).content.table.keys
    assert sorted(key.rsplit("/", 1)[1] for key in keys) == sorted(names)


def test_a_small_map_tells_no_probability(tmp_path, photos):
    model, folder = a_model(), tmp_path / "map"
    model = replace(model, curves=Curves(rerank=Curve(1.0, 0.0)))
    add(folder, model, photos)
    assert Map.open(folder, model).locate(photos / "003.jpg").probability is None
    add(folder, model, write_photos(tmp_path / "more", range(20)))
    opened = Map.open(folder, model)
    assert 0 < opened.locate(photos / "003.jpg").probability < 1 and opened.probability_problem() == ""
    described = opened.model.describe(photos / "003.jpg")
    plain, ours = (opened.finder.find(described, 20, geometry=count) for count in (0, 5))
    assert sorted(plain.rows[0, :5]) == sorted(ours.rows[0, :5]) and (plain.rows[0, 5:] == ours.rows[0, 5:]).all()
    assert (plain.scores[0, :5] != ours.scores[0, :5]).any()
    shallow = LocateConfig(depth=19)
    assert opened.locate(photos / "003.jpg", shallow).probability is None and "--depth" in opened.probability_problem(
        shallow
    )


def test_a_map_of_one_place_tells_no_probability(tmp_path):
    model = replace(a_model(), curves=Curves(rerank=Curve(1.0, 0.0)))
    for number in range(30):
        write_photo(tmp_path / "photos" / f"{number}.jpg", (47.0, 8.0), seed=number)
    photo_map = Map.build(tmp_path / "map", tmp_path / "photos", model=model)
    given = [tmp_path / "photos" / "3.jpg", write_photo(tmp_path / "q.jpg", None, seed=99)]
    for sequence in (False, True):
        found = photo_map.locate_all(given, LocateConfig(sequence=sequence))
        assert [(one.probability, one.on_map) for one in found] == [(None, True)] * 2


def test_what_is_no_photo_is_named_and_a_map_is_shown_in_a_line(tmp_path, photos):
    photo_map = Map.build(tmp_path / "map", photos, model=a_model())
    assert repr(photo_map) == f"Map('{tmp_path / 'map'}', 12 photos, model somewhere)"
    for wrong in (None, [photos / "003.jpg"], 3):
        with pytest.raises(VprError, match=rf"a {type(wrong).__name__} is not a photo; pass a path"):
            photo_map.locate(wrong)
    with pytest.raises(ImageError, match=r"gone.jpg is missing; restore it, or pass another photo\Z"):
        photo_map.locate(tmp_path / "gone.jpg")
    with pytest.raises(MapError, match="nothing to add to .*; pass a folder"):
        photo_map.add()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"depth": 0}, "depth: 0 is out of range, give a value > 0"),
        ({"depth": True}, "depth: True is out"),
        ({"top": 2.5}, "top: 2.5 is out"),
        ({"threshold": math.nan}, "threshold: nan is out of range, give a value >= 0 and <= 1"),
        ({"familiarity": 1.1}, "familiarity: 1.1 is out"),
        ({"place": math.inf}, "place: inf is out"),
        ({"place": None}, "place: None is out"),
        ({"sequence": "no"}, "sequence: 'no' is not a valid True or False"),
    ],
)
def test_settings_given_in_python_are_checked(given, words):
    with pytest.raises(MapError, match=f"^{words}"):
        LocateConfig(**given)
