"""Sets of places in each layout, with odd cases, against plain loops."""

import math
from pathlib import Path

import numpy as np
import pytest
from place_trees import by_degrees, by_plane, touch, utm_name, utm_of, write_csv, write_geojson

from tools.photo_folder import gps_exif
from vpr.base.errors import VprError
from vpr.datasets.places.known_counts import count_remark
from vpr.datasets.places.layout import find_places
from vpr.datasets.places.options import PlaceOptions
from vpr.datasets.places.place_set import load


def right(places):
    """For each query the numbers of right database photos."""
    return [row.tolist() for row in places.retrieval_set.answers]


def names(side):
    return side.names.tolist()


def check_by_plane(places, radius_m=25.0):
    """Compare with a loop over the names."""
    data = places.retrieval_set
    expected = by_plane(names(data.queries), names(data.database), radius_m)
    assert right(places) == expected and any(expected)
    return expected


def random_names(rng, count, **rest):
    """Names on a grid of 5 m, where distances of exactly 25 m are common."""
    return [
        utm_name(f"{500_000 + 5 * east:010.2f}", f"{4_000_000 + 5 * north:010.2f}", note=number, **rest)
        for number, (east, north) in enumerate(rng.integers(0, 50, (count, 2)))
    ]


@pytest.fixture
def utm_tree(tmp_path):
    """Images of a test and a val split."""
    rng = np.random.default_rng(0)
    for split, counts in (("test", (60, 40)), ("val", (9, 7))):
        for side, count in zip(("database", "queries"), counts):
            touch(*(tmp_path / "images" / split / side / name for name in random_names(rng, count)))
    return tmp_path


def test_folders_below_images_with_a_split(utm_tree):
    places = PlaceOptions(data=utm_tree).load()
    assert places.layout == "names" and places.places.split == "test" and places.notes == ()
    expected = check_by_plane(places)
    without = sum(not row for row in expected)
    assert places.retrieval_set.counts() == {"queries": 40, "queries_without_positives": without, "database": 60}
    assert places.retrieval_set.unanswered == "wrong" and places.retrieval_set.own is None
    assert len(PlaceOptions(data=utm_tree, split="val").load().retrieval_set.database) == 9
    assert len(PlaceOptions(data=utm_tree / "images/val").load().retrieval_set.database) == 9
    with pytest.raises(VprError, match="has no split train with queries and database"):
        PlaceOptions(data=utm_tree, split="train").load()


def test_two_folders_and_the_radius(utm_tree):
    folder = utm_tree / "images/test"
    for radius in (5.0, 25.0, 40.0):
        places = PlaceOptions(folder / "database", folder / "queries", radius=radius).load()
        check_by_plane(places, radius)
        assert places.radius_m == radius
    left = PlaceOptions(folder / "database", folder / "queries", without_positives="left-out").load().retrieval_set
    assert left.counts()["queries"] == 40 - left.counts()["queries_without_positives"] < 40


def test_paths_lie_below_a_common_root_and_names_within_their_folder(tmp_path):
    """Equal names on both sides, in folders of other places."""
    name = utm_name(1, 2)
    touch(tmp_path / "a/database/x" / name, tmp_path / "b/queries" / name)
    data = PlaceOptions(tmp_path / "a/database", tmp_path / "b/queries").load().retrieval_set
    assert data.root == tmp_path and names(data.database) == [f"x/{name}"] and names(data.queries) == [name]
    assert data.image_files().tolist() == [f"b/queries/{name}", f"a/database/x/{name}"]
    assert [row.tolist() for row in data.answers] == [[0]] and data.own is None


