"""Adaptation: it looks at database images only, names what it was fitted to, and is made once."""

from dataclasses import replace

import numpy as np
import pytest

from vpr.cache import CacheError, CacheSpec, DescriptorCache, create
from vpr.description import adaptation
from vpr.description.adaptation import (
    Adaptation,
    AdaptedCache,
    adapt_cache,
    adaptation_of,
    open_any_type,
    spec_of_type,
)
from vpr.description.coding import create_coded

COUNT, PATCHES, DIM = 200, 6, 12


def unit(rng, *shape):
    vectors = rng.standard_normal(shape).astype(np.float32) + 0.4
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make(path, seed=0, changed=()):
    """A cache of random descriptors, those of some rows drawn anew."""
    rng, spec = np.random.default_rng(seed), CacheSpec("x", PATCHES, DIM)
    create(path, [f"{row:03d}.jpg" for row in range(COUNT)], spec)
    cache = DescriptorCache(path, spec, writable=True)
    globals_, patches = unit(rng, COUNT, DIM), unit(rng, COUNT, PATCHES, DIM)
    patches[list(changed)] = unit(np.random.default_rng(9), len(changed), PATCHES, DIM)
    cache.write(np.arange(COUNT), globals_, patches)
    return DescriptorCache(path, spec)


def test_the_queries_change_nothing(tmp_path):
    database = np.arange(150)
    plain = adapt_cache(make(tmp_path / "a.h5"), database, tmp_path / "one")
    other = adapt_cache(make(tmp_path / "b.h5", changed=range(150, COUNT)), database, tmp_path / "two")
    rows = np.arange(150), np.arange(150, COUNT)
    same, changed = ((plain.read_patches(side), other.read_patches(side)) for side in rows)
    assert np.array_equal(*same) and np.array_equal(plain.globals_[:150], other.globals_[:150])
    assert not np.array_equal(*changed)


def test_it_is_made_once_and_another_database_makes_another(tmp_path):
    cache = make(tmp_path / "a.h5")
    first = adapt_cache(cache, np.arange(150), tmp_path)
    stamp = first.adaptation_file.stat().st_mtime_ns
    assert adapt_cache(cache, np.arange(150)[::-1], tmp_path).adaptation_file.stat().st_mtime_ns == stamp
    assert adapt_cache(cache, np.arange(160), tmp_path).adaptation_file != first.adaptation_file
    assert first.spec.fingerprint != cache.spec.fingerprint and first.spec.global_dim == 256
    norms = (
        np.linalg.norm(first.read_patches(np.arange(COUNT)).astype(np.float32), axis=-1),
        np.linalg.norm(first.globals_, axis=-1),
    )
    assert all(np.allclose(norm, 1, atol=1e-3) for norm in norms)


def test_an_adaptation_with_descriptors_of_another_length_is_read(tmp_path, monkeypatch):
    cache = make(tmp_path / "a.h5")
    monkeypatch.setattr(adaptation, "GLOBAL_DIM", 24)
    made = adapt_cache(cache, np.arange(150), tmp_path)
    coded = tmp_path / "coded.h5"
    create_coded(coded, [], spec_of_type(cache.spec, "pq14", True), cache)
    monkeypatch.undo()
    read = AdaptedCache(cache, made.adaptation_file, made.fingerprint)
    assert read.adaptation.global_dim == 24 and np.array_equal(read.globals_, made.globals_)
    opened = open_any_type(coded, cache.spec)
    found = adaptation_of(opened).global_descriptors(opened.read_patches(np.arange(3)).astype(np.float32))
    assert opened.globals_.shape == (COUNT, 24) and found.shape == (3, 24)


def test_the_order_in_which_images_were_described_changes_nothing(tmp_path):
    plain, order = make(tmp_path / "a.h5"), np.random.default_rng(3).permutation(COUNT)
    create(tmp_path / "b.h5", plain.keys[order].tolist(), plain.spec)
    writable = DescriptorCache(tmp_path / "b.h5", plain.spec, writable=True)
    writable.write(np.arange(COUNT), plain.globals_[order], plain.patches[order])
    keys = plain.keys[:150]
    caches = plain, DescriptorCache(tmp_path / "b.h5")
    found = [adapt_cache(cache, cache.rows(keys), tmp_path / str(number)) for number, cache in enumerate(caches)]
    rows = [cache.rows(plain.keys) for cache in found]
    assert np.array_equal(found[0].read_patches(rows[0]), found[1].read_patches(rows[1]))
    np.testing.assert_allclose(found[0].globals_[rows[0]], found[1].globals_[rows[1]], atol=1e-6)
    assert found[0].adaptation_file.name == found[1].adaptation_file.name


