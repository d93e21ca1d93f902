"""Sets of places in each layout, with odd cases, against plain loops."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from place_trees import by_degrees, by_plane, objects, touch, utm_name, utm_of, write_csv, write_geojson

from tools.photo_folder import gps_exif
from vpr.base.errors import VprError
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
    assert [note.split(" have ")[0] for note in places.notes] == [
        f"1 of {len(border[0]) + 1} queries", f"1 of {len(border[1]) + 1} database photos"
    ]  # fmt: skip


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


def test_no_labels_asked_for(utm_tree):
    places = PlaceOptions(data=utm_tree, no_labels=True).load()
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


def test_a_list_of_paths_beside_the_folder(utm_tree):
    folder = utm_tree / "images/test/database"
    listed = sorted(path.name for path in folder.iterdir())[:20][::-1]
    (folder.parent / "database_images_paths.txt").write_text("\r\n".join([*listed, listed[0], ""]))
    places = PlaceOptions(data=utm_tree).load()
    assert names(places.retrieval_set.database) == listed
    check_by_plane(places)
    (folder.parent / "database_images_paths.txt").write_text("none.jpg\n")
    with pytest.raises(VprError, match="names none.jpg, which is not in"):
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


ROWS = [[0, 3], [1], [], [2, 4], [5], [0]]


@pytest.fixture
def array_tree(tmp_path):
    """Images below cph/, and a function that writes the arrays of gsv-cities."""
    database = [f"cph/database/{number:03d}.jpg" for number in range(6)]
    queries = [f"cph/query/{number:03d}.jpg" for number in range(6)]
    touch(*(tmp_path / name for name in database + queries))

    def write(truth, name="gt", prefix="x_val_", chosen=None, folder=tmp_path):
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{prefix}dbImages.npy", np.array(database))
        np.save(folder / f"{prefix}qImages.npy", np.array(queries))
        np.save(folder / f"{prefix}{name}.npy", truth)
        if chosen is not None:
            np.save(folder / f"{prefix}qIdx.npy", np.array(chosen))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "truth",
    [
        objects([list(row) for row in ROWS]),
        objects([np.array(row, np.int64) for row in ROWS]),
        objects([tuple(row) for row in ROWS]),
        np.array([[*row, -1, -1][:2] for row in ROWS]),
    ],
    ids=["lists", "arrays", "tuples", "filled up"],
)
def test_arrays(array_tree, truth):
    places = PlaceOptions(data=array_tree(truth)).load()
    assert places.layout == "arrays" and right(places) == ROWS and places.radius_m is None
    assert places.retrieval_set.counts() == {"queries": 5, "queries_without_positives": 1, "database": 6}
    assert names(places.retrieval_set.database)[0] == "cph/database/000.jpg"


def test_arrays_of_single_numbers(array_tree):
    for truth in (np.arange(6)[:, None], np.arange(6)):
        assert right(PlaceOptions(data=array_tree(truth)).load()) == [[number] for number in range(6)]


@pytest.mark.parametrize("aligned", [True, False])
def test_arrays_with_the_queries_that_count(array_tree, aligned):
    """The truth is in the order of the chosen queries, or of all."""
    chosen = [4, 0, 3]
    truth = objects([ROWS[query] for query in chosen] if aligned else [list(row) for row in ROWS])
    root = array_tree(truth, "pIdx", chosen=chosen)
    places = PlaceOptions(data=root).load()
    assert names(places.retrieval_set.queries) == [f"cph/query/{query:03d}.jpg" for query in chosen]
    assert right(places) == [ROWS[query] for query in chosen]
    assert places.notes == ("3 queries are not in qIdx and are left out",)


def test_arrays_in_another_folder_are_named_by_the_truth(array_tree, tmp_path):
    truth = objects([list(row) for row in ROWS])
    for prefix in ("one_", "two_"):
        array_tree(truth, prefix=prefix, folder=tmp_path / "arrays")
    with pytest.raises(VprError, match="has several sets of arrays: one_, two_; pass --truth"):
        PlaceOptions(data=tmp_path).load()
    places = PlaceOptions(data=tmp_path, truth=tmp_path / "arrays/two_gt.npy").load()
    assert right(places) == ROWS and places.root == tmp_path / "cph"


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (objects([[0], [1]]), "2 rows for 6 queries"),
        (objects([[9], [], [], [], [], []]), "row 0: there is no database photo 9, only 6"),
        (objects([[0.5], [], [], [], [], []]), "row 0 is not a list of whole numbers"),
        (objects([["a"], [], [], [], [], []]), "row 0 is not a list of whole numbers"),
    ],
)
def test_arrays_that_do_not_fit(array_tree, truth, words):
    with pytest.raises(VprError, match=words):
        PlaceOptions(data=array_tree(truth)).load()


def test_arrays_without_a_truth(array_tree, tmp_path):
    array_tree(objects(ROWS))
    (tmp_path / "x_val_gt.npy").unlink()
    places = PlaceOptions(data=tmp_path).load()
    assert places.layout == "no labels" and "there is neither pIdx nor gt beside the arrays" in places.notes
    shutil.rmtree(tmp_path / "cph/query")
    with pytest.raises(VprError, match=r"names cph/query/000.jpg, which is not below .*; pass --data of the folder"):
        PlaceOptions(data=tmp_path).load()


BENCH = [[2, [0]], [0, [1, 2]], [1, []]]


@pytest.mark.parametrize("form", ["0000000", "0", "image"])
@pytest.mark.parametrize("shape", ["pairs", "rows"])
def test_the_truth_of_vpr_bench(tmp_path, form, shape):
    """Query 3 is not in the file. Numbers are those in names, with or without zeros, or the order of names."""
    stems = {"0000000": "{:07d}", "0": "{}", "image": "image{}"}[form]
    for side, count in (("ref", 12), ("query", 4)):
        touch(*(tmp_path / side / f"{stems.format(number)}.jpg" for number in range(count)))
    truth = objects(BENCH)
    if shape == "pairs":
        truth = np.empty((3, 2), object)
        for row, (query, refs) in enumerate(BENCH):
            truth[row, 0], truth[row, 1] = query, np.array(refs, np.int64) if row else refs
    np.save(tmp_path / "ground_truth_new.npy", truth)
    places = PlaceOptions(data=tmp_path).load()
    data = places.retrieval_set
    assert places.layout == "VPR-Bench" and [Path(name).stem for name in names(data.queries)] == [
        stems.format(number) for number in range(3)
    ]
    found = [[names(data.database)[entry] for entry in row] for row in right(places)]
    expected = [sorted(f"{stems.format(number)}.jpg" for number in refs) for _, refs in sorted(BENCH)]
    assert [sorted(row) for row in found] == expected
    assert places.notes == ("1 queries are not in ground_truth_new.npy and are left out",)
    assert data.counts() == {"queries": 2, "queries_without_positives": 1, "database": 12}


def test_a_number_without_a_photo_is_named(tmp_path):
    touch(tmp_path / "ref/0.jpg", tmp_path / "query/0.jpg")
    np.save(tmp_path / "ground_truth_new.npy", objects([[0, [7]]]))
    with pytest.raises(VprError, match="row 0: reference 7 has no photo"):
        PlaceOptions(data=tmp_path).load()


PAIRS = [("0.jpg", "5.jpg"), ("0.jpg", "1.jpg"), ("2.jpg", "0.jpg")]


@pytest.mark.parametrize(
    "text",
    [
        "query,database\n" + "".join(f"{query},{entry}\n" for query, entry in PAIRS),
        "reference;score;query\n" + "".join(f"{entry};1;{query}\n" for query, entry in PAIRS),
        "".join(f"{query},{entry}\n" for query, entry in PAIRS),
        "".join(f"queries/{query} set/database/{entry}\n" for query, entry in PAIRS),
        "".join(f"C:\\set\\queries\\{query}\tdatabase\\{Path(entry).stem}\r\n" for query, entry in PAIRS),
    ],
    ids=["header", "other columns", "no header", "hloc", "windows"],
)
def test_pairs_of_names(tmp_path, text):
    for side in ("database", "queries"):
        touch(*(tmp_path / side / f"{number}.jpg" for number in range(6)))
    (tmp_path / "truth.csv").write_text(text + ("nowhere.jpg,1.jpg\n" if "," in text else ""))
    places = PlaceOptions(tmp_path / "database", tmp_path / "queries", truth=tmp_path / "truth.csv").load()
    assert places.layout == "pairs" and right(places) == [[1, 5], [], [0], [], [], []]
    assert places.retrieval_set.counts()["queries"] == 2
    assert bool(places.notes) == ("," in text)


def test_pairs_of_other_sets_and_ambiguous_names(tmp_path):
    touch(tmp_path / "queries/a/1.jpg", tmp_path / "queries/b/1.jpg", tmp_path / "database/1.jpg")
    path = tmp_path / "truth.csv"
    options = PlaceOptions(tmp_path / "database", tmp_path / "queries", truth=path)
    for text, words in (("x.jpg,1.jpg\n", "names no query of the set"), ("1.jpg,1.jpg\n", "1.jpg could be several")):
        path.write_text(text)
        with pytest.raises(VprError, match=words):
            options.load()
    path.write_text("a/1.jpg,1.jpg\n")
    assert right(options.load()) == [[0], []]


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


def test_known_sets_with_other_counts_are_remarked(tmp_path):
    for side in ("database", "queries"):
        touch(tmp_path / "Pitts30k/images/test" / side / utm_name(1, 2), tmp_path / "own" / side / utm_name(1, 2))
    (note,) = PlaceOptions(data=tmp_path / "Pitts30k").load().notes
    assert note.startswith("1 database photos and 1 queries, but pitts30k has 10,000 and 6,816 or ")
    assert PlaceOptions(data=tmp_path / "own").load().notes == ()


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
