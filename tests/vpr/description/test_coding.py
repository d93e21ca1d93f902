"""Product-quantised caches: what they hold, how they are filled and continued, and what queries keep."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load, save

from vpr.cache import CacheError, CacheMismatch, CacheSpec, Coding, DescriptorCache, create, keep_rows, mend_truncated
from vpr.description import cache_filling
from vpr.description.adaptation import adaptation_of, fit_adaptation, spec_of_type
from vpr.description.batches import BATCH
from vpr.description.cache_filling import (
    CacheFillOptions,
    fill_cache,
    is_fitted_to,
    require_replaceable,
    sample_path,
)
from vpr.description.coding import CodingError, create_coded
from vpr.description.joined_cache import JoinedCache
from vpr.description.model_spec import cache_spec
from vpr.models.structural import ModelConfig, StructuralModel

COUNT, PATCHES, DIM = 200, 6, 12
CPU = torch.device("cpu")
KEYS = [f"{number:03d}.jpg" for number in range(200)]


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32) + 0.4
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write_exact(path, count=COUNT, weights=False, prefix=""):
    """A cache of random descriptors."""
    rng, spec = np.random.default_rng(count), CacheSpec("x", PATCHES, DIM, weights=weights)
    create(path, [f"{prefix}{row:03d}.jpg" for row in range(count)], spec)
    cache, rows = DescriptorCache(path, spec, writable=True), np.arange(count)
    cache.restart(rows, 1000 + rows, 2000 + rows)
    cache.write(rows, unit(rng, count, DIM), unit(rng, count, PATCHES, DIM), rng.random((count, PATCHES), np.float32))
    return DescriptorCache(path, spec)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return write_exact(tmp_path_factory.mktemp("exact") / "a.h5", weights=True)


@pytest.fixture(scope="module", params=[True, False], ids=["adapted", "plain"])
def coded(request, exact, tmp_path_factory):
    path = tmp_path_factory.mktemp("coded") / "a.h5"
    create_coded(path, ["more.jpg"], spec_of_type(exact.spec, "pq28", request.param), exact)
    return DescriptorCache(path)


def test_a_coded_cache_holds_exact_globals_and_decoded_patches(exact, coded):
    assert coded.keys.tolist() == [*exact.keys, "more.jpg"] and coded.done.tolist() == [1] * COUNT + [0]
    assert coded.spec == spec_of_type(exact.spec, "pq28", coded.spec.adapted) and coded.patches.shape[2] == 28
    assert np.array_equal(coded.bytes[:COUNT], exact.bytes) and np.array_equal(coded.times[:COUNT], exact.times)
    rows, patches, globals_ = np.arange(COUNT), exact.read_patches(np.arange(COUNT)), exact.globals_
    if coded.spec.adapted:
        adaptation = fit_adaptation(exact, rows)
        patches = adaptation.adapt_patches(patches)
        globals_ = adaptation.global_descriptors(patches)
    np.testing.assert_allclose(coded.globals_[:COUNT], globals_, atol=1e-6)
    assert np.array_equal(coded.read_weights(rows), exact.read_weights(rows))
    cosines = np.einsum("npc,npc->np", coded.read_patches(rows), np.asarray(patches, np.float32))
    assert cosines.min() > 0.95 and cosines.mean() > 0.99  # 28 bytes for 12 numbers


def test_a_coding_of_before_predicts_nothing(coded):
    arrays = load(coded.coding.to_bytes())
    del arrays["prediction"]
    codes = Coding.from_bytes(save(arrays)).codes
    assert not codes.prediction.any() and np.array_equal(codes.codebooks, coded.coding.codes.codebooks)
    rows = coded.coding.codes.codebooks[np.arange(len(codes.codebooks)), coded.patches[0, 1]].ravel()[: codes.dim]
    decoded = codes.decode(coded.patches[:1])[0, 1]
    np.testing.assert_allclose(decoded, rows / np.linalg.norm(rows), atol=1e-3)


def test_it_is_continued_copied_and_mended_with_its_coding(exact, coded, tmp_path):
    rows = np.arange(0, COUNT, 3)
    shutil.copyfile(coded.path, tmp_path / "a.h5")
    keep_rows(DescriptorCache(tmp_path / "a.h5"), rows)
    create(tmp_path / "b.h5", ["new.jpg"], coded.spec, DescriptorCache(tmp_path / "a.h5"))
    grown = DescriptorCache(tmp_path / "b.h5", coded.spec)
    assert grown.keys.tolist() == [*coded.keys[rows], "new.jpg"]
    assert np.array_equal(grown.read_patches(np.arange(len(rows))), coded.read_patches(rows))
    assert np.array_equal(grown.globals_[:-1], coded.globals_[rows]) and grown.coding.images == coded.coding.images
    whole = (tmp_path / "b.h5").read_bytes()
    (tmp_path / "b.h5").write_bytes(whole[: -4 * PATCHES * 10])
    assert mend_truncated(tmp_path / "b.h5") and 0 < DescriptorCache(tmp_path / "b.h5").done.sum() < len(rows)
    (tmp_path / "b.h5").write_bytes(whole[:9000])  # in the coding
    with pytest.raises(CacheError, match="truncated before its descriptors begin"):
        mend_truncated(tmp_path / "b.h5")


def test_other_kinds_of_caches_are_refused(exact, coded, tmp_path):
    for other in (exact.spec, replace(coded.spec, dtype="pq14"), replace(coded.spec, adapted=not coded.spec.adapted)):
        with pytest.raises(CacheMismatch, match="was made by another model"):
            DescriptorCache(coded.path, other)
    shutil.copyfile(coded.path, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["coding"][100:200] = 255
    with pytest.raises(CacheError, match="damaged or not a descriptor cache"):
        DescriptorCache(tmp_path / "a.h5")


def test_too_few_images_are_refused(tmp_path):
    few = write_exact(tmp_path / "few.h5", 129)
    with pytest.raises(CodingError, match="129 images are too few to fit pq14 codes to; give at least 130"):
        create_coded(tmp_path / "a.h5", [], spec_of_type(few.spec, "pq14", False), few)
    assert not (tmp_path / "a.h5").exists()


def test_queries_stay_exact_and_win_over_the_database(coded, exact, tmp_path):
    """The name of a query may be that of a database image."""
    own = write_exact(tmp_path / "queries.h5", 12, weights=True)
    joined = JoinedCache(coded, own)
    rows = joined.query_rows(own.keys)
    assert np.array_equal(joined.rows(exact.keys), np.arange(COUNT)) and rows.tolist() == [
        COUNT + 1 + n for n in range(12)
    ]
    both, adaptation = np.concatenate([rows, np.arange(5)]), adaptation_of(coded)
    patches = own.read_patches(np.arange(12))
    expected = patches if adaptation is None else adaptation.adapt_patches(patches).astype(np.float16)
    order = np.random.default_rng(0).permutation(len(both))
    read = joined.read_patches(both[order])[np.argsort(order)]
    assert np.array_equal(read[:12], expected) and np.array_equal(read[12:], coded.read_patches(np.arange(5)))
    globals_ = own.globals_ if adaptation is None else adaptation.global_descriptors(adaptation.adapt_patches(patches))
    np.testing.assert_allclose(joined.globals_[rows], globals_, atol=1e-6)
    assert np.array_equal(joined.read_weights(rows), own.read_weights(np.arange(12)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for key in KEYS:
        Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).resize((32, 32)).save(root / key)
    return root


def make_model():
    torch.manual_seed(0)
    return StructuralModel(ModelConfig(dim=8, grid=2, image_size=32)).eval()


PQ = CacheFillOptions(dtype="pq14", adapt=False)


def test_filling_describes_a_sample_first_and_an_interrupted_call_gives_the_same_bytes(root, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_filling, "MOST_IMAGES", 131)
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    assert fill_cache(path, make_model(), root, KEYS, CPU, PQ).images == len(KEYS)
    assert sorted(file.name for file in tmp_path.rglob("*.h5")) == ["a.h5"], "the sample is removed"
    assert fill_cache(path, make_model(), root, KEYS[::-1], CPU, PQ).images == 0
    write, batches = DescriptorCache.write, []

    def interrupted(self, *arguments):
        batches.append(self.path.name)
        if len(batches) == 2:
            raise KeyboardInterrupt
        write(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DescriptorCache, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fill_cache(other, make_model(), root, KEYS, CPU, PQ)
    assert batches == [".b-sample.h5"] * 2 and not other.exists()
    fill_cache(other, make_model(), root, KEYS, CPU, PQ)
    assert other.read_bytes() == path.read_bytes()


def test_the_sample_of_an_interrupted_call_for_other_images_counts_for_nothing(root, tmp_path):
    path, other = tmp_path / "a.h5", tmp_path / "b.h5"
    fill_cache(sample_path(path), make_model(), root, KEYS, CPU)
    whole_batches = KEYS[: 3 * BATCH]  # last bits depend on the size of a batch
    for one in (path, other):
        fill_cache(one, make_model(), root, whole_batches, CPU, PQ)
    assert DescriptorCache(path).keys.tolist() == whole_batches and path.read_bytes() == other.read_bytes()


def test_caches_of_other_kinds_are_not_replaced(root, tmp_path):
    fill_cache(tmp_path / "a.h5", make_model(), root, KEYS[:2], CPU)
    with pytest.raises(CacheMismatch, match="was made by another model"):
        require_replaceable(tmp_path / "a.h5", cache_spec(make_model(), "pq14", adapt=False))
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:9000])
    require_replaceable(tmp_path / "b.h5", cache_spec(make_model()))


def test_a_cache_knows_the_images_that_it_was_fitted_to(root, tmp_path):
    path, copy = tmp_path / "a.h5", tmp_path / "photos"
    shutil.copytree(root, copy)
    fill_cache(path, make_model(), copy, KEYS, CPU, PQ)
    assert is_fitted_to(path, copy, KEYS[::-1]) and not is_fitted_to(path, copy, KEYS[1:])
    with (copy / KEYS[7]).open("ab") as file:
        file.write(b"x")
    assert not is_fitted_to(path, copy, KEYS) and not is_fitted_to(tmp_path / "none.h5", copy, KEYS)
    fill_cache(path, make_model(), copy, KEYS, CPU, replace(PQ, refit=True))
    assert is_fitted_to(path, copy, KEYS)
