"""Maps with product-quantised patches: their answers, how they begin, and maps that are converted."""

import json
import os
import shutil

import numpy as np
import pytest
from photos import a_model, add, write_photos

from vpr.base.files import file_digest
from vpr.description import adaptation
from vpr.description.coding import CodingError
from vpr.maps import photo_versions
from vpr.maps.building import add_photos, remove_photos
from vpr.maps.photo_map import Map
from vpr.maps.photo_versions import CODED_DESCRIPTORS, open_descriptors
from vpr.maps.sources.positions import find_photos
from vpr.maps.store import DESCRIPTORS, MAP
from vpr.positions.errors import MapError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), range(140))


@pytest.fixture(scope="module", params=["whitening", "shared"])
def model(request):
    return a_model(head=request.param)


def patches_of(folder, model):
    return open_descriptors(folder, model).spec.dtype


def require_answers(folder, model, photos):
    """Fail unless each photo of the map is found again, and almost like itself.

    A network with random weights that is not adapted makes all photos too much alike to tell them apart by codes.
    """
    opened = Map.open(folder, model)
    asked = [photos / f"{number:03d}.jpg" for number in range(0, 140, 7)]
    for photo, located in zip(asked, opened.locate_all(asked)):
        assert located.matches[0].photo == str(photo) or model.network.config.head == "shared"
        assert located.matches[0].s_global == pytest.approx(1, abs=1e-3), "global descriptors are exact"
        assert located.matches[0].s_struct > 0.9
    return opened


def test_a_new_map_is_fitted_to_its_photos_and_grows(tmp_path, photos, model):
    folder, found = tmp_path / "map", find_photos([photos]).photos
    first = add_photos(folder, model, found[:135], patches="pq14")
    assert (first.described, first.adapted_to) == (135, 135 if model.network.config.head == "whitening" else 0)
    second = add_photos(folder, model, found)
    assert (second.new, second.described, second.adapted_to) == (5, 5, first.adapted_to)
    assert patches_of(folder, model) == "pq14" and not (folder / CODED_DESCRIPTORS).exists()
    opened = require_answers(folder, model, photos)
    assert len(opened.content.unknown_scores) == 140
    remove_photos(folder, model, ["139.jpg"])
    assert len(require_answers(folder, model, photos)) == 139


def test_a_large_map_is_converted_and_a_kill_at_any_step_loses_nothing(tmp_path, photos, model, monkeypatch):
    folder, found = tmp_path / "map", find_photos([photos]).photos
    add_photos(folder, model, found[:132])
    assert patches_of(folder, model) == "float16"
    monkeypatch.setattr(photo_versions, "CODED_FROM", 140)
    move, steps = os.replace, []

    def killed(source, target):
        """Before the file of codes comes to its place."""
        if str(source).endswith(CODED_DESCRIPTORS):
            steps.append(require_answers(folder, model, photos).content.state.change)
            raise KeyboardInterrupt
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            add_photos(folder, model, found)
    assert steps == [2] and patches_of(folder, model) == "float16" and (folder / CODED_DESCRIPTORS).exists()
    result = add_photos(folder, model, found)
    assert (result.described, result.photos) == (0, 140) and patches_of(folder, model) == "pq28"
    assert not (folder / CODED_DESCRIPTORS).exists()
    require_answers(folder, model, photos)


def test_a_map_with_shorter_global_descriptors_is_converted(tmp_path, photos, monkeypatch):
    """Maps of before have 128 numbers; the whitening of their patches is that of the codes."""
    model, folder, found = a_model(head="whitening"), tmp_path / "map", find_photos([photos]).photos
    with monkeypatch.context() as patch:
        patch.setattr(adaptation, "GLOBAL_DIM", 24)
        add_photos(folder, model, found)
    assert Map.open(folder, model).content.global_descriptors.shape == (140, 24)
    add_photos(folder, model, found, patches="pq28")
    assert patches_of(folder, model) == "pq28"
    opened = require_answers(folder, model, photos)
    assert opened.content.global_descriptors.shape == (140, opened.content.adaptation.global_dim) == (140, 256)


def test_global_descriptors_of_another_adaptation_are_damage(tmp_path, photos):
    model, folder = a_model(head="whitening"), tmp_path / "map"
    add_photos(folder, model, find_photos([photos]).photos[:40])
    state = json.loads((folder / MAP).read_text())
    name = state["files"]["globals"][0]
    np.save(folder / name, np.load(folder / name)[:, :24])
    state["files"]["globals"] = [name, file_digest(folder / name)]
    (folder / MAP).write_text(json.dumps(state))
    with pytest.raises(MapError, match="its global descriptors are not those of its adaptation"):
        Map.open(folder, model)


def test_types_that_cannot_be_had_are_refused_and_nothing_changes(tmp_path, photos):
    model, folder, found = a_model(), tmp_path / "map", find_photos([photos]).photos
    with pytest.raises(CodingError, match="20 images are too few to fit pq28 codes to"):
        add_photos(folder, model, found[:20], patches="pq28")
    add_photos(folder, model, found, patches="pq28")
    content = (folder / DESCRIPTORS).read_bytes()
    for kind in ("float16", "int8", "pq14"):
        with pytest.raises(MapError, match=f"has pq28 patches, which cannot become {kind}; make a new map"):
            add_photos(folder, model, found, patches=kind)
    assert (folder / DESCRIPTORS).read_bytes() == content
    add(tmp_path / "other", model, photos)
    with pytest.raises(MapError, match="has float16 patches, which cannot become int8"):
        add_photos(tmp_path / "other", model, found, patches="int8")
    assert np.all(Map.open(folder, model).positions == Map.open(tmp_path / "other", model).positions)


def test_a_changed_photo_does_not_change_the_map_that_is_converted(tmp_path, photos):
    """Its old row stays, whatever its file has become."""
    model, own, folder = a_model(), tmp_path / "own", tmp_path / "map"
    shutil.copytree(photos, own)
    found = find_photos([own]).photos
    add_photos(folder, model, found[:135])
    before = Map.open(folder, model)
    (own / "003.jpg").write_bytes(b"no photo any more")
    result = add_photos(folder, model, found[135:], patches="pq28")
    assert (result.new, result.described, result.photos) == (5, 5, 140) and patches_of(folder, model) == "pq28"
    after = Map.open(folder, model)
    np.testing.assert_array_equal(after.content.global_descriptors[:135], before.content.global_descriptors)
