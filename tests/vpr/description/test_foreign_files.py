"""Descriptors that are written for other tools: read as these tools read them."""

import h5py
import numpy as np
import pytest

from vpr.base.errors import VprError
from vpr.base.outputs import descriptor_files
from vpr.description.foreign import read_foreign
from vpr.description.foreign_files import NamedVectors, check_names, require_features, write_foreign, write_hloc

NAMES = {"database": ["db/z.jpg", "db/a/1.jpg", "db/a.jpg"], "queries": ["q/b.jpg", "q/ä b.jpg"]}


def made_up():
    rng = np.random.default_rng(0)
    sides = {}
    for part, names in NAMES.items():
        vectors = rng.standard_normal((len(names), 6)).astype(np.float32)
        sides[part] = NamedVectors(names, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return sides


def hloc_names(path):
    """The names of a file of features: the parents of its datasets."""
    found = []
    with h5py.File(path, "r") as file:
        file.visititems(
            lambda _, item: found.append(item.parent.name.strip("/")) if isinstance(item, h5py.Dataset) else None
        )
    return set(found)


def hloc_descriptors(path, names):
    with h5py.File(path, "r") as file:
        return np.stack([file[name]["global_descriptor"][...] for name in names])


def test_hloc_reads_names_and_descriptors(tmp_path):
    sides, path = made_up(), tmp_path / "x/features.h5"
    write_foreign(path, sides)
    assert hloc_names(path) == {*NAMES["database"], *NAMES["queries"]}
    for names, vectors in sides.values():
        assert hloc_descriptors(path, names).dtype == np.float32
        np.testing.assert_array_equal(hloc_descriptors(path, names), vectors)
        np.testing.assert_array_equal(read_foreign(path).look_up(names), vectors)
    require_features(path)
    write_foreign(path, sides)  # it may be replaced


def test_an_image_of_both_sides_is_there_once(tmp_path):
    names, vectors = made_up()["database"]
    write_hloc(tmp_path / "a.h5", [NamedVectors(names, vectors), NamedVectors(names[:1], vectors[:1])])
    assert hloc_names(tmp_path / "a.h5") == set(names)


def test_arrays_have_the_order_of_sorted_paths(tmp_path):
    sides, folder = made_up(), tmp_path / "d"
    write_foreign(folder, sides)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in descriptor_files(folder))
    for part, (names, vectors) in sides.items():
        array = np.load(folder / f"{part}_descriptors.npy", allow_pickle=False)
        assert array.dtype == np.float32 and array.flags.c_contiguous
        for name, row in zip(sorted(names), array, strict=True):
            np.testing.assert_array_equal(row, vectors[names.index(name)])
        (folder / f"{part}_images_paths.txt").unlink()  # as VPR-methods-evaluation leaves it
    again = read_foreign(folder, NAMES)
    for names, vectors in sides.values():
        np.testing.assert_array_equal(again.look_up(names), vectors)


def test_without_lists_the_photos_must_be_those_of_the_set(tmp_path):
    write_foreign(tmp_path / "d", made_up())
    for path in (tmp_path / "d").glob("*.txt"):
        path.unlink()
    with pytest.raises(VprError, match="images_paths.txt is missing"):
        read_foreign(tmp_path / "d")
    with pytest.raises(VprError, match="has 2 descriptors, and the set has 1 photos in queries; write the list"):
        read_foreign(tmp_path / "d", NAMES | {"queries": ["q/b.jpg"]})
    np.save(tmp_path / "d/queries_descriptors.npy", np.float32(1))
    with pytest.raises(VprError, match="has 1 descriptors|not descriptors"):
        read_foreign(tmp_path / "d", NAMES)
    array = np.empty(2, object)
    array[:] = ["os", "system"]
    np.save(tmp_path / "d/queries_descriptors.npy", array, allow_pickle=True)
    with pytest.raises(VprError, match="cannot be read as descriptors"):
        read_foreign(tmp_path / "d", NAMES)


def test_files_of_other_features_are_not_replaced(tmp_path):
    with h5py.File(tmp_path / "local.h5", "w") as file:
        group = file.create_group("db/a.jpg")
        group.create_dataset("global_descriptor", data=np.ones(4))
        group.create_dataset("keypoints", data=np.ones((3, 2)))
    with pytest.raises(VprError, match="has db/a.jpg/keypoints, so it is no file of global features alone"):
        require_features(tmp_path / "local.h5")
    (tmp_path / "odd.h5").write_bytes(b"\x89HDF\r\n\x1a\nrubbish")
    with pytest.raises(VprError, match=r"odd.h5 cannot be read .*; remove it"):
        require_features(tmp_path / "odd.h5")
    require_features(tmp_path / "folder")
    with pytest.raises(VprError, match="cannot be written into files of descriptors; rename the photo"):
        check_names(tmp_path / "d", ["fine.jpg", "a\nb.jpg"])
