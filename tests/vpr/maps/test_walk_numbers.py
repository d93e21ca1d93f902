"""The numbers of the frames of a walk whose folder is added again."""

import pytest
from photos import a_model, write_photo

from vpr.maps.photo_map import Map
from vpr.positions.errors import MapError


def test_a_walk_keeps_the_numbers_of_its_list(tmp_path):
    """A folder that is added again does not number its frames again, and new ones need a number."""
    model, folder = a_model(), tmp_path / "photos"
    rows = [(write_photo(folder / f"{n}.jpg", None, seed=n), number) for n, number in enumerate((100, 130, 160))]
    listed = tmp_path / "a.csv"
    listed.write_text("\n".join(["file,frame", *(f"{path},{number}" for path, number in rows)]))
    made = Map.build(tmp_path / "map", listed, model=model)
    again = made.add(folder, folders="walk")
    assert again.positions[:, 0].tolist() == [100, 130, 160] and again.added.unchanged == 3
    write_photo(folder / "3.jpg", None, seed=3)
    words = r"0.jpg is frame 100 of the map, and number 0 of .*; 3.jpg is new; number the new frames in a list"
    with pytest.raises(MapError, match=words):
        again.add(folder, folders="walk")
    assert Map.open(made.folder, model).positions[:, 0].tolist() == [100, 130, 160]


def test_a_folder_of_a_walk_may_grow_at_its_end(tmp_path):
    model, folder = a_model(), tmp_path / "photos"
    for number in range(3):
        write_photo(folder / f"{number}.jpg", None, seed=number)
    made = Map.build(tmp_path / "map", folder, model=model, folders="walk")
    write_photo(folder / "3.jpg", None, seed=3)
    assert made.add(folder, folders="walk").positions[:, 0].tolist() == [0, 1, 2, 3]
    (folder / "0.jpg").unlink()
    assert made.add(folder, folders="walk").positions[:, 0].tolist() == [0, 1, 2, 3]
