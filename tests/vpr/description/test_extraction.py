"""Extraction into a cache: resumed after a kill, mended, grown and refreshed, with the bytes of an undisturbed one."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import vpr.description.image_files
import vpr.description.images
from vpr.cache import CacheError, CacheMismatch, DescriptorCache, create
from vpr.description.cache_filling import CacheFillOptions, describe_in_order, fill_cache
from vpr.description.images import ImageError
from vpr.description.model_spec import cache_spec
from vpr.models.netvlad import NetVLAD, TeacherConfig
from vpr.models.rollout import RolloutModel
from vpr.models.structural import ModelConfig, StructuralModel

CPU = torch.device("cpu")
COUNT = 150  # three blocks of at most 64 rows
KEYS = [f"images/{number:03d}.jpg" for number in range(COUNT)]


def make_model(seed=0):
    torch.manual_seed(seed)
    return StructuralModel(ModelConfig(dim=8, grid=2, image_size=32)).eval()


def write_image(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for number, key in enumerate(KEYS):
        write_image(root / key, number)
    return root


@pytest.fixture(scope="module")
def undisturbed(root, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "a.h5"
    fill_cache(path, make_model(), root, KEYS, CPU)
    return path


@pytest.fixture
def described(root, seams, tmp_path_factory):
    """The names of the images that are decoded from here on; threads take them in no fixed order."""
    found, decode = [], vpr.description.image_files.read_uncropped
    seams.replace(
        "vpr.description.image_files.read_uncropped", lambda path, *how: found.append(path.name) or decode(path, *how)
    )
    fill_cache(tmp_path_factory.mktemp("one") / "a.h5", make_model(), root, KEYS[:1], CPU)
    assert found == names(0, 1), "or no test could tell that none is decoded"
    found.clear()
    return found


def names(start, stop):
    return [Path(key).name for key in KEYS[start:stop]]


def test_descriptors_are_those_of_the_model_image_by_image(root, undisturbed):
    cache, model = DescriptorCache(undisturbed), make_model()
    for row in (0, 63, 64, 149):
        pixels = torch.from_numpy(
            vpr.description.images.read_image(root / KEYS[row], (32, 32)).transpose(2, 0, 1).copy()
        )
        with torch.inference_mode():
            expected = model(pixels[None])
        np.testing.assert_allclose(cache.globals_[row], expected.global_descriptor[0], atol=1e-5)
        np.testing.assert_allclose(cache.patches[row], expected.patch_descriptors[0], atol=1e-3)
    assert cache.bytes.tolist() == [(root / key).stat().st_size for key in KEYS]


def test_two_extractions_give_the_same_bytes_and_a_third_call_reads_no_image(root, undisturbed, tmp_path, described):
    fill_cache(tmp_path / "b.h5", make_model(), root, KEYS, CPU)
    assert (tmp_path / "b.h5").read_bytes() == undisturbed.read_bytes()
    assert sorted(described) == names(0, COUNT)
    described.clear()
    fill_cache(tmp_path / "b.h5", make_model(), root, KEYS[::-1], CPU)
    assert not described and (tmp_path / "b.h5").read_bytes() == undisturbed.read_bytes()


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_extraction as t
write = t.DescriptorCache.write
t.DescriptorCache.write = lambda *arguments: (write(*arguments), time.sleep(2))
t.fill_cache(Path(sys.argv[2]), t.make_model(), Path(sys.argv[3]), t.KEYS, t.CPU)
"""


@pytest.mark.slow
def test_a_killed_writer_is_resumed_to_the_same_bytes(root, undisturbed, tmp_path, described):
    path, here = tmp_path / "a.h5", Path(__file__).parent
    arguments = [sys.executable, "-c", WRITER, str(here), str(path), str(root)]
    writer = subprocess.Popen(arguments, cwd=here.parents[2], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (path.is_file() and DescriptorCache(path).done.any()) and time.monotonic() < deadline:
        time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert 0 < DescriptorCache(path).done.sum() < COUNT
    fill_cache(path, make_model(), root, KEYS[::-1], CPU)  # the file's order counts
    assert sorted(described) == names(64, COUNT)
    assert path.read_bytes() == undisturbed.read_bytes()


def test_a_writer_stopped_within_a_block_does_it_again(root, undisturbed, tmp_path, monkeypatch, described):
    path = tmp_path / "a.h5"

    def half(cache, rows, global_descriptors, *rest):
        cache.globals_[rows[:20]] = global_descriptors[:20]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DescriptorCache, "write", half)
        with pytest.raises(KeyboardInterrupt):
            fill_cache(path, make_model(), root, KEYS, CPU)
    assert not DescriptorCache(path).done.any()
    fill_cache(path, make_model(), root, KEYS, CPU)
    assert path.read_bytes() == undisturbed.read_bytes()


@pytest.mark.parametrize(("lost_rows", "blocks_kept"), [(0.5, 2), (30, 1), (150, 0)])
def test_a_file_cut_short_is_mended_from_the_rows_cut_off(
    root, undisturbed, tmp_path, described, lost_rows, blocks_kept
):
    path = tmp_path / "a.h5"
    shutil.copyfile(undisturbed, path)
    os.truncate(path, path.stat().st_size - int(lost_rows * 4 * 8 * 2))
    fill_cache(path, make_model(), root, KEYS, CPU)
    assert sorted(described) == names(64 * blocks_kept, COUNT)
    assert path.read_bytes() == undisturbed.read_bytes()


