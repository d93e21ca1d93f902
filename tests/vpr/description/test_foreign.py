"""Descriptors from elsewhere, in files written in their layouts: found by image, or named when they cannot be used."""

import h5py
import numpy as np
import pytest
from layouts import LAYOUTS, as_hloc, as_numpy, as_ours

from vpr.base.errors import VprError
from vpr.description.foreign import is_foreign, read_foreign

IMAGES = [f"train_val/{city}/{side}/images/{key}.jpg" for city in ("cph", "sf") for side in ("query", "database")
          for key in ("aa", "bb")]  # fmt: skip


def unit(count=8, dim=6, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_each_image_its_descriptor(tmp_path, layout):
    vectors = unit()
    path = layout(tmp_path, IMAGES, vectors)
    assert is_foreign(path)
    foreign, order = read_foreign(path), np.random.default_rng(1).permutation(len(IMAGES))
    assert foreign.dim == 6
    np.testing.assert_allclose(foreign.look_up([IMAGES[row] for row in order]), vectors[order], atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "train_val/cph/query/images/aa.jpg", "cph/query/images/aa.png", "/data/MSLS/train_val/cph/query/images/aa.jpg",
        "images/aa.jpg", "aa.jpg", "aa", "@0345678.90@6173456.00@33@V@@@@@aa@@@@cph@.jpg",
    ],
)  # fmt: skip
def test_names_that_fit(tmp_path, name):
    path = as_numpy(tmp_path, [name, "x/bb.jpg"], unit(2))
    assert (read_foreign(path).look_up(["train_val/cph/query/images/aa.jpg"]) == read_foreign(path).vectors[:1]).all()


def test_of_several_names_the_one_that_shares_most_of_the_path(tmp_path):
    names = ["cph/database/images/aa.jpg", "cph/query/images/aa.jpg", "sf/query/images/aa.jpg"]
    found = read_foreign(as_numpy(tmp_path, names, unit(3)))
    for row, name in enumerate(names):
        assert (found.look_up([f"train_val/{name}"]) == found.vectors[row]).all()
    short = read_foreign(as_numpy(tmp_path, ["aa.jpg", names[1]], unit(2)))
    assert (short.look_up([f"train_val/{names[1]}"]) == short.vectors[1]).all()


def test_no_descriptor_goes_to_two_images(tmp_path):
    ours = [f"train_val/cph/{side}/images/aa.jpg" for side in ("query", "database")]
    twice = read_foreign(as_numpy(tmp_path, ["a/aa.jpg", "b/aa.jpg"], unit(2)))
    with pytest.raises(VprError, match=f"lacks 2 of 2 images, the first is {ours[0]}; .* named by their paths"):
        twice.look_up(ours)
    with pytest.raises(VprError, match=f"has two descriptors of {ours[0]}"):
        read_foreign(as_numpy(tmp_path, [ours[0], ours[0]], unit(2))).look_up(ours)
    for name in ("aa.jpg", "elsewhere/aa.jpg", "@1@2@aa@.jpg"):
        once = read_foreign(as_numpy(tmp_path, [name, "bb.jpg"], unit(2)))
        assert (once.look_up(ours[:1]) == once.look_up(ours[:1])).all()
        with pytest.raises(VprError, match=f"{name} could be {ours[0]} or {ours[1]}; use the paths of images as names"):
            once.look_up(ours[1:])


def test_lengths_are_evened_out_and_said(tmp_path, caplog):
    path = as_numpy(tmp_path, IMAGES, 3 * unit())
    np.testing.assert_allclose(np.linalg.norm(read_foreign(path).vectors, axis=1), 1, atol=1e-6)
    assert "scaled to unit length" in caplog.text


def test_an_image_without_a_descriptor_is_named(tmp_path):
    found = read_foreign(as_hloc(tmp_path, IMAGES[1:], unit()[1:]))
    with pytest.raises(VprError, match=rf"x.h5 lacks 1 of 8 images, the first is {IMAGES[0]}"):
        found.look_up(IMAGES)


