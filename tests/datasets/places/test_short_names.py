"""Short names have degrees or metres, as the whole set decides."""

import pytest
from place_trees import by_plane, touch

from vpr.base.errors import VprError
from vpr.datasets.places.options import PlaceOptions


def right(places):
    """For each query the numbers of right database photos."""
    return [row.tolist() for row in places.retrieval_set.answers]


@pytest.mark.parametrize("odd", ["@47.5@1.67@.jpg", "@0@0@.jpg"])
def test_a_short_number_does_not_turn_degrees_into_metres(tmp_path, odd):
    """Photos 111 m apart in degrees would be 0.001 m apart in metres. At 0, 0 a position is unknown."""
    for side in ("database", "queries"):
        touch(*(tmp_path / side / f"@{47 + number / 1000:.4f}@8.5001@.jpg" for number in range(4)))
        touch(tmp_path / side / odd)
    places = PlaceOptions(data=tmp_path).load()
    known = 5 if "47" in odd else 4
    assert right(places) == [[number] for number in range(known)]
    assert len(places.notes) == 2 * (known == 4)


def test_both_sides_have_the_same_unit(tmp_path):
    """One side alone would be metres."""
    touch(tmp_path / "queries/@47.5@8.5@.jpg", tmp_path / "queries/@47.6@8.5@.jpg")
    touch(*(tmp_path / f"database/@47.{number}0001@8.50001@.jpg" for number in range(9)))
    places = PlaceOptions(data=tmp_path).load()
    assert right(places) == [[5], [6]]


@pytest.mark.parametrize("spots", [[(0, 0), (10, 0), (20, 0), (85.5, 0)], [(0, 2.5), (0, 5), (3.125, 7.25), (500, 7)]])
def test_small_metres_are_metres(tmp_path, spots):
    for side in ("database", "queries"):
        touch(*(tmp_path / side / f"@{first}@{second}@.jpg" for first, second in spots))
    places = PlaceOptions(data=tmp_path).load()
    data = places.retrieval_set
    assert right(places) == by_plane(data.queries.names.tolist(), data.database.names.tolist())
    assert places.queries.coordinates.systems == ("",)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["@47.0001@8.5@.jpg", "@500.5@3.2@.jpg"], "@47.0001@8.5@.jpg looks like degrees, but @500.5@3.2@.jpg is out"),
        (
            ["@47.0001@8.5@.jpg", "@47@8@.jpg"],
            "@47.0001@8.5@.jpg looks like degrees, but @47@8@.jpg does not, and 1 of",
        ),
    ],
)
def test_degrees_beside_metres_are_refused(tmp_path, names, words):
    touch(tmp_path / "database" / names[0], tmp_path / "queries" / names[1])
    with pytest.raises(VprError, match=words):
        PlaceOptions(data=tmp_path).load()
    assert PlaceOptions(data=tmp_path, crs="EPSG:32632").load().layout == "names"