def test_new_images_are_added_and_old_ones_kept(root, undisturbed, tmp_path, described):
    path = tmp_path / "a.h5"
    fill_cache(path, make_model(), root, KEYS[:100], CPU)
    before = DescriptorCache(path)
    old = np.array(before.globals_), np.array(before.patches)
    described.clear()
    cache = fill_cache(path, make_model(), root, [KEYS[140], *KEYS[128:140], KEYS[140]], CPU).cache
    assert sorted(described) == names(128, 141)
    assert list(cache.keys[:100]) == KEYS[:100] and len(cache) == 113
    assert (cache.globals_[:100] == old[0]).all() and (cache.patches[:100] == old[1]).all()
    reference = DescriptorCache(undisturbed)
    np.testing.assert_allclose(
        cache.globals_[cache.rows(KEYS[128:141])], reference.globals_[reference.rows(KEYS[128:141])], atol=1e-5
    )


def test_an_image_of_another_size_in_bytes_is_described_anew(root, undisturbed, tmp_path, described):
    photos, path = tmp_path / "photos", tmp_path / "a.h5"
    shutil.copytree(root, photos)
    shutil.copyfile(undisturbed, path)
    Image.new("RGB", (32, 24), "red").save(photos / KEYS[70])
    cache = fill_cache(path, make_model(), photos, KEYS, CPU).cache
    assert sorted(described) == names(64, 128)
    before = DescriptorCache(undisturbed)
    changed = (cache.globals_ != before.globals_).any(1)
    assert changed[70] and np.flatnonzero(changed).tolist() == [70]
    assert cache.bytes[70] == (photos / KEYS[70]).stat().st_size and cache.done.all()


def test_an_image_of_the_same_size_and_another_time_of_change_is_described_anew(tmp_path, root, described):
    photos, path = tmp_path / "photos", tmp_path / "a.h5"
    shutil.copytree(root, photos)
    one, other = photos / KEYS[0], photos / KEYS[1]
    size = max(one.stat().st_size, other.stat().st_size)
    for photo in (one, other):  # decoders skip what stands behind the end of a JPEG
        photo.write_bytes(photo.read_bytes().ljust(size, b"\0"))
    before = fill_cache(path, make_model(), photos, KEYS[:3], CPU).cache.globals_.copy()
    one.write_bytes(other.read_bytes())
    described.clear()
    after = fill_cache(path, make_model(), photos, KEYS[:3], CPU).cache.globals_
    assert described and np.flatnonzero((after != before).any(1)).tolist() == [0]
    assert fill_cache(path, make_model(), photos, KEYS[:3], CPU).images == 0


def test_an_image_that_is_replaced_while_it_is_described_is_described_again(tmp_path, root):
    photos, path = tmp_path / "photos", tmp_path / "a.h5"
    shutil.copytree(root, photos)

    def replacing_one(*given):
        for found in describe_in_order(*given):
            Image.new("RGB", (32, 24), "red").save(photos / KEYS[0])
            yield found

    fill_cache(path, make_model(), photos, KEYS[:3], CPU, CacheFillOptions(describe=replacing_one))
    filled = fill_cache(path, make_model(), photos, KEYS[:3], CPU)
    alone = fill_cache(tmp_path / "b.h5", make_model(), photos, KEYS[:3], CPU)
    assert filled.images == 3 and np.array_equal(filled.cache.globals_, alone.cache.globals_)


def test_a_cache_of_an_earlier_version_goes_by_sizes(root, undisturbed, tmp_path, described):
    """It has no times."""
    path = tmp_path / "a.h5"
    shutil.copyfile(undisturbed, path)
    with h5py.File(path, "r+") as file:
        del file["times"]
    assert fill_cache(path, make_model(), root, KEYS, CPU).images == 0 and not described
    assert DescriptorCache(path).times is None


def test_a_teacher_has_no_patches(root, tmp_path):
    model = NetVLAD(TeacherConfig(clusters=2, dim=8, image_height=32, image_width=32)).eval()
    model.whitened = True
    cache = fill_cache(tmp_path / "a.h5", model, root, KEYS[:3], CPU).cache
    assert cache.patches.shape == (3, 0, 8)
    np.testing.assert_allclose(np.linalg.norm(cache.globals_, axis=1), 1, atol=1e-5)


def test_another_models_cache_is_refused_unless_it_may_be_replaced(root, undisturbed, tmp_path):
    path, other = tmp_path / "a.h5", make_model(seed=1)
    shutil.copyfile(undisturbed, path)
    with pytest.raises(CacheMismatch, match="made by another model"):
        fill_cache(path, other, root, KEYS, CPU)
    assert path.read_bytes() == undisturbed.read_bytes()
    cache = fill_cache(path, other, root, KEYS[:5], CPU, CacheFillOptions(overwrite=True)).cache
    assert cache.spec == cache_spec(other) and len(cache) == 5