@pytest.mark.parametrize("noticed_by", ["size", "time"])
def test_other_queries_of_the_same_names_are_adapted_anew(tmp_path, noticed_by):
    """Of two trees whose database and names are equal each has its own query descriptors."""
    database, queries = np.arange(150), np.arange(150, COUNT)
    first = make(tmp_path / "a.h5")
    adapt_cache(first, database, tmp_path)
    other = make(tmp_path / "b.h5", changed=queries)
    writable = DescriptorCache(other.path, writable=True)
    if noticed_by == "size":
        writable.bytes[queries] += 1
    else:
        writable.times[queries] += 1
    found = adapt_cache(DescriptorCache(other.path), database, tmp_path)
    expected = adapt_cache(other, database, tmp_path / "alone")
    assert np.array_equal(found.globals_, expected.globals_)
    assert np.array_equal(found.read_patches(queries), expected.read_patches(queries))


def test_weights_of_patches_stay_with_them(tmp_path):
    plain, rng = make(tmp_path / "a.h5"), np.random.default_rng(1)
    spec = replace(plain.spec, weights=True)
    create(tmp_path / "b.h5", plain.keys.tolist(), spec)
    cache = DescriptorCache(tmp_path / "b.h5", spec, writable=True)
    cache.write(np.arange(COUNT), plain.globals_, plain.patches, rng.uniform(size=(COUNT, PATCHES)))
    adapted, other = (adapt_cache(given, np.arange(150), tmp_path) for given in (cache, plain))
    rows = np.arange(COUNT)
    assert np.array_equal(adapted.read_weights(rows), cache.weights)
    assert np.array_equal(adapted.read_patches(rows), other.read_patches(rows))
    assert adapted.adaptation_file != other.adaptation_file and other.weights is None


def test_patches_are_those_of_the_adaptation_whatever_memory_and_order(tmp_path, monkeypatch):
    cache, rng = make(tmp_path / "a.h5"), np.random.default_rng(2)
    kept = adapt_cache(cache, np.arange(150), tmp_path)
    expected = kept.adaptation.adapt_patches(cache.read_patches(np.arange(COUNT))).astype(np.float16)
    monkeypatch.setattr(adaptation, "KEPT_BYTES", 100)
    monkeypatch.setattr(adaptation, "BLOCK", 7)
    for adapted in (kept, adapt_cache(cache, np.arange(150), tmp_path)):
        for _ in range(5):
            rows = rng.integers(0, COUNT, 40)
            into = np.empty((40, PATCHES, DIM), np.float16)
            assert adapted.read_patches(rows, into) is into
            np.testing.assert_allclose(into, expected[rows], atol=1e-3)
            assert np.array_equal(into, adapted.read_patches(rows))


def test_a_damaged_adaptation_is_made_again(tmp_path, caplog):
    cache = make(tmp_path / "a.h5")
    first = adapt_cache(cache, np.arange(150), tmp_path)
    whole = first.adaptation_file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        first.adaptation_file.write_bytes(damaged)
        again = adapt_cache(cache, np.arange(150), tmp_path)
        assert np.array_equal(again.globals_, first.globals_) and first.adaptation_file.read_bytes() == whole
    assert caplog.text.count("is damaged") == 3 and "it is made again" in caplog.text


def test_too_small_a_database_is_refused(tmp_path):
    with pytest.raises(CacheError, match="1 database images are too few to adapt to; pass --no-adapt"):
        adapt_cache(make(tmp_path / "a.h5"), np.arange(1), tmp_path)


@pytest.mark.parametrize("count", [2, 3, 40])
def test_small_databases_are_adapted_to_and_kept_in_a_file(tmp_path, count):
    cache = make(tmp_path / "a.h5")
    for _ in range(2):  # made, and read
        adapted = adapt_cache(cache, np.arange(count), tmp_path)
        norms = np.linalg.norm(adapted.globals_[:count], axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-5)
        assert not np.allclose(adapted.globals_[0], adapted.globals_[1])


def test_shrinkage_fades_as_a_database_grows():
    """From nearly none to that of the PCA alone, without a step at the last image."""
    patches = unit(np.random.default_rng(0), 400, PATCHES, DIM)
    stretch = []
    for count in (2, 20, 60, adaptation.FREE_IMAGES - 1, adaptation.FREE_IMAGES, 400):
        values = np.linalg.svd(Adaptation.fit(patches[:count]).components, compute_uv=False)
        stretch.append(values.max() / values.min())
    assert 1 < stretch[0] < stretch[-1] and stretch[3] == pytest.approx(stretch[4], rel=0.02)


@pytest.mark.parametrize(
    "patches", [np.ones((3, 4, 8)) / 8**0.5, np.tile(np.eye(8)[:4], (5, 1, 1))], ids=["one", "same"]
)
def test_equal_photos_give_no_invalid_numbers(patches):
    fitted = Adaptation.fit(patches.astype(np.float32))
    adapted = fitted.adapt_patches(unit(np.random.default_rng(0), 6, 4, 8))
    assert np.isfinite(adapted).all() and np.isfinite(fitted.global_descriptors(adapted)).all()


def test_the_mean_of_the_database_is_taken_out():
    patches = unit(np.random.default_rng(0), 150, PATCHES, DIM)
    adapted = Adaptation.fit(patches).adapt_patches(patches)
    assert np.abs(patches.mean((0, 1))).max() > 0.1 > np.abs(adapted.mean((0, 1))).max()
