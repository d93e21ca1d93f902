"""Runs from Python: photos described in any form, ranked and matched as the commands do."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import BETWEEN_BATCHES, a_model, write_photo
from PIL import Image

import vpr
from vpr.base.errors import VprError
from vpr.cache import CacheMismatch
from vpr.description.images import ImageError
from vpr.description.network_describer import NetworkDescriber
from vpr.models.structural import ModelConfig, StructuralModel
from vpr.retrieval.rerank import ImagesInMemory, compare_images
from vpr.run import calibration_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return [write_photo(folder / f"{number}.jpg", None, seed=number) for number in range(6)]


def test_one_photo_is_described_in_any_form(files):
    run, path = a_model(), files[0]
    expected = run.describe([path])
    assert expected.globals_.shape == (1, 8) and expected.patches.shape == (1, 4, 8)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    forms = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), pixels, Image.open(path)]
    with path.open("rb") as file:
        forms.append(file)
        for form in forms:
            np.testing.assert_allclose(run.describe(form).globals_, expected.globals_, atol=BETWEEN_BATCHES)


@pytest.mark.parametrize("crop", ["resize", "centre"])
def test_bytes_and_open_files_are_described_as_the_file_of_a_path(tmp_path, crop):
    """Bit for bit: a JPEG's decoder takes short cuts for a large photo, and has to take them for all of these."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    torch.manual_seed(0)
    network = StructuralModel(ModelConfig(dim=8, grid=2, image_size=32, crop=crop)).eval()
    run, data = replace(a_model(), describer=NetworkDescriber(network)), (tmp_path / "a.jpg").read_bytes()
    expected = run.describe(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("rb") as file:
        file.read(100)
        for form in (data, io.BytesIO(data), file):
            found = run.describe(form)
            assert np.array_equal(found.globals_, expected.globals_) and np.array_equal(found.patches, expected.patches)
    decoded = run.describe(np.asarray(Image.open(tmp_path / "a.jpg")))
    assert not np.array_equal(decoded.globals_, expected.globals_), "without the short cuts it is another picture"


def test_photos_are_extracted_into_a_cache(files, tmp_path):
    run, names = a_model(), [path.name for path in files]
    cache = run.extract(tmp_path / "cache.h5", files[0].parent, names, patches="int8")
    assert list(cache.keys) == names and cache.spec.dtype == "int8"
    described = run.describe(files)
    np.testing.assert_allclose(cache.globals_[cache.rows(names)], described.globals_, atol=BETWEEN_BATCHES)
    with pytest.raises(CacheMismatch):
        run.extract(tmp_path / "cache.h5", files[0].parent, names)
    with pytest.raises(ValueError, match="patches: 'float32' is not one of float16, int8"):
        run.extract(tmp_path / "other.h5", files[0].parent, names, patches="float32")
    before = files[0].read_bytes()
    (tmp_path / "notes.txt").write_text("mine")
    for precious in (files[0], tmp_path / "notes.txt"):
        with pytest.raises(VprError, match="cache .* (is an input|exists and is no HDF5 file)"):
            run.extract(precious, files[0].parent, names, overwrite=True)
    assert files[0].read_bytes() == before and not (tmp_path / "other.h5").exists()


def test_no_photos_have_no_descriptors():
    described = a_model().describe([])
    assert described.globals_.shape == (0, 8) and described.patches.shape == (0, 4, 8)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (b"no image", ImageError, "the photo cannot be decoded"),
        (io.BytesIO(b"x"), ImageError, "the photo cannot be decoded"),
        (Path("gone.jpg"), ImageError, "gone.jpg is missing"),
        (None, VprError, "a NoneType is not a photo"),
        (3, VprError, "a int is not a photo"),
        ([3], VprError, "a int is not a photo; pass a path, bytes, an array or an image of Pillow"),
        (np.zeros((2, 2)), VprError, r"an array \(2, 2\) of float64 is not a photo"),
    ],
)
def test_what_is_no_photo_is_named(wrong, kind, words):
    with pytest.raises(kind, match=words):
        a_model().describe(wrong)


def test_ranking_is_the_order_of_the_scores(files):
    run = a_model()
    queries, database = run.describe(files[:2]), run.describe(files[2:])
    found = run.rank(queries, database)
    similar = queries.globals_ @ database.globals_.T
    pairs = np.tile(np.arange(4), (2, 1))
    compared = compare_images(ImagesInMemory(queries), ImagesInMemory(database), pairs, run.calibration.config())
    scores = similar + run.calibration.weight * compared.structural
    np.testing.assert_array_equal(found.numbers, np.argsort(-scores, axis=1))
    np.testing.assert_allclose(found.scores, np.sort(scores, axis=1)[:, ::-1], atol=1e-5)
    plain = run.rank(queries, database, depth=2, rerank=False)
    np.testing.assert_array_equal(plain.numbers, np.argsort(-similar, axis=1)[:, :2])


@pytest.mark.slow
def test_a_match_is_that_of_the_command(files):
    run = vpr.load("builtin", "cpu")
    found = run.match(*files[:2])
    described = run.describe(files[:2])
    assert found.global_similarity == pytest.approx(float(described.globals_[0] @ described.globals_[1]), abs=1e-4)
    assert found.match.plan.sum() == pytest.approx(run.calibration.mass, abs=1e-3)


@pytest.mark.parametrize("device", ["gpu", "cuda:0"])
def test_an_unknown_device_is_named(device):
    with pytest.raises(VprError, match=f"there is no device '{device}'; pass one of auto, cpu, cuda, mps"):
        vpr.load(device=device)


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(vpr.VprError, match="no run at"):
        vpr.load(tmp_path / "nowhere")


def test_a_run_that_was_calibrated_without_geometry_leaves_it_out():
    recorded = [calibration_of(Path("run"), record) for record in ({}, {"weight": 3.0}, {"weight": 3.0, "geometry": 7})]
    assert [calibration.geometry for calibration in recorded] == [20, 0, 7]
    assert [recorded[0].default_geometry(patches) for patches in (16, 25)] == [0, 20]
    assert recorded[2].config().geometry == 0, "who compares pairs asks for it"
