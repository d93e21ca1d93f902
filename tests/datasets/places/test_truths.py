"""What is right by arrays of numbers and by pairs of names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from place_trees import objects, touch

from vpr.base.errors import VprError
from vpr.datasets.places import truth as truths
from vpr.datasets.places.options import PlaceOptions


def right(places):
    """For each query the numbers of right database photos."""
    return [row.tolist() for row in places.retrieval_set.answers]


def names(side):
    return side.names.tolist()


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
        objects([np.array(row, np.int64) for row in ROWS])[:, None],
        objects([np.array(row, float) for row in ROWS]),
    ],
    ids=["lists", "arrays", "tuples", "filled up", "a column", "whole floats"],
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
    assert places.notes == ("3 queries are not in qIdx and left out",)


def test_arrays_in_another_folder_are_named_by_the_truth(array_tree, tmp_path):
    truth = objects([list(row) for row in ROWS])
    for prefix in ("one_", "two_"):
        array_tree(truth, prefix=prefix, folder=tmp_path / "arrays")
    with pytest.raises(VprError, match="has several sets of arrays: one_, two_; pass --truth"):
        PlaceOptions(data=tmp_path).load()
    places = PlaceOptions(data=tmp_path, truth=tmp_path / "arrays/two_gt.npy").load()
    assert right(places) == ROWS and places.root == tmp_path / "cph"


def test_folders_with_a_truth_beside_its_arrays(array_tree, tmp_path):
    """The numbers are those of the arrays, which are not in the order of names; queries that do not count stay out."""
    folders = tmp_path / "cph/database", tmp_path / "cph/query"
    array_tree(objects([list(row) for row in ROWS]), chosen=[4, 0, 3])
    for side, name in (("dbImages", "database"), ("qImages", "query")):
        np.save(tmp_path / f"x_val_{side}.npy", np.array([f"old/{name}/{5 - number:03d}.jpg" for number in range(6)]))
    touch(folders[0] / "more.jpg")
    options = PlaceOptions(*folders, truth=tmp_path / "x_val_gt.npy")
    places = options.load()
    assert names(places.retrieval_set.queries) == ["001.jpg", "005.jpg", "002.jpg"]
    assert [[names(places.retrieval_set.database)[entry] for entry in row] for row in right(places)] == [
        [f"{5 - entry:03d}.jpg" for entry in ROWS[query]] for query in (4, 0, 3)
    ]
    assert [note.partition(" not in ")[0] for note in places.notes] == [
        f"1 photo of {folders[0]} is", "3 queries are"
    ]  # fmt: skip
    assert tmp_path / "x_val_qImages.npy" in places.places.files()
    (folders[0] / "005.jpg").unlink()
    with pytest.raises(VprError, match=r"x_val_dbImages.npy names old/database/005.jpg, which is no photo of .*; pass"):
        options.load()
    (tmp_path / "x_val_dbImages.npy").unlink()
    touch(folders[0] / "005.jpg")
    places = options.load()
    assert right(places) == ROWS and "sorted by name" in places.notes[0]


def test_the_given_truth_is_read(array_tree, tmp_path):
    """Beside another array that would be read without it."""
    array_tree(objects([[5]] * 6), "pIdx")
    array_tree(objects([list(row) for row in ROWS]))
    assert right(PlaceOptions(data=tmp_path, truth=tmp_path / "x_val_gt.npy").load()) == ROWS
    assert right(PlaceOptions(data=tmp_path).load()) == [[5]] * 6


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


@pytest.mark.parametrize("kind", [np.int64, np.uint8, float, bool])
def test_a_matrix_of_zeros_and_ones_is_refused(array_tree, kind):
    matrix = np.zeros((6, 6), kind)
    matrix[[0, 0, 1], [0, 3, 1]] = 1
    with pytest.raises(
        VprError, match=r"has 0 or 1 for each of the 6 database photos.*; write the numbers: \[np.flatn"
    ):
        PlaceOptions(data=array_tree(matrix)).load()


def test_long_lists_of_numbers_are_read_in_bulk(array_tree, monkeypatch):
    """NumPy is called for rows, not for each number."""
    calls, asarray = [], np.asarray
    monkeypatch.setattr(truths.np, "asarray", lambda *arguments, **rest: calls.append(1) or asarray(*arguments, **rest))
    numbers = [number % 6 for number in range(1000)]
    for row in (numbers, [np.int64(number) for number in numbers], [numbers[:500], numbers[500:]]):
        assert right(PlaceOptions(data=array_tree(objects([row] * 6))).load()) == [list(range(6))] * 6
    assert right(PlaceOptions(data=array_tree(np.array([numbers] * 6))).load()) == [list(range(6))] * 6
    assert len(calls) < 1000


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
    assert places.notes == ("1 query is not in ground_truth_new.npy and left out",)
    assert data.counts() == {"queries": 2, "queries_without_positives": 1, "database": 12}


def test_a_truth_of_one_reference_each(tmp_path):
    for side in ("ref", "query"):
        touch(*(tmp_path / side / f"{number}.jpg" for number in range(3)))
    np.save(tmp_path / "ground_truth_new.npy", np.array([[1, 2], [0, 0], [2, 1]]))
    assert right(PlaceOptions(data=tmp_path).load()) == [[0], [2], [1]]


def test_arrays_name_no_image_outside_of_their_folder(array_tree, tmp_path):
    array_tree(objects([list(row) for row in ROWS]))
    for name in ("../a.jpg", "cph/../../a.jpg"):
        np.save(tmp_path / "x_val_qImages.npy", np.array([name] * 6))
        with pytest.raises(VprError, match="which leaves the folder of the images"):
            PlaceOptions(data=tmp_path).load()


def test_arrays_with_absolute_paths(array_tree, tmp_path):
    """Below the root they are taken; others are named as they are written. A later photo that is missing is found."""
    array_tree(objects([list(row) for row in ROWS]))
    path = tmp_path / "x_val_qImages.npy"
    np.save(path, np.array([f"{tmp_path}/cph/query/{number:03d}.jpg" for number in range(6)]))
    places = PlaceOptions(data=tmp_path).load()
    assert right(places) == ROWS and names(places.retrieval_set.queries)[0] == "cph/query/000.jpg"
    np.save(path, np.array([f"/elsewhere/{number:03d}.jpg" for number in range(6)]))
    with pytest.raises(VprError, match="names /elsewhere/000.jpg, which is not below"):
        PlaceOptions(data=tmp_path).load()
    np.save(path, np.array([f"cph/query/{number:03d}.jpg" for number in (0, 1, 2, 3, 4, 77)]))
    with pytest.raises(VprError, match="names cph/query/077.jpg, which is not below"):
        PlaceOptions(data=tmp_path).load()


def test_arrays_whose_images_lie_beside_them(array_tree, tmp_path):
    root = array_tree(objects([list(row) for row in ROWS]))
    assert right(PlaceOptions(data=root.parent, truth=root / "x_val_gt.npy").load()) == ROWS


def test_plain_rows_are_no_truth_of_vpr_bench(tmp_path):
    touch(tmp_path / "ref/0.jpg", tmp_path / "query/0.jpg")
    np.save(tmp_path / "ground_truth_new.npy", objects([[0]]))
    with pytest.raises(VprError, match="row 0 is not a query number and a list.*; write .* or name a file .* X_gt.npy"):
        PlaceOptions(data=tmp_path).load()


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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("truth.txt", "q,1.jpg d,1.jpg\n"),
        ("truth.txt", "q,1.jpg\td,1.jpg\n"),
        ("truth.txt", '"q,1.jpg","d,1.jpg"\n'),
        ("truth.csv", 'query,positive\n"q,1.jpg","d,1.jpg"\n'),
    ],
    ids=["blank", "tab", "comma", "positive"],
)
def test_pairs_of_names_with_commas(tmp_path, name, text):
    touch(tmp_path / "queries/q,1.jpg", tmp_path / "database/a.jpg", tmp_path / "database/d,1.jpg")
    (tmp_path / name).write_text(text)
    places = PlaceOptions(tmp_path / "database", tmp_path / "queries", truth=tmp_path / name).load()
    assert places.layout == "pairs" and right(places) == [[1]]


def test_a_geojson_is_no_list_of_pairs(tmp_path):
    for side in ("database", "queries"):
        touch(tmp_path / side / f"{side}.jpg")
    points = [
        f'{{"type": "Feature", "properties": {{"file": "{side}/{side}.jpg"}}, "geometry": '
        '{"type": "Point", "coordinates": [8, 47]}}' for side in ("database", "queries")
    ]  # fmt: skip
    path = tmp_path / "all.geojson"
    path.write_text('{"type": "FeatureCollection", "features": [\n' + ",\n".join(points) + "]}\n")
    places = PlaceOptions(tmp_path / "database", tmp_path / "queries", truth=path).load()
    assert places.layout == "list" and right(places) == [[0]]


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


@pytest.mark.parametrize("line", ["a.jpg b.jpg c.jpg", "image,match,other", "0.jpg", ""])
def test_a_truth_of_neither_pairs_nor_positions_is_named_as_that(tmp_path, line):
    touch(tmp_path / "database/0.jpg", tmp_path / "queries/1.jpg")
    for name in ("truth.txt", "truth.csv"):
        (tmp_path / name).write_text(f"{line}\n")
        with pytest.raises(VprError, match="has neither pairs nor positions .* write the columns query and database"):
            PlaceOptions(data=tmp_path, truth=tmp_path / name).load()


def test_a_long_array_has_its_rows_and_names_the_first_at_fault(tmp_path):
    """A flat one, of whole numbers in any type."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(-1, 1000, 200_000)
    np.save(tmp_path / "gt.npy", numbers)
    rows = truths.read_number_rows(tmp_path / "gt.npy", 1000)
    assert all(row == ([number] if number >= 0 else []) for row, number in zip(rows[:5000], numbers.tolist()))
    assert len(rows) == len(numbers)
    for value, words in ((1000, "row 123456: there is no database photo 1000, only 1000"), (0.5, "row 123456 is not")):
        odd = numbers.astype(np.float64)
        odd[123_456] = value
        np.save(tmp_path / "odd.npy", odd)
        with pytest.raises(VprError, match=words):
            truths.read_number_rows(tmp_path / "odd.npy", 1000)
    np.save(tmp_path / "float.npy", np.array([[2.0, 1.0, -1.0, 2.0], [0.0, -1.0, -1.0, -1.0]]))
    assert truths.read_number_rows(tmp_path / "float.npy", 5) == [[1, 2], [0]]