def test_odd_files_and_folders(tmp_path):
    near, far = utm_name("0000001.50", "-0000002.00", "", ""), utm_name("1e3", 0, "", "")
    base, elsewhere = tmp_path / "database", tmp_path / "elsewhere"
    touch(base / near, base / "sub" / far.replace(".jpg", ".JPG"), base / "__MACOSX" / f"._{near}", base / f".{near}")
    touch(base / "@eaDir" / near, base / "Thumbs.db", base / "notes.txt", elsewhere / utm_name(5, 5, "", ""))
    (base / "linked").symlink_to(elsewhere)
    (tmp_path / "one.jpg").touch()
    (base / utm_name(7, 7, "", "").replace(".jpg", ".jpeg")).symlink_to(tmp_path / "one.jpg")
    touch(tmp_path / "query" / utm_name(0, 0, "", ""))
    places = PlaceOptions(data=tmp_path).load()
    assert sorted(Path(name).name for name in names(places.retrieval_set.database)) == sorted(
        [near, far.replace(".jpg", ".JPG"), utm_name(5, 5, "", ""), utm_name(7, 7, "", "").replace(".jpg", ".jpeg")]
    )
    check_by_plane(places)


def test_metres_without_a_zone_are_those_of_one_plane(tmp_path):
    """As in Nordland: frames 2.4 m apart, the first at 0, 0."""
    step = 25 / 10.5
    for side in ("database", "queries"):
        touch(*(tmp_path / side / f"@0@{number * step:07.1f}@@@@@{number}@@@@@@@@.jpg" for number in range(40)))
    places = PlaceOptions(data=tmp_path).load()
    expected = check_by_plane(places)
    frames = [int(name.split("@")[7]) for name in names(places.retrieval_set.database)]
    assert [sorted(frames[entry] for entry in row) for row in expected] == [
        [other for other in range(40) if abs(other - frame) <= 10] for frame in frames
    ]


@pytest.mark.parametrize("band", ["H", "S"])
def test_the_southern_hemisphere(tmp_path, band):
    """The letter is a band, or the hemisphere."""
    rng = np.random.default_rng(1)
    spots = [(-33.86 + 1e-4 * north, 151.2 + 1e-4 * east) for north, east in rng.integers(0, 12, (50, 2))]
    for side, part in (("database", spots[:30]), ("queries", spots[30:])):
        for number, spot in enumerate(part):
            east, north, zone = utm_of(*spot)
            touch(tmp_path / side / utm_name(f"{east:.2f}", f"{north:.2f}", f"{zone:02d}", band, note=number))
    places = PlaceOptions(data=tmp_path).load()
    check_by_plane(places)
    assert places.queries.coordinates.systems == ("EPSG:32756",)
    degrees = places.queries.coordinates.all_degrees()
    assert np.allclose(degrees.mean(0), (-33.86, 151.2), atol=2e-3)