def test_overwrite_keeps_a_cache_of_the_same_model(root, undisturbed, tmp_path, described):
    shutil.copyfile(undisturbed, tmp_path / "a.h5")
    fill_cache(tmp_path / "a.h5", make_model(), root, KEYS, CPU, CacheFillOptions(overwrite=True))
    assert not described


def test_a_damaged_cache_is_refused_unless_it_may_be_replaced(root, undisturbed, tmp_path):
    path = tmp_path / "a.h5"
    for content in (undisturbed.read_bytes()[:5000], gzip.compress(b"x"), b""):
        path.write_bytes(content)
        with pytest.raises(CacheError, match="a.h5 .*pass another --cache"):
            fill_cache(path, make_model(), root, KEYS[:2], CPU)
        assert path.read_bytes() == content
    assert len(fill_cache(path, make_model(), root, KEYS[:2], CPU, CacheFillOptions(overwrite=True)).cache) == 2


def test_a_chunked_cache_from_elsewhere_serves_as_it_is(root, undisturbed, tmp_path, described):
    path = tmp_path / "chunked.h5"
    with h5py.File(undisturbed) as old, h5py.File(path, "w", libver="latest") as new:
        new.attrs.update(old.attrs)
        for name in old:
            new.create_dataset(name, data=old[name][()], dtype=old[name].dtype, chunks=True, compression="gzip")
    before = path.read_bytes()
    cache = fill_cache(path, make_model(), root, KEYS, CPU).cache
    assert not described and path.read_bytes() == before
    assert (cache.patches == DescriptorCache(undisturbed).patches).all()


def test_a_missing_or_unreadable_image_is_named_and_what_was_done_is_kept(root, tmp_path, described):
    photos, path = tmp_path / "photos", tmp_path / "a.h5"
    shutil.copytree(root, photos)
    (photos / KEYS[149]).write_bytes(b"no image")
    with pytest.raises(ImageError, match=f"{KEYS[149]} cannot be decoded"):
        fill_cache(path, make_model(), photos, KEYS, CPU)
    assert DescriptorCache(path).done[:128].all() and not DescriptorCache(path).done[149]
    (photos / KEYS[3]).unlink()
    with pytest.raises(ImageError, match=f"{KEYS[3]} is missing"):
        fill_cache(path, make_model(), photos, KEYS, CPU)


def test_weights_of_patches_are_written_on_demand_and_then_kept_up(root, undisturbed, tmp_path):
    path, model, how = tmp_path / "a.h5", make_model(), CacheFillOptions(rollout=True)
    fill_cache(path, model, root, KEYS[:70], CPU, how)
    cache = fill_cache(path, model, root, KEYS, CPU).cache  # which does not ask for them
    pixels = vpr.description.images.read_image(root / KEYS[149], (32, 32)).transpose(2, 0, 1).copy()
    with torch.inference_mode():
        expected = RolloutModel(model)(torch.from_numpy(pixels)[None]).weights[0]
    np.testing.assert_allclose(cache.weights[149], expected, atol=1e-5)
    np.testing.assert_allclose(cache.weights.sum(1), 1, atol=1e-5)
    assert (cache.patches == DescriptorCache(undisturbed).patches).all()
    shutil.copyfile(undisturbed, tmp_path / "b.h5")
    with pytest.raises(CacheMismatch, match="no patch weights"):
        fill_cache(tmp_path / "b.h5", model, root, KEYS, CPU, how)
    assert (tmp_path / "b.h5").read_bytes() == undisturbed.read_bytes()


def test_no_images_need_no_work(root, tmp_path):
    create(tmp_path / "a.h5", [], cache_spec(make_model()))
    assert len(fill_cache(tmp_path / "a.h5", make_model(), root, [], CPU).cache) == 0


@pytest.mark.slow
def test_extraction_for_hloc(tiny_tree, distilled_run, tmp_path):
    """Of a dataset and of a folder of photos: the descriptors of the cache, by name; the cache is removed."""
    from vpr.extract import main

    usual = ["--run", str(distilled_run), "--device", "cpu", "--cache"]
    folder = tiny_tree / "train_val/cph/database"
    assert main([*usual, str(tmp_path / "cache.h5"), "--photos", str(folder)]) == 0
    assert main([*usual, str(tmp_path / "hloc.h5"), "--photos", str(folder), "--format", "hloc"]) == 0
    cache = DescriptorCache(tmp_path / "cache.h5")
    with h5py.File(tmp_path / "hloc.h5", "r") as file:
        for name, vector in zip(cache.keys, cache.globals_, strict=True):
            assert (folder / name).is_file()
            np.testing.assert_array_equal(file[name]["global_descriptor"][...], vector)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == [
        "cache.h5",
        "hloc.h5",
    ]
    assert (
        main([*usual, str(tmp_path / "hloc.h5"), "--data", str(tiny_tree), "--cities", "cph", "--format", "hloc"]) == 0
    )
    with h5py.File(tmp_path / "hloc.h5", "r") as file:
        assert [*file] == ["train_val"] and "database" in file["train_val/cph"]
