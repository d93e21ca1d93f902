"""The descriptor cache: its layout as plain HDF5, memory maps, refusals, growth, and files that were cut short."""

import os
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest

from vpr.cache import STRUCTURE_BYTES, CacheError, CacheMismatch, CacheSpec, DescriptorCache, create, mend_truncated

SPEC = CacheSpec("0123456789abcdef", patches=4, dim=8)
KEYS = [f"train_val/cph/query/images/{name}.jpg" for name in ("a", "bé", "ccc", "d", "e", "f", "g")]


def descriptors(count, spec=SPEC, seed=0):
    """Random global (N, C) float32 and patch descriptors (N, P, C) float16."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((count, spec.dim)).astype(np.float32),
        rng.standard_normal((count, spec.patches, spec.dim)).astype(np.float16),
    )


def fill(path, keys=KEYS, spec=SPEC):
    """A cache in which every row is done."""
    create(path, keys, spec)
    cache = DescriptorCache(path, spec, writable=True)
    cache.restart(np.arange(len(keys)), 1000 + np.arange(len(keys)))
    cache.write(np.arange(len(keys)), *descriptors(len(keys), spec))
    return DescriptorCache(path, spec)


def rewrite(source, target, **options):
    """The same content written by plain h5py, as somebody else's tool would."""
    with h5py.File(source) as old, h5py.File(target, "w", libver="latest") as new:
        new.attrs.update(old.attrs)
        for name in old:
            new.create_dataset(name, data=old[name][()], dtype=old[name].dtype, **options)


def test_plain_h5py_reads_the_documented_layout(tmp_path):
    fill(tmp_path / "a.h5")
    globals_, patches = descriptors(len(KEYS))
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"keys", "bytes", "times", "done", "global", "patches"}
        assert file.attrs["fingerprint"] == SPEC.fingerprint and file.attrs["format"] == 1
        assert list(file["keys"].asstr()[()]) == KEYS
        assert file["global"].dtype == np.float32 and (file["global"][()] == globals_).all()
        assert file["patches"].dtype == np.float16 and (file["patches"][()] == patches).all()
        assert file["bytes"][()].tolist() == list(range(1000, 1007)) and file["done"][()].all()


def test_weights_of_patches_are_there_where_asked_for(tmp_path):
    """Other caches keep their bytes; a file with weights serves those who want none, and not the other way round."""
    weights, spec = np.random.default_rng(0).uniform(size=(7, 4)).astype(np.float32), replace(SPEC, weights=True)
    create(tmp_path / "a.h5", KEYS, spec)
    cache = DescriptorCache(tmp_path / "a.h5", spec, writable=True)
    cache.write(np.arange(7), *descriptors(7), weights)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["weights"].dtype == np.float32 and (file["weights"][()] == weights).all()
        assert file.attrs["format"] == 1
    opened = DescriptorCache(tmp_path / "a.h5", SPEC)
    assert opened.spec == spec and (opened.read_weights(np.array([3, 1])) == weights[[3, 1]]).all()
    assert isinstance(opened.weights, np.memmap) and opened.weights.ctypes.data % 64 == 0
    create(tmp_path / "b.h5", ["new"], spec, opened)
    assert (DescriptorCache(tmp_path / "b.h5").weights[:7] == weights).all()
    os.truncate(tmp_path / "a.h5", opened.weights.offset + 3 * 16 + 5)
    assert mend_truncated(tmp_path / "a.h5")
    assert DescriptorCache(tmp_path / "a.h5").done.tolist() == [1, 1, 1, 0, 0, 0, 0]
    with pytest.raises(CacheMismatch, match="no patch weights"):
        DescriptorCache(fill(tmp_path / "c.h5").path, spec)
    with pytest.raises(CacheMismatch, match="no patch weights"):
        DescriptorCache(tmp_path / "c.h5").read_weights(np.arange(2))