@pytest.fixture
def border():
    """Positions on both sides of the border of two zones, none of them 25 m +- 0.3 m apart."""
    rng = np.random.default_rng(2)
    spots = [(48 + 1e-5 * north, 6 + 1e-5 * east) for north, east in rng.integers(-70, 70, (160, 2))]
    kept = []
    for spot in spots:
        apart = by_degrees([spot], kept, 25.3)[0]
        if apart == by_degrees([spot], kept, 24.7)[0]:
            kept.append(spot)
    return kept[: len(kept) // 3], kept[len(kept) // 3 :]


def zone_names(spots):
    """Names with the zone of each position."""
    made = []
    for number, spot in enumerate(spots):
        east, north, zone = utm_of(*spot)
        made.append(utm_name(f"{east:010.2f}", f"{north:010.2f}", f"{zone:02d}", "U", note=number))
    return made


def test_a_zone_border_parts_no_neighbours(tmp_path, border):
    for side, spots in zip(("queries", "database"), border):
        touch(*(tmp_path / side / name for name in zone_names(spots)))
    places = PlaceOptions(data=tmp_path).load()
    data = places.retrieval_set
    numbers = [[int(name.split("@")[-2]) for name in names(side)] for side in (data.queries, data.database)]
    spots = [[side[number] for number in order] for side, order in zip(border, numbers)]
    expected = by_degrees(*spots)
    across = [
        (query, entry) for query, row in enumerate(expected) for entry in row
        if (spots[0][query][1] < 6) != (spots[1][entry][1] < 6)
    ]  # fmt: skip
    assert right(places) == expected and len(across) >= 10
    assert set(places.queries.coordinates.systems) == {"EPSG:32631", "EPSG:32632"} and "across zones" in places.rule
    assert data.positions.shape == (len(spots[1]), 2)
    for query, entry in across:
        assert math.dist(data.positions[entry], data.query_positions[query]) < 25.2


def test_names_on_one_side_and_a_list_on_the_other(tmp_path, border):
    queries, database = border
    touch(*(tmp_path / "queries" / name for name in zone_names(queries)))
    listed = {f"{number}.jpg": spot for number, spot in enumerate(database)}
    touch(*(tmp_path / "photos" / name for name in listed))
    path = write_geojson(tmp_path / "photos" / "all.geojson", listed)
    places = PlaceOptions(path, tmp_path / "queries").load()
    order = [int(name.split("@")[-2]) for name in names(places.retrieval_set.queries)]
    assert places.layout == "list" and places.retrieval_set.unanswered == "left out"
    assert names(places.retrieval_set.database) == list(listed)
    assert right(places) == by_degrees([queries[number] for number in order], database)


def test_zones_beside_metres_without_one(tmp_path, border):
    """Of one zone they are those of the set; of two nobody knows, but for a reference system."""
    name = utm_name("0500000.00", "5316000.00", "", "")
    for number, side in enumerate(("queries", "database")):
        west = [one for one in zone_names(border[number]) if one.split("@")[3] == "31"]
        touch(*(tmp_path / side / one for one in [*west, name]))
    check_by_plane(PlaceOptions(data=tmp_path).load())
    touch(*(tmp_path / "database" / one for one in zone_names(border[1])))
    with pytest.raises(VprError, match="metres without a zone, beside names of several zones.*pass --crs"):
        PlaceOptions(data=tmp_path).load()
    known = PlaceOptions(data=tmp_path, crs="EPSG:32631").load()
    assert known.retrieval_set.counts()["database"] == 1 + len(border[1])


def test_a_csv_with_a_column_side(tmp_path, border):
    sides = [("query", spot) for spot in border[0]] + [("database", spot) for spot in border[1]]
    rows = [(f"{number}.jpg", side, *spot) for number, (side, spot) in enumerate(sides)]
    touch(*(tmp_path / "images" / row[0] for row in rows))
    path = write_csv(tmp_path / "photos.csv", ["file", "side", "latitude", "longitude"], rows)
    for options in (PlaceOptions(data=tmp_path), PlaceOptions(data=tmp_path, truth=path)):
        places = options.load()
        assert places.layout == "list" and right(places) == by_degrees(*border)
    write_csv(path, ["file", "latitude", "longitude"], [(row[0], *row[2:]) for row in rows])
    with pytest.raises(VprError, match="no photo whose column side is query"):
        PlaceOptions(data=tmp_path).load()


def test_a_list_with_positions_of_two_folders(tmp_path, border):
    """Photos that the list does not name are left out, and the note counts them."""
    rows = []
    for side, spots in zip(("queries", "database"), border):
        touch(*(tmp_path / side / f"{number:03d}.jpg" for number in range(len(spots))), tmp_path / side / "x.jpg")
        rows += [(f"{side}/{number:03d}.jpg", *spot) for number, spot in enumerate(spots)]
    path = write_csv(tmp_path / "positions.csv", ["file", "lat", "lon"], rows)
    places = PlaceOptions(tmp_path / "database", tmp_path / "queries", truth=path).load()
    assert right(places) == by_degrees(*border)
    assert [note.split(" has ")[0] for note in places.notes] == [
        f"1 of {len(border[0]) + 1} queries", f"1 of {len(border[1]) + 1} database photos"
    ]  # fmt: skip


def test_a_list_elsewhere_and_names_of_both_sides(tmp_path):
    """The list names photos by the end of their paths; a bare name that both sides have is an error."""
    touch(*(tmp_path / "set" / side / f"{number}.jpg" for side in ("queries", "database") for number in range(3)))
    (tmp_path / "set/queries/q.jpg").touch()
    sides = tmp_path / "set/database", tmp_path / "set/queries"
    path = tmp_path / "lists/positions.csv"
    path.parent.mkdir()
    spots = [(f"{side}/{number}.jpg", 47 + 1e-3 * number, 8) for side in ("queries", "database") for number in range(3)]
    write_csv(path, ["file", "lat", "lon"], [*spots, ("q", 47.002, 8), ("x.jpg", 1, 2)])
    places = PlaceOptions(*sides, truth=path).load()
    assert right(places) == [[0], [1], [2], [2]]
    assert places.notes == ("positions.csv names 1 photo that the set does not have: x.jpg",)
    for rows, words in (
        ([("1.jpg", 47, 8)], "positions.csv, row 2: 1.jpg could be several photos; write its path"),
        ([("q.jpg", 47, 8)], "names no photo of .*database; write paths"),
        ([("y.jpg", 47, 8)], r"names no photo of .*queries \(y.jpg is the first that it has\)"),
    ):
        write_csv(path, ["file", "lat", "lon"], rows)
        with pytest.raises(VprError, match=words):
            PlaceOptions(*sides, truth=path).load()


def test_exif(tmp_path, border):
    from PIL import Image

    for side, spots in zip(("queries", "database"), border):
        (tmp_path / side).mkdir()
        for number, spot in enumerate(spots[:12]):
            Image.new("RGB", (4, 4)).save(tmp_path / side / f"{number:03d}.jpg", exif=gps_exif(*spot))
    places = PlaceOptions(data=tmp_path).load()
    assert places.layout == "EXIF" and right(places) == by_degrees(border[0][:12], border[1][:12])


def test_without_positions_there_is_nothing_to_score(tmp_path):
    for side in ("queries", "database"):
        touch(tmp_path / side / "a.jpg", tmp_path / side / "b.jpg")
    places = PlaceOptions(data=tmp_path).load()
    assert places.layout == "no labels" and places.retrieval_set.positives is None and places.notes == ()
    assert places.retrieval_set.counts() == {"queries": 2, "queries_without_positives": 0, "database": 2}
    touch(tmp_path / "database" / utm_name(1, 2))
    assert "no query has a position, so nothing can be scored" in PlaceOptions(data=tmp_path).load().notes


def test_unlabelled_asked_for(utm_tree):
    places = PlaceOptions(data=utm_tree, unlabelled=True).load()
    assert places.layout == "no labels" and places.retrieval_set.positives is None


def test_the_photo_itself_is_no_answer(utm_tree):
    folder = utm_tree / "images/test/database"
    (utm_tree / "other").symlink_to(folder)
    for queries in (folder, utm_tree / "other"):
        places = PlaceOptions(folder, queries).load()
        data = places.retrieval_set
        expected = by_plane(names(data.queries), names(data.database))
        assert right(places) == [[entry for entry in row if entry != query] for query, row in enumerate(expected)]
        assert data.own.tolist() == list(range(60))
    part = utm_tree / "part"
    touch(part / "sub" / utm_name(500_000, 4_000_000, note="x"), part / utm_name(500_000, 4_000_000, note="y"))
    data = PlaceOptions(part, part / "sub").load().retrieval_set
    own = data.own.tolist()
    assert names(data.database)[own[0]].startswith("sub/") and [row.tolist() for row in data.answers] == [[1 - own[0]]]


def test_queries_that_are_links_to_database_photos(utm_tree):
    """Under the same or another name, also through a link of a link."""
    folder = utm_tree / "images/test/database"
    chosen = sorted(path.name for path in folder.iterdir())[:20]
    links = utm_tree / "links"
    links.mkdir()
    for number, name in enumerate(chosen):
        (links / name).symlink_to(Path("../images/test/database") / name)
        (links / name.replace("@.jpg", "again@.jpg")).symlink_to(links / name if number % 2 else folder / name)
    data = PlaceOptions(folder, links).load().retrieval_set
    own = [names(data.database).index(name.replace("again@", "@")) for name in names(data.queries)]
    assert data.own.tolist() == own and len(own) == 40
    expected = by_plane(names(data.queries), names(data.database))
    answers = [[entry for entry in row if entry != itself] for row, itself in zip(expected, own)]
    assert [row.tolist() for row in data.answers] == answers


def test_a_list_of_paths_beside_the_folder(utm_tree):
    folder = utm_tree / "images/test/database"
    listed = sorted(path.name for path in folder.iterdir())[:20][::-1]
    (folder.parent / "database_images_paths.txt").write_text("\r\n".join([*listed, listed[0], ""]))
    places = PlaceOptions(data=utm_tree).load()
    assert names(places.retrieval_set.database) == listed
    check_by_plane(places)
    (folder.parent / "database_images_paths.txt").write_text("".join(f"database/{name}\n" for name in listed))
    assert names(PlaceOptions(data=utm_tree).load().retrieval_set.database) == listed
    (folder.parent / "database_images_paths.txt").write_text("".join(f"{folder}/{name}\n" for name in listed))
    assert names(PlaceOptions(data=utm_tree).load().retrieval_set.database) == listed
    (folder.parent / "database_images_paths.txt").write_text("\n")
    with pytest.raises(VprError, match="database_images_paths.txt names no photo; fill it"):
        PlaceOptions(data=utm_tree).load()
    for name in ("none.jpg", "/etc/none.jpg", f"../queries/{listed[0]}"):
        (folder.parent / "database_images_paths.txt").write_text(f"{listed[0]}\n{name}\n")
        with pytest.raises(VprError, match=f"names {name}, which is not in"):
            PlaceOptions(data=utm_tree).load()


@pytest.mark.parametrize(
    ("folder", "plain"), [("queries_night", True), ("query", True), ("queries", True), ("QUERIES", True)]
)
def test_names_of_the_sides(tmp_path, folder, plain):
    touch(tmp_path / "gallery" / utm_name(1, 2), tmp_path / folder / utm_name(1, 2))
    assert find_places(tmp_path).queries == tmp_path / folder and plain


def test_several_sets_of_queries_are_named(tmp_path):
    touch(tmp_path / "database/a.jpg", tmp_path / "queries_v1/a.jpg", tmp_path / "queries_v2/a.jpg")
    with pytest.raises(VprError, match="several sets of queries: queries_v1, queries_v2; pass --database .*database"):
        find_places(tmp_path)


def test_headings_are_read(tmp_path):
    touch(tmp_path / "database" / utm_name(1, 2, heading="090"), tmp_path / "queries" / utm_name(1, 2))
    places = PlaceOptions(data=tmp_path).load()
    assert places.database.headings.tolist() == [90.0] and np.isnan(places.queries.headings).all()


def test_short_names_with_degrees(tmp_path, border):
    for side, spots in zip(("queries", "database"), border):
        for number, (latitude, longitude) in enumerate(spots):
            touch(tmp_path / side / f"@{latitude:.5f}@{longitude:.5f}@{number:03d}@.jpg")
    places = PlaceOptions(data=tmp_path).load()
    data = places.retrieval_set
    order = [[int(name.split("@")[3]) for name in names(side)] for side in (data.queries, data.database)]
    assert right(places) == by_degrees(*([side[number] for number in one] for side, one in zip(border, order)))


def test_names_with_degrees_alone(tmp_path, border):
    for side, spots in zip(("queries", "database"), border):
        for number, (latitude, longitude) in enumerate(spots):
            touch(
                tmp_path / side / utm_name("", "", "", "", f"{latitude:.5f}", f"{longitude:.5f}", note=f"{number:03d}")
            )
    data = PlaceOptions(data=tmp_path).load().retrieval_set
    order = [[int(name.split("@")[-2]) for name in names(side)] for side in (data.queries, data.database)]
    expected = by_degrees(*([side[number] for number in one] for side, one in zip(border, order)))
    assert [row.tolist() for row in data.answers] == expected


def test_known_sets_with_other_counts_are_remarked(tmp_path):
    for side in ("database", "queries"):
        touch(tmp_path / "Pitts30k/images/test" / side / utm_name(1, 2), tmp_path / "own" / side / utm_name(1, 2))
    (note,) = PlaceOptions(data=tmp_path / "Pitts30k").load().notes
    assert note.startswith("1 database photo and 1 query, but pitts30k has 10,000 and 6,816: files are missing")
    assert PlaceOptions(data=tmp_path / "own").load().notes == ()
    for side in ("database", "queries"):
        touch(tmp_path / "Pitts30k/images/val" / side / utm_name(1, 2))
    assert PlaceOptions(data=tmp_path / "Pitts30k", split="val").load().notes == (), "only test sets are known"


def test_counts_of_known_sets():
    for place, counts, is_known in [
        ("Pitts30k/images/test", (10_000, 6_816), True),
        ("pitts30k_test_dbImages.npy", (10_000, 6_815), False),
        ("pitts30k_val_", (10_000, 7_608), True),
        ("msls_val/arrays", (18_871, 740), True),
        ("msls_val/arrays", (18_871, 739), False),
        ("sf_xl/processed/test", (2_805_840, 1_000), True),
        ("sf_xl/small/test", (27_191, 1_000), True),
        ("sf_xl/processed/test", (2_605_840, 1_000), False),
        ("svox/images/test", (17_166, 854), True),
    ]:
        assert (count_remark((Path("/data") / place,), *counts) is None) == is_known, place
    assert "about 2,800,000 and 1,000 or" in count_remark((Path("sf_xl"),), 1, 1)


def test_ten_thousand_files(tmp_path):
    """Positives by a tree, against blocks of all pairs; no file is opened."""
    rng = np.random.default_rng(3)
    for side, count in (("database", 9_000), ("queries", 1_000)):
        folder = tmp_path / side
        folder.mkdir()
        for number, (east, north) in enumerate(rng.uniform(0, 2000, (count, 2))):
            (folder / utm_name(f"{east:010.2f}", f"{north:010.2f}", note=f"{number:05d}")).touch()
    places = PlaceOptions(data=tmp_path).load()
    data = places.retrieval_set
    found = [
        np.array([tuple(map(float, name.split("@")[1:3])) for name in names(side)])
        for side in (data.queries, data.database)
    ]
    apart = ((found[0][:, None] - found[1][None]) ** 2).sum(2)
    assert right(places) == [np.flatnonzero(row <= 625).tolist() for row in apart]
    assert data.counts()["queries"] == 1_000 and len(data.database) == 9_000


def test_the_set_one_level_up_or_down_is_named(utm_tree):
    top = utm_tree / "more"
    top.mkdir()
    (utm_tree / "images").rename(top / "images")
    for root, near in ((utm_tree, top), (top / "images/test/database", top / "images/test")):
        with pytest.raises(VprError, match=f"is no set, but {near} is; pass --data {near}$"):
            find_places(root)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "no set is given; pass --database DIR and --queries DIR, or --data ROOT"),
        ({"database": "database"}, "no set is given"),
        ({"data": "database", "queries": "queries"}, "name two sets; give one"),
        ({"data": "nowhere"}, "there is no folder nowhere"),
        ({"database": "nowhere", "queries": "queries"}, "there is no folder or list nowhere"),
        ({"data": "empty"}, "has no layout that is known"),
        ({"data": "msls"}, "is an MSLS tree; use python -m eval.msls"),
        ({"data": "gsv"}, "is GSV-Cities, which has no queries and database"),
        ({"data": ".", "truth": "nowhere"}, "--truth nowhere: no such file"),
        ({"database": "empty", "queries": "queries"}, "empty has no photos"),
        ({"database": "database", "queries": "queries", "truth": "a.bin"}, "is no truth that is known"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    touch(*(Path(name) for name in ("database/a.jpg", "queries/a.jpg", "a.bin", "msls/train_val/x/a.jpg")))
    touch(Path("gsv/Dataframes/a.csv"), Path("gsv/Images/a.jpg"))
    Path("empty").mkdir()
    with pytest.raises(VprError, match=words) as error:
        PlaceOptions(**{name: Path(value) for name, value in options.items()}).load()
    assert "\n" not in str(error.value)


def test_the_fingerprint_changes_with_files_and_with_what_is_right(utm_tree):
    first = PlaceOptions(data=utm_tree).load().fingerprint
    assert PlaceOptions(data=utm_tree).load().fingerprint == first
    assert PlaceOptions(data=utm_tree, radius=10.0).load().fingerprint != first
    next((utm_tree / "images/test/queries").iterdir()).unlink()
    assert load(find_places(utm_tree)).fingerprint != first
