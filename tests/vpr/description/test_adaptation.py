"""Adaptation: it looks at database images only, names what it was fitted to, and is made once."""

from dataclasses import replace

import numpy as np
import pytest

from vpr.cache import CacheError, CacheSpec, DescriptorCache, create
from vpr.description.adaptation import Adaptation, adapt_cache

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
    assert np.array_equal(plain.patches[:150], other.patches[:150])
    assert np.array_equal(plain.globals_[:150], other.globals_[:150])
    assert not np.array_equal(plain.patches[150:], other.patches[150:])


def test_it_is_made_once_and_another_database_makes_another(tmp_path):
    cache = make(tmp_path / "a.h5")
    first = adapt_cache(cache, np.arange(150), tmp_path)
    stamp = first.path.stat().st_mtime_ns
    assert adapt_cache(cache, np.arange(150)[::-1], tmp_path).path.stat().st_mtime_ns == stamp
    assert adapt_cache(cache, np.arange(160), tmp_path).path != first.path
    assert first.spec.fingerprint != cache.spec.fingerprint and first.spec.global_dim == 128
    norms = np.linalg.norm(first.patches.astype(np.float32), axis=-1), np.linalg.norm(first.globals_, axis=-1)
    assert all(np.allclose(norm, 1, atol=1e-3) for norm in norms)


def test_the_order_in_which_images_were_described_changes_nothing(tmp_path):
    plain, order = make(tmp_path / "a.h5"), np.random.default_rng(3).permutation(COUNT)
    create(tmp_path / "b.h5", plain.keys[order].tolist(), plain.spec)
    writable = DescriptorCache(tmp_path / "b.h5", plain.spec, writable=True)
    writable.write(np.arange(COUNT), plain.globals_[order], plain.patches[order])
    keys = plain.keys[:150]
    caches = plain, DescriptorCache(tmp_path / "b.h5")
    found = [adapt_cache(cache, cache.rows(keys), tmp_path / str(number)) for number, cache in enumerate(caches)]
    rows = [cache.rows(plain.keys) for cache in found]
    assert np.array_equal(found[0].patches[rows[0]], found[1].patches[rows[1]])
    np.testing.assert_allclose(found[0].globals_[rows[0]], found[1].globals_[rows[1]], atol=1e-6)
    assert found[0].path.name == found[1].path.name


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
    assert np.array_equal(found.patches, expected.patches)


def test_weights_of_patches_stay_with_them(tmp_path):
    plain, rng = make(tmp_path / "a.h5"), np.random.default_rng(1)
    spec = replace(plain.spec, weights=True)
    create(tmp_path / "b.h5", plain.keys.tolist(), spec)
    cache = DescriptorCache(tmp_path / "b.h5", spec, writable=True)
    cache.write(np.arange(COUNT), plain.globals_, plain.patches, rng.uniform(size=(COUNT, PATCHES)))
    adapted, other = (adapt_cache(given, np.arange(150), tmp_path) for given in (cache, plain))
    assert np.array_equal(adapted.weights, cache.weights) and np.array_equal(adapted.patches, other.patches)
    assert adapted.path != other.path and other.weights is None


def test_too_small_a_database_is_refused(tmp_path):
    with pytest.raises(CacheError, match="100 database images are too few to adapt to; pass --no-adapt"):
        adapt_cache(make(tmp_path / "a.h5"), np.arange(100), tmp_path)


def test_the_mean_of_the_database_is_taken_out():
    patches = unit(np.random.default_rng(0), 150, PATCHES, DIM)
    adapted = Adaptation.fit(patches).adapt_patches(patches)
    assert np.abs(patches.mean((0, 1))).max() > 0.1 > np.abs(adapted.mean((0, 1))).max()