def test_the_memory_map_is_aligned_and_holds_what_h5py_reads(tmp_path):
    cache = fill(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        for name, array in (("global", cache.globals_), ("patches", cache.patches), ("done", cache.done)):
            assert isinstance(array, np.memmap) and array.ctypes.data % 64 == 0
            assert file[name].chunks is None and (array == file[name][()]).all()
    with pytest.raises(ValueError, match="read-only"):
        cache.globals_[0] = 0


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"chunks": True, "compression": "gzip"}])
def test_files_from_other_tools_are_read(tmp_path, options):
    own = fill(tmp_path / "a.h5")
    rewrite(tmp_path / "a.h5", tmp_path / "b.h5", **options)
    other = DescriptorCache(tmp_path / "b.h5", SPEC)
    assert isinstance(other.patches, np.memmap) == (not options)
    assert (other.keys == own.keys).all() and other.rows(KEYS).tolist() == list(range(len(KEYS)))
    assert (other.patches == own.patches).all() and (other.globals_ == own.globals_).all()


def test_a_chunked_file_is_not_written(tmp_path):
    fill(tmp_path / "a.h5")
    rewrite(tmp_path / "a.h5", tmp_path / "b.h5", chunks=True)
    with pytest.raises(CacheError, match="can only be read; pass another --cache"):
        DescriptorCache(tmp_path / "b.h5", SPEC, writable=True)


@pytest.mark.parametrize(
    "other", [CacheSpec("f" * 16, 4, 8), CacheSpec(SPEC.fingerprint, 2, 8), CacheSpec(SPEC.fingerprint, 4, 16)]
)
def test_another_models_cache_is_refused_with_the_remedy(tmp_path, other):
    fill(tmp_path / "a.h5")
    with pytest.raises(CacheMismatch, match="made by another model .* 4 x 8.*--overwrite") as caught:
        DescriptorCache(tmp_path / "a.h5", other)
    assert str(other) in str(caught.value) and str(tmp_path / "a.h5") in str(caught.value)


