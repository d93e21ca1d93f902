"""GSV-Cities: names, places, odd rows, and a city as a retrieval set."""

import csv
import logging

import numpy as np
import pytest
from training_trees import gsv_name, gsv_rows, make_gsv, write_gsv_city

from vpr.datasets import gsv_cities
from vpr.datasets.errors import DatasetError
from vpr.datasets.gsv_cities import load


def edit_table(root, city, change):
    """Change the rows of a table, with its header in front."""
    path = root / "Dataframes" / f"{city}.csv"
    rows = list(csv.reader(path.open()))
    change(rows)
    path.write_text("".join(",".join(row) + "\n" for row in rows))


def test_places_of_two_cities_with_the_same_ids_against_the_rows(tmp_path):
    rows = {city: gsv_rows(city, [3, 7, 100_003], at=at) for city, at in (("Rome", 0), ("Oslo", 20))}
    rows["Rome"] = [*rows["Rome"], *gsv_rows("Rome", [9], images=3, at=5)]  # a place with three images
    expected: dict = {}
    for city, of_city in rows.items():
        write_gsv_city(tmp_path, city, of_city)
        for row in of_city:
            expected.setdefault((city, row["place_id"]), set()).add(f"Images/{city}/{gsv_name(row)}")
    views = load(tmp_path)
    assert views.cities == ("Oslo", "Rome") and views.left_out == 3
    found: dict = {}
    for path, place in zip(views.paths, views.place):
        found.setdefault(place, set()).add(path)
    assert sorted(map(sorted, found.values())) == sorted(sorted(one) for one in expected.values() if len(one) >= 4)
    assert len(found) == 6 and all((tmp_path / path).is_file() for path in views.paths)
    assert {path.split("_")[1] for path in views.paths} == {"0000003", "0000007"}  # modulo 100,000
    assert len(load(tmp_path, ["Rome"], 3).paths) == 15
    first = views.utm()[views.city == 1][:4]
    assert np.linalg.norm(first[0] - first[3]) == pytest.approx(3 * 1e-5 * 111_320 * np.cos(np.radians(40)), rel=0.01)


def test_names_end_as_the_images_do(tmp_path):
    paths = write_gsv_city(tmp_path, "Rome", gsv_rows("Rome", [1]), ending=".jpg")
    assert load(tmp_path).paths.tolist() == paths


def test_repeated_rows_count_once_and_an_image_of_two_places_is_left_out(tmp_path, caplog):
    rows = gsv_rows("Rome", [5], images=6)
    again = [{**row, "place_id": 100_005} for row in rows[:1]]  # the same name, another place
    write_gsv_city(tmp_path, "Rome", [*rows, rows[3], *again])
    with caplog.at_level(logging.WARNING):
        views = load(tmp_path)
    assert len(views.paths) == 5 and len(set(views.paths)) == 5 and gsv_name(rows[0]) not in str(views.paths)
    assert "2 rows name an image that another row names too; 1 images belong to several places" in caplog.text


def test_a_city_as_a_retrieval_set(tmp_path, monkeypatch):
    make_gsv(tmp_path, places=7)
    data = gsv_cities.retrieval_set(tmp_path, "London")
    assert data.counts() == {"queries": 7, "queries_without_positives": 0, "database": 21}
    for query, right in enumerate(data.positives):
        place = data.queries.names[query].split("_")[1]
        assert [name.split("_")[1] for name in data.database.names[right]] == [place] * 3
        assert "_2013_" in data.queries.names[query]  # the newest
        assert sum(f"_{place}_" in name for name in data.database.names) == 3
        assert np.linalg.norm(data.positions[right] - data.query_positions[query], axis=1).max() < 5
    monkeypatch.setattr(gsv_cities, "HELD_OUT_PLACES", 3)
    assert gsv_cities.retrieval_set(tmp_path, "London").counts()["queries"] == 3


FAULTS = [
    (lambda rows: [row.pop(3) for row in rows], "column 'northdeg' is missing"),
    (lambda rows: rows[2].__setitem__(0, "x"), "row 1 (line 3): place_id 'x' is not a number"),
    (lambda rows: rows[2].__setitem__(0, "-4"), "row 1 (line 3): place_id is negative"),
    (lambda rows: rows[3].__setitem__(5, "95"), "row 2 (line 4): lat and lon are not degrees on Earth"),
    (lambda rows: rows[3].__setitem__(6, ""), "row 2 (line 4): lat and lon are not degrees on Earth"),
    (lambda rows: rows[1].__setitem__(7, "../x"), "row 0 (line 2): panoid is not a part of a file name"),
    (lambda rows: rows[1].__setitem__(4, ""), "city_id '' is empty"),
    (lambda rows: rows.__delitem__(slice(1, None)), "the city has no image"),
    (lambda rows: rows[2].pop(), "7 fields, but the header has 8"),
    (lambda rows: rows.clear(), "the file is empty"),
]


@pytest.mark.parametrize(("damage", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_damaged_tables_are_named(tmp_path, damage, words):
    make_gsv(tmp_path)
    edit_table(tmp_path, "London", damage)
    with pytest.raises(DatasetError) as error:
        load(tmp_path)
    assert "Dataframes/London.csv" in str(error.value) and words in str(error.value)
    assert len(load(tmp_path, ["Boston"]).paths) == 20


def test_missing_parts_are_named(tmp_path):
    make_gsv(tmp_path)
    with pytest.raises(DatasetError, match="has no city 'Paris'; it holds Boston, London"):
        load(tmp_path, ["Paris"])
    with pytest.raises(DatasetError, match="no place of Boston has 5 images; pass a smaller --least-photos"):
        load(tmp_path, ["Boston"], 5)
    (tmp_path / "Images").rename(tmp_path / "Pictures")
    with pytest.raises(DatasetError, match="Images: the folder is missing; unpack the images"):
        load(tmp_path)
    for table in (tmp_path / "Dataframes").iterdir():
        table.unlink()
    with pytest.raises(DatasetError, match="there is no table of a city"):
        load(tmp_path)
