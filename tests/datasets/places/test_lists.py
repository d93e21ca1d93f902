"""Lists of both sides, and odd rows in them."""

import json

import pytest
from place_trees import touch, write_csv

from vpr.base.errors import VprError
from vpr.datasets.places.options import PlaceOptions


def right(places):
    """For each query the numbers of right database photos."""
    return [row.tolist() for row in places.retrieval_set.answers]


@pytest.mark.parametrize("form", ["csv", "geojson"])
def test_a_list_with_sides_wins_over_folders(tmp_path, form):
    """Names of the folders would have no labels; other tables are no such list."""
    touch(tmp_path / "db/a.jpg", tmp_path / "q/b.jpg")
    (tmp_path / "results.csv").write_text("side\n1\n")
    (tmp_path / "notes.csv").write_text("file,lat,lon\ndb/a.jpg,1,2\n")
    rows = [("db/a.jpg", "database", 47, 8), ("q/b.jpg", "query", 47, 8)]
    path = tmp_path / f"photos.{form}"
    if form == "csv":
        write_csv(path, ["file", "side", "latitude", "longitude"], rows)
    else:
        points = [
            {"type": "Feature", "properties": {"file": file, "side": side},
             "geometry": {"type": "Point", "coordinates": [east, north]}} for file, side, north, east in rows
        ]  # fmt: skip
        path.write_text(json.dumps({"type": "FeatureCollection", "features": points}))
    places = PlaceOptions(data=tmp_path).load()
    assert places.layout == "list" and right(places) == [[0]] and places.places.both == path
    (tmp_path / "more.csv").write_bytes(b"file,side,lat,lon\na.jpg,query,1,2\n")
    with pytest.raises(VprError, match="has several lists with a column side: more.csv, photos.*; pass --truth LIST"):
        PlaceOptions(data=tmp_path).load()


def test_a_row_of_no_side_is_refused(tmp_path):
    sides = ["query", "database", "databse"]
    touch(*(tmp_path / f"images/{number}.jpg" for number in range(3)))
    columns = ["file", "side", "latitude", "longitude"]
    for odd in ("databse", ""):
        sides[2] = odd
        write_csv(tmp_path / "photos.csv", columns, [(f"{n}.jpg", side, 47, 8) for n, side in enumerate(sides)])
        with pytest.raises(VprError, match=f"row 4: the side of 2.jpg is '{odd}'; write query or database"):
            PlaceOptions(data=tmp_path).load()


def test_a_photo_with_two_positions_is_refused(tmp_path):
    """In a list of a side, and in the list of both folders. Equal rows, and a row without a position, are no fault."""
    touch(tmp_path / "database/a.jpg", tmp_path / "queries/b.jpg")
    rows = [("database/a.jpg", 47, 8), ("queries/b.jpg", 47, 8), ("database/a.jpg", "", ""), ("database/a.jpg", 47, 8)]
    path = write_csv(tmp_path / "all.csv", ["file", "lat", "lon"], rows)
    each = PlaceOptions(tmp_path / "database", tmp_path / "queries", truth=path), PlaceOptions(path, path)
    for options, found in zip(each, ([[0]], [[1], [0]])):
        write_csv(path, ["file", "lat", "lon"], rows)
        assert right(options.load()) == found
        write_csv(path, ["file", "lat", "lon"], [*rows, ("database/a.jpg", 47.5, 8)])
        with pytest.raises(VprError, match=r"row 6: database/a.jpg has another position in an earlier row; keep one"):
            options.load()