def test_another_layout_is_refused(tmp_path):
    fill(tmp_path / "a.h5")
    rewrite(tmp_path / "a.h5", tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["format"] = 0
    rewrite(tmp_path / "a.h5", tmp_path / "uneven.h5")
    with h5py.File(tmp_path / "uneven.h5", "r+") as file:
        del file["done"]
        file["done"] = np.ones(3, np.uint8)
    rewrite(tmp_path / "a.h5", tmp_path / "wide.h5")
    with h5py.File(tmp_path / "wide.h5", "r+") as file:
        del file["patches"]
        file["patches"] = np.ones((len(KEYS), 4, 8), np.float64)
    for name in ("old.h5", "uneven.h5", "wide.h5"):
        with pytest.raises(CacheMismatch, match="does not have the layout"):
            DescriptorCache(tmp_path / name)


def test_what_is_no_cache_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5")
    (tmp_path / "empty.h5").touch()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["keys"] = np.arange(3)
    with h5py.File(tmp_path / "numbers.h5", "w") as file:
        file.attrs["fingerprint"], file.attrs["format"], file["keys"] = "x", 1, np.arange(3)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["a.jpg/global_descriptor"] = np.ones(3, np.float32)
    for name in ("text.h5", "empty.h5", "numbers.h5"):
        with pytest.raises(CacheError, match=f"{name} is damaged or not a descriptor cache"):
            DescriptorCache(tmp_path / name)
    for name in ("foreign.h5", "features.h5"):
        with pytest.raises(CacheError, match=f"{name} is no descriptor cache, but .* features for hloc; pass another"):
            DescriptorCache(tmp_path / name)
    with pytest.raises(CacheError, match="no descriptor cache at .*vpr.extract"):
        DescriptorCache(tmp_path / "missing.h5")


def test_rows_are_found_in_any_order_and_lacking_ones_named(tmp_path):
    cache = fill(tmp_path / "a.h5")
    assert cache.rows([KEYS[3], KEYS[0], KEYS[3]]).tolist() == [3, 0, 3]
    assert cache.find(["nowhere", KEYS[2]]).tolist() == [-1, 2]
    writable = DescriptorCache(tmp_path / "a.h5", SPEC, writable=True)
    writable.restart(np.array([5]), np.array([1]))
    with pytest.raises(CacheError, match="lacks 2 images, the first is nowhere"):
        cache.rows([KEYS[0], "nowhere", KEYS[5]])
    with pytest.raises(CacheError, match=f"lacks 1 images, the first is {KEYS[5]}"):
        cache.rows([KEYS[5], KEYS[6]])


def test_an_empty_cache_lacks_everything(tmp_path):
    create(tmp_path / "a.h5", [], SPEC)
    cache = DescriptorCache(tmp_path / "a.h5", SPEC)
    assert len(cache) == 0 and cache.rows([]).tolist() == []
    with pytest.raises(CacheError, match="lacks 1 images"):
        cache.rows(["a"])


def test_a_model_without_patches(tmp_path):
    spec = CacheSpec("teacher", patches=0, dim=8)
    cache = fill(tmp_path / "a.h5", spec=spec)
    assert cache.patches.shape == (len(KEYS), 0, 8) and cache.spec == spec
    assert (cache.globals_ == descriptors(len(KEYS), spec)[0]).all()


def test_growth_keeps_the_old_rows_where_they_were(tmp_path):
    old = fill(tmp_path / "a.h5")
    create(tmp_path / "a.h5", [KEYS[6], "new/1.jpg", KEYS[0], "new/2.jpg", "new/1.jpg"], SPEC, old)
    grown = DescriptorCache(tmp_path / "a.h5", SPEC)
    assert list(grown.keys) == [*KEYS, "new/1.jpg", "new/2.jpg"]
    assert grown.done.tolist() == [1] * len(KEYS) + [0, 0]
    for name in ("globals_", "patches", "bytes"):
        assert (getattr(grown, name)[: len(KEYS)] == getattr(old, name)).all()
        assert not getattr(grown, name)[len(KEYS) :].any()


def test_the_same_content_is_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        fill(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def extents(path):
    """Where each array's bytes lie: name to (offset, bytes a row)."""
    with h5py.File(path) as file:
        return {name: (file[name].id.get_offset(), file[name].nbytes // len(file[name])) for name in file}


@pytest.mark.parametrize("spec", [SPEC, CacheSpec("teacher", 0, 8)])
def test_a_file_cut_anywhere_among_its_descriptors_loses_only_the_rows_cut_off(tmp_path, spec):
    path = tmp_path / "a.h5"
    fill(path, spec=spec)
    whole = path.read_bytes()
    places = {name: place for name, place in extents(path).items() if place[0] is not None and name != "keys"}
    begin = min(offset for offset, _ in places.values())
    assert begin < len(whole) - 100
    for length in [*range(begin, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert mend_truncated(path)
        mended = DescriptorCache(path, spec)
        there = [all(at + (row + 1) * size <= length for at, size in places.values()) for row in range(len(KEYS))]
        assert mended.done.tolist() == there
        assert list(mended.keys) == KEYS
        globals_, patches = descriptors(len(KEYS), spec)
        assert (mended.globals_[there] == globals_[there]).all() and (mended.patches[there] == patches[there]).all()


def test_a_file_cut_in_its_structure_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.h5"
    fill(path)
    whole = path.read_bytes()
    keys_begin, key_bytes = extents(path)["keys"]
    assert keys_begin == STRUCTURE_BYTES < min(offset for name, (offset, _) in extents(path).items() if name != "keys")
    for length in [0, 7, 40, 47, *range(48, keys_begin, 97), *range(keys_begin, keys_begin + len(KEYS) * key_bytes)]:
        path.write_bytes(whole[:length])
        with pytest.raises(CacheError, match="(?s)a.h5 (is truncated before|is damaged).*pass another --cache"):
            mend_truncated(path)
            DescriptorCache(path)
        assert path.read_bytes() == whole[:length]


def test_a_whole_file_is_not_mended(tmp_path):
    fill(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    assert not mend_truncated(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").read_bytes() == before


def test_mending_that_is_killed_leaves_the_cut_file(tmp_path, seams):
    path = tmp_path / "a.h5"
    fill(path)
    os.truncate(path, path.stat().st_size - 1)
    before = path.read_bytes()
    seams.replace("vpr.cache.DescriptorCache._check", lambda *_: 1 / 0)  # when the copy has its length again
    with pytest.raises(ZeroDivisionError):
        mend_truncated(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_creation_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(OverflowError):
        create(tmp_path / "a.h5", KEYS, CacheSpec("x", -1, 8))
    assert not list(tmp_path.iterdir())


def test_int8_patches_keep_their_directions_in_half_the_space(tmp_path):
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((6, 9, 32)).astype(np.float32)
    patches /= np.linalg.norm(patches, axis=-1, keepdims=True)
    patches[5] = 0  # a vector of zeros stays one
    sizes = {}
    for dtype in ("float16", "int8"):
        spec = CacheSpec("x", 9, 32, dtype)
        create(tmp_path / dtype, [str(row) for row in range(6)], spec)
        DescriptorCache(tmp_path / dtype, spec, writable=True).write(np.arange(6), np.ones((6, 32)), patches)
        cache = DescriptorCache(tmp_path / dtype, spec)
        read, sizes[dtype] = cache.read_patches(np.array([4, 0, 5])).astype(np.float32), cache.patches.nbytes
        assert (read[2] == 0).all()
        lengths = np.linalg.norm(read[:2], axis=-1)
        np.testing.assert_allclose(lengths, 1, atol=1e-3)
        cosines = (read[:2] * patches[[4, 0]]).sum(-1) / lengths
        assert cosines.min() > (0.999999 if dtype == "float16" else 0.9999)
    assert sizes["int8"] * 2 == sizes["float16"]
    with pytest.raises(CacheMismatch, match="int8.*float16|float16.*int8"):
        DescriptorCache(tmp_path / "int8", CacheSpec("x", 9, 32))


def _external_link(file, name, source):
    file[name] = h5py.ExternalLink(str(source), name)


def _soft_link(file, name, source):
    file[f"other_{name}"] = h5py.File(source)[name][()]
    file[name] = h5py.SoftLink(f"/other_{name}")


def _virtual(file, name, source):
    with h5py.File(source) as other:
        layout = h5py.VirtualLayout(other[name].shape, other[name].dtype)
        layout[...] = h5py.VirtualSource(other[name])
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("elsewhere", [_external_link, _soft_link, _virtual])
@pytest.mark.parametrize("name", ["keys", "bytes", "done", "global", "patches", "weights", "times"])
def test_arrays_of_other_files_are_refused(tmp_path, name, elsewhere):
    """With the other file gone they would read as zeros."""
    source, path = tmp_path / "source.h5", tmp_path / "a.h5"
    create(source, ["a.jpg", "b.jpg"], CacheSpec("x", 4, 8, weights=True))
    shutil.copy(source, path)
    with h5py.File(path, "r+") as file:
        del file[name]
        elsewhere(file, name, source)
    with pytest.raises(CacheError, match=f"a.h5 keeps {name} in other files, which are not opened; remove it"):
        DescriptorCache(path)


def test_a_sparse_cache_takes_the_space_of_the_rows_that_are_used(tmp_path):
    keys, spec = [f"{number}.jpg" for number in range(4096)], CacheSpec("0123456789abcdef", patches=4, dim=256)
    create(tmp_path / "a.h5", keys, spec, sparse=True)
    cache, rows = DescriptorCache(tmp_path / "a.h5", spec, writable=True), np.array([7, 4000])
    state = cache.path.stat()
    assert 512 * state.st_blocks < 2**20 < state.st_size
    values = descriptors(2, spec)
    cache.allocate(rows)
    cache.restart(rows, np.ones(2, np.int64))
    cache.write(rows, *values)
    again = DescriptorCache(tmp_path / "a.h5", spec)
    assert (again.globals_[rows] == values[0]).all() and (again.patches[rows] == values[1]).all()
    assert np.flatnonzero(again.done).tolist() == rows.tolist() and not again.globals_[5].any()
    create(tmp_path / "b.h5", [*keys, "more.jpg"], spec, again, sparse=True)  # its old rows are copied
    assert (DescriptorCache(tmp_path / "b.h5").globals_[rows] == values[0]).all()
    assert 512 * (tmp_path / "b.h5").stat().st_blocks >= (tmp_path / "b.h5").stat().st_size