def spoilt(vectors, row, value):
    vectors = vectors.copy()
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "names", "words"),
    [
        (unit(), IMAGES[1:], "names 7 images, .*a.npy has 8 descriptors"),
        (unit()[0], IMAGES[:6], "not descriptors"),
        (np.zeros((8, 2), int), IMAGES, "not descriptors"),
        (spoilt(unit(), 2, np.nan), IMAGES, f"the descriptor of {IMAGES[2]} is zero or not finite"),
        (spoilt(unit(), 3, 0), IMAGES, f"the descriptor of {IMAGES[3]} is zero or not finite"),
        (np.array([{}], object), ["a"], "cannot be read as descriptors .*allow_pickle"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, vectors, names, words):
    np.save(tmp_path / "a.npy", vectors)
    (tmp_path / "a.txt").write_text("\n".join(names))
    with pytest.raises(VprError, match=words):
        read_foreign(tmp_path / "a.npy")


def test_files_that_are_of_no_layout(tmp_path):
    np.save(tmp_path / "b.npy", unit())
    with pytest.raises(VprError, match="b.txt is missing; write the list of the images"):
        read_foreign(tmp_path / "b.npy")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["keypoints"] = np.zeros((3, 2))
    with pytest.raises(VprError, match="no dataset global_descriptor, and is not a cache"):
        read_foreign(tmp_path / "c.h5")
    (tmp_path / "d.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(VprError, match="d.h5 cannot be read as descriptors"):
        read_foreign(tmp_path / "d.h5")
    assert not is_foreign(tmp_path) and not is_foreign(tmp_path / "e.csv") and not is_foreign(tmp_path / "e.npy")


def both_sides(tmp_path, names, vectors):
    """The layout of VPR-methods-evaluation, with the same names on both sides."""
    for part, rows in (("database", slice(0, len(names))), ("queries", slice(len(names), None))):
        np.save(tmp_path / f"{part}_descriptors.npy", vectors[rows])
        (tmp_path / f"{part}_images_paths.txt").write_text("\n".join(names))
    return tmp_path


@pytest.mark.parametrize("folder", ["query", "queries"])
@pytest.mark.parametrize("names", [["aa.jpg", "bb.jpg"], ["images/aa.jpg", "images/bb.jpg"], ["aa", "bb"]])
def test_the_same_names_on_both_sides(tmp_path, names, folder):
    vectors = unit(4)
    found = read_foreign(both_sides(tmp_path, names, vectors))
    ours = [f"train_val/cph/{side}/images/{key}.jpg" for side in ("database", folder) for key in ("aa", "bb")]
    assert (found.look_up(ours) == vectors).all() and (found.look_up(ours[::-1]) == vectors[::-1]).all()
    if "/" not in names[0]:
        with pytest.raises(VprError, match="has two descriptors of town/aa.jpg; use longer paths, from the dataset's"):
            found.look_up(["town/aa.jpg"])


def test_the_same_descriptor_twice_is_one(tmp_path):
    vectors = np.repeat(unit(1), 2, 0)
    found = read_foreign(as_numpy(tmp_path, ["a/aa.jpg", "a/aa.jpg"], vectors))
    assert (found.look_up(["a/aa.jpg"]) == found.vectors[0]).all()


def test_names_with_points_and_letters_of_two_parts(tmp_path):
    names = ["frame.0001", "frame.0002.jpg", "Zu\u0308rich.jpg", "d\u00a0", "e\u2028f.jpg"]
    path = as_numpy(tmp_path, names, unit(5))
    found = read_foreign(path)
    images = ["q/frame.0001.jpg", "q/frame.0002.jpg", "q/Z\u00fcrich.jpg", "q/d\u00a0.jpg", "q/e\u2028f.jpg"]
    assert (found.look_up(images) == found.vectors).all()
    (tmp_path / "a.txt").write_text("\ufeff" + "\r\n".join(names) + "\r\n", encoding="utf-8")
    assert (read_foreign(path).look_up(images) == found.vectors).all(), "with a byte order mark and other lines"


def linked(path, kind):
    """A file of hloc whose descriptor lies elsewhere, in a file that is there or not."""
    with h5py.File(path.parent / "there.h5", "w") as file:
        file["x"] = unit(1)[0]
    with h5py.File(path, "w") as file:
        file.create_group("a.jpg")["global_descriptor"] = unit(1)[0]
        group = file.create_group("b.jpg")
        source = "there.h5" if "there" in kind else "gone.h5"
        if kind.startswith("virtual"):
            layout = h5py.VirtualLayout((6,), np.float32)
            layout[:] = h5py.VirtualSource(source, "x", (6,))
            group.create_virtual_dataset("global_descriptor", layout)
        elif kind.startswith("link"):
            group["global_descriptor"] = h5py.ExternalLink(source, "x")
        elif kind == "soft":
            group["global_descriptor"] = h5py.SoftLink("/a.jpg/global_descriptor")
        else:
            (path.parent / source).write_bytes(unit(1)[0].tobytes())
            group.create_dataset("global_descriptor", (6,), np.float32, external=[(source, 0, 24)])


@pytest.mark.parametrize("kind", ["virtual, there", "virtual, gone", "link, there", "link, gone", "soft", "raw, there"])
def test_numbers_in_other_files_are_refused(tmp_path, kind):
    linked(tmp_path / "a.h5", kind)
    with pytest.raises(VprError, match=r"a.h5 cannot be read as descriptors \(.*(in other files|is a link)"):
        read_foreign(tmp_path / "a.h5")


def test_a_descriptor_with_two_names_in_a_file_is_that_of_both(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("a.jpg")["global_descriptor"] = unit(1)[0]
        file["b.jpg/global_descriptor"] = file["a.jpg/global_descriptor"]
    found = read_foreign(tmp_path / "a.h5")
    assert found.names == ["a.jpg", "b.jpg"] and (found.look_up(["b.jpg"]) == found.look_up(["a.jpg"])).all()


def test_a_group_that_holds_itself_ends_the_walk(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("a.jpg")["global_descriptor"] = unit(1)[0]
        file["a.jpg/itself"] = file["a.jpg"]
    assert read_foreign(tmp_path / "a.h5").names == ["a.jpg"]


def test_a_cache_of_ours_is_not_followed_into_other_files(tmp_path):
    path = as_ours(tmp_path, IMAGES, unit())
    with h5py.File(path, "r+") as file:
        del file["global"]
        layout = h5py.VirtualLayout((8, 6), np.float32)
        layout[:] = h5py.VirtualSource("gone.h5", "x", (8, 6))
        file.create_virtual_dataset("global", layout)
    with pytest.raises(VprError, match="it keeps global in other files, which are not opened"):
        read_foreign(path)


def test_more_than_one_vector_an_image(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group("a.jpg")["global_descriptor"] = unit(1)
        assert file["a.jpg/global_descriptor"].shape == (1, 6)
    assert read_foreign(tmp_path / "a.h5").dim == 6
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_group("a.jpg")["global_descriptor"] = unit(3)
    with pytest.raises(VprError, match=r"a.jpg/global_descriptor is \(3, 6\), not one vector"):
        read_foreign(tmp_path / "b.h5")
    np.savez(tmp_path / "c.npz", unit())
    with pytest.raises(VprError, match=r"c.npz may have several arrays; save one as .npy"):
        read_foreign(tmp_path / "c.npz")
