"""The teacher's descriptors of the photos that are drawn: the same bytes whatever the cache has."""

import os

import numpy as np
import pytest
import torch
from PIL import Image
from training import CONFIG, CPU, EACH, PLACES, Pictures, same, trainer_of, weights_of

from vpr.base.processes import launch_fabric
from vpr.cache import CacheMismatch, DescriptorCache
from vpr.description.image_files import ImageFiles
from vpr.distill.settings import DistillationConfig
from vpr.distill.training.teacher_descriptors import DrawnDescriptors
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import TeacherConfig

COUNT = PLACES * EACH
PATHS = np.array([f"{number:02d}.png" for number in range(COUNT)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pictures of `training`, as files."""
    folder = tmp_path_factory.mktemp("pictures")
    for path, picture in zip(PATHS, Pictures().images):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / str(path))
    return folder


def network(seed=0):
    torch.manual_seed(seed)
    model = NetVLAD(TeacherConfig(clusters=4, dim=8, image_height=32, image_width=32)).eval()
    model.pool.centroids.data.normal_()
    model.whitened = True
    return model


def drawn(folder, cache, seed=0):
    return DrawnDescriptors(network(seed), folder, PATHS, launch_fabric(CPU), cache)


def forget(cache, rows):
    """Make a cache one that never had these rows."""
    file = DescriptorCache(cache, writable=True)
    file.done[rows], file.globals_[rows], file.bytes[rows], file.times[rows] = 0, 7.0, 0, 0


def test_a_photo_has_the_same_descriptor_with_any_others_and_with_any_cache(folder, tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "a.h5"
    whole = drawn(folder, path)
    whole.describe_all()
    expected = whole.of(np.arange(COUNT))
    images = ImageFiles(folder, PATHS, (32, 32))
    with torch.inference_mode():
        oracle = network()(torch.stack([images[number] for number in range(COUNT)])).global_descriptor
    np.testing.assert_allclose(expected, oracle, atol=1e-5)
    forget(path, rng.permutation(COUNT)[: COUNT // 2])
    for cache in (path, tmp_path / "b.h5", None):  # half filled, empty, none
        descriptors = drawn(folder, cache)
        for size in (1, 5, 17, COUNT, 2 * COUNT):
            photos = rng.integers(0, COUNT, size)
            assert (descriptors.of(photos) == expected[photos]).all()


def test_only_the_drawn_photos_are_read_and_each_once(folder, tmp_path, seams):
    reads = seams.watch("vpr.description.image_files.read_uncropped")
    descriptors = drawn(folder, tmp_path / "a.h5")
    for photos in ([3, 5, 3], [5, 8], [3]):
        descriptors.of(np.array(photos))
    assert reads.calls == 3
    cache = DescriptorCache(tmp_path / "a.h5")
    assert cache.keys.tolist() == PATHS.tolist() and np.flatnonzero(cache.done).tolist() == [3, 5, 8]
    drawn(folder, tmp_path / "a.h5").of(np.array([8, 5, 1]))
    assert reads.calls == 4


def test_a_photo_that_changed_is_described_again(folder, tmp_path):
    other = tmp_path / "pictures"
    other.mkdir()
    for path in PATHS:
        (other / path).write_bytes((folder / path).read_bytes())
    before = drawn(other, tmp_path / "a.h5").of(np.array([0, 1, 2]))
    (other / PATHS[1]).write_bytes((folder / PATHS[20]).read_bytes())
    os.utime(other / PATHS[1], (1, 1))
    after = drawn(other, tmp_path / "a.h5").of(np.array([0, 1, 2, 20]))
    assert (after[[0, 2]] == before[[0, 2]]).all() and (after[1] == after[3]).all() and (after[1] != before[1]).any()


def test_a_cache_of_another_teacher_is_refused(folder, tmp_path):
    drawn(folder, tmp_path / "a.h5")
    with pytest.raises(CacheMismatch, match="made by another model"):
        drawn(folder, tmp_path / "a.h5", seed=1)


def test_an_interrupted_write_leaves_a_whole_cache(folder, tmp_path, monkeypatch):
    photos, path = np.arange(9), tmp_path / "a.h5"
    expected = drawn(folder, None).of(photos)
    descriptors = drawn(folder, path)
    descriptors.of(photos[:4])

    def stop(*arrays):
        raise KeyboardInterrupt

    monkeypatch.setattr("vpr.cache._flush", stop)  # the descriptors are written, and not yet marked as done
    with pytest.raises(KeyboardInterrupt):
        descriptors.of(photos)
    monkeypatch.undo()
    assert DescriptorCache(path).done.sum() == 4
    assert (drawn(folder, path).of(photos) == expected).all() and DescriptorCache(path).done.sum() == 9


def test_a_full_disk_is_an_error_before_anything_is_written(folder, tmp_path, seams):
    descriptors = drawn(folder, tmp_path / "a.h5")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    seams.replace("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device, 1 MiB needed"):
        descriptors.of(np.array([4]))
    assert not DescriptorCache(tmp_path / "a.h5").done.any()


@pytest.mark.parametrize("filled", ["empty", "half", "full", "interrupted"])
def test_the_weights_do_not_depend_on_the_cache(folder, tmp_path, trained, filled):
    path = tmp_path / "a.h5"
    if filled in ("half", "full"):
        drawn(folder, path).describe_all()
    if filled == "half":
        forget(path, np.arange(0, COUNT, 2))
    if filled == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            train(folder, path, tmp_path, Pictures(stop_at=int(0.6 * trained[1])))
        assert (tmp_path / "checkpoint.pt").is_file()
    assert same(train(folder, path, tmp_path, Pictures()), trained[0])


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """The weights of a training whose teacher has no cache, and the number of pictures that it took."""
    images = Pictures()
    return train(folder, None, tmp_path_factory.mktemp("run"), images), images.asked


def train(folder, cache, out, images):
    """The weights of a training that follows the teacher."""
    trainer = trainer_of(images, CONFIG, DistillationConfig())
    trainer.train(out / "checkpoint.pt", drawn(folder, cache))
    return weights_of(trainer.model)
