"""Prediction files: the format, the look-up in a dataset, and what is named and counted."""

import zipfile

import numpy as np
import pytest
from msls_tree import make_rows, random_rows, write_city

from vpr.datasets.msls import Protocol, load
from vpr.eval.files.foreign import read_rankings, read_shortlist
from vpr.eval.files.prediction_file import PredictionError, read_predictions, write_predictions
from vpr.eval.files.resolve import resolve
from vpr.eval.files.submission import name_rankings
from vpr.eval.metrics import evaluate


@pytest.fixture
def file(tmp_path):
    """Writes lines to a prediction file and reads it."""

    def write(*lines):
        path = tmp_path / "predictions.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_predictions(path)

    return write


@pytest.fixture
def root(tmp_path):
    """cph: 3 queries on 4 database images, the last a panorama. sf: 2 on 2. goa (not chosen): 1 on 1."""
    root = tmp_path / "msls"
    write_city(root, "cph", make_rows(3, "q"), make_rows(4, "d", pano=[False] * 3 + [True]))
    write_city(root, "sf", make_rows(2, "r"), make_rows(2, "e"))
    write_city(root, "goa", make_rows(1, "g"), make_rows(1, "h"))
    return root


@pytest.fixture
def dataset(root):
    return load(root, Protocol(), cache=False)


CPH = ("q0000 d0000 d0001", "q0001 d0001 d0002", "q0002 d0001 d0002")
SF = ("r0000 e0001 e0000", "r0001 e0001 e0000")


def kinds(resolved):
    return {problem.kind: problem.count for problem in resolved.problems}


def test_rows_in_any_order_with_headers(file, dataset):
    plain = resolve(file(*CPH, *SF), dataset)
    assert plain.ranked.tolist() == [[0, 1], [1, 2], [1, 2], [4, 3], [4, 3]]
    assert plain.problems == () and plain.covered.all()
    shuffled = resolve(file("# made by hand", "#", SF[1], *CPH[::-1], "", SF[0]), dataset)
    assert np.array_equal(plain.ranked, shuffled.ranked)
    figures = evaluate(plain.ranked, dataset.positives)
    assert figures["recall@1"] == 3 / 5 and figures["recall@5"] == 1.0
    assert figures["map@5"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1) / 5)


def test_in_the_merged_scope_another_citys_image_is_nothing_odd(file, root):
    merged = load(root, Protocol(scope="merged"), cache=False)
    resolved = resolve(file(*CPH, "r0000 d0002 e0000", SF[1]), merged)
    assert resolved.ranked[3].tolist() == [2, 3] and resolved.problems == ()


def test_a_prediction_from_another_city_is_wrong_and_holds_its_rank(file, dataset):
    resolved = resolve(file(*CPH, "r0000 d0002 e0000", SF[1]), dataset)
    assert kinds(resolved) == {"prediction from another city": 1}
    assert resolved.ranked[3].tolist() == [2, 3]
    with pytest.raises(PredictionError, match="line 4"):
        resolve(file(*CPH, "r0000 d0002 e0000", SF[1]), dataset, filtered="error")


def test_a_panorama_moves_to_the_end_of_its_row(file, dataset):
    """Also in a row that holds valid predictions, where the official tool leaves it."""
    lines = ("q0000 d0003 d0001 d0000", "q0001 d0001 d0003 d0002", "q0002 d0002 d0001 d0000")
    resolved = resolve(file(*lines, "r0000 e0000 e0001", *SF[1:]), dataset)
    assert resolved.ranked[:3].tolist() == [[1, 0, -1], [1, 2, -1], [2, 1, 0]]
    assert kinds(resolved) == {
        "prediction moved to the end of its row, panorama": 2,
        "row shorter than the longest": 2,
    }
    panorama, short = resolved.problems
    assert panorama.examples == ("d0003",) and panorama.line == 1
    assert "first on line 4: r0000, r0001" in str(short)


def test_unknown_keys(file, dataset):
    lines = ("q0000 nobody d0000", *CPH[1:], *SF, "stranger d0000 d0001")
    with pytest.raises(PredictionError) as error:
        resolve(file(*lines), dataset)
    assert "\n" not in str(error.value) and "unknown prediction, first on line 1: nobody" in str(error.value)
    resolved = resolve(file(*lines), dataset, unknown="count")
    assert kinds(resolved) == {"unknown prediction": 1, "unknown query": 1}
    assert resolved.ranked[0].tolist() == [0, -1]
    with pytest.raises(PredictionError, match="remove the file extension from the keys"):
        resolve(file("q0000.jpg d0000", *CPH[1:], *SF), dataset)


def test_keys_of_the_tree_that_the_protocol_leaves_out(file, root):
    rows = make_rows(3, "q", s2w=[True, False, True])
    write_city(root, "cph", rows, make_rows(4, "d", s2w=[True, True, False, True]))
    dataset = load(root, Protocol(cities=("cph",), subtask="s2w"), cache=False)
    lines = ("q0000 d0002 q0001 h0000 d0000", "q0001 d0001", "r0000 e0000", "d0001 d0000", "q0002 d0000")
    resolved = resolve(file(*lines), dataset)
    assert kinds(resolved) == {
        "prediction moved to the end of its row, outside subtask s2w": 1,
        "prediction moved to the end of its row, query image": 1,
        "prediction moved to the end of its row, of goa, a city that is not chosen": 1,
        "query ignored, outside subtask s2w": 1,
        "query ignored, of sf, a city that is not chosen": 1,
        "query ignored, database image": 1,
        "row shorter than the longest": 4,
    }
    assert resolved.ranked[:, 0].tolist() == [0, 0]


def test_repeats_are_named(file, dataset):
    resolved = resolve(file("q0000 d0001 d0001 d0000", *CPH[1:], *SF), dataset)
    assert kinds(resolved)["prediction repeated in its row"] == 1
    assert resolved.ranked[0].tolist() == [1, 1, 0]


def test_repeats_are_left_out_of_a_shortlist(tmp_path, dataset, caplog):
    """The first of each stays, and the next prediction moves up. A file that is scored keeps its repeats."""
    rows = ("q0000 d0001 d0001 d0003 d0000 d0001", "q0001 d0001 d0002", CPH[2], *SF)
    (tmp_path / "p.csv").write_text("\n".join(rows))
    assert read_shortlist(tmp_path / "p.csv", dataset, 2).tolist() == [[1, 0], [1, 2], [1, 2], [4, 3], [4, 3]]
    assert "2 repeated predictions are left out of the shortlist, the first of each stays" in caplog.text
    assert read_rankings(tmp_path / "p.csv", dataset, strict=False)[0].tolist() == [1, 1, 0, 1, -1]
    caplog.clear()
    (tmp_path / "p.csv").write_text("\n".join((*CPH, *SF)))
    assert read_shortlist(tmp_path / "p.csv", dataset, 2).tolist() == [[0, 1], [1, 2], [1, 2], [4, 3], [4, 3]]
    assert caplog.text == ""


def test_a_doubled_query_is_an_error(file, dataset):
    with pytest.raises(PredictionError, match="line 6: query q0001 is already on line 2"):
        resolve(file(*CPH, *SF, "q0001 d0000 d0001"), dataset)


def test_a_scored_query_without_a_row_is_an_error(file, dataset):
    with pytest.raises(PredictionError, match=r"1 of 5 scored queries have no row, such as q0001"):
        resolve(file(CPH[0], CPH[2], *SF), dataset)


def test_a_query_without_positives_may_be_left_out(file, root):
    write_city(root, "cph", make_rows(3, "q", northing=[6e6, 0, 6e6]), make_rows(4, "d"))
    dataset = load(root, Protocol(), cache=False)
    resolved = resolve(file(CPH[0], CPH[2], *SF), dataset)
    assert resolved.covered.tolist() == [True, False, True, True, True]
    assert resolved.ranked[1].tolist() == [-1, -1] and resolved.problems == ()
    assert evaluate(resolved.ranked, dataset.positives)["recall@1"] == 2 / 4


def test_the_same_names_in_two_cities(file, root):
    """Predictions are looked up in the query's own city; a query name in both cannot be told apart."""
    write_city(root, "sf", make_rows(2, "r"), make_rows(2, "d"))
    dataset = load(root, Protocol(), cache=False)
    resolved = resolve(file(*CPH, "r0000 d0001", "r0001 d0000"), dataset)
    assert resolved.ranked[:, 0].tolist() == [0, 1, 1, 4, 3] and "prediction from another city" not in kinds(resolved)
    write_city(root, "sf", make_rows(2, "q"), make_rows(2, "e"))
    with pytest.raises(PredictionError, match=r"q0000 is in several cities \(cph, sf\)"):
        resolve(file(*CPH), load(root, Protocol(), cache=False))


def test_sequences_are_named_by_their_keys(file, root):
    dataset = load(root, Protocol(cities=("cph",), task="seq2seq", seq_length=3), cache=False)
    query, entry = "q0000,q0001,q0002", "d0000,d0001,d0002"
    # d0001,d0002,d0003 has a panorama off its centre and stays; the others are none of the protocol.
    assert dataset.retrieval_set.database.names.tolist() == [entry, "d0001,d0002,d0003"]
    lines = f"{query} d0000,d0001 d0000,d0002,d0001 d0001,d0002,d0003 {entry}"
    resolved = resolve(file(lines), dataset)
    assert resolved.ranked.tolist() == [[1, 0, -1, -1]]
    assert kinds(resolved) == {
        "prediction moved to the end of its row, not of 3 frame(s)": 1,
        "prediction moved to the end of its row, no sequence of 3 frames in subtask all": 1,
    }


@pytest.mark.parametrize("task", ["im2im", "im2seq", "seq2seq"])
def test_written_rankings_come_back(tmp_path, task):
    rng = np.random.default_rng(1)
    for city in ("cph", "sf"):
        write_city(tmp_path, city, random_rows(rng, 60, city), random_rows(rng, 60, f"{city}d"))
    dataset = load(tmp_path, Protocol(task=task, seq_length=1 if task == "im2im" else 3), cache=False)
    data, path = dataset.retrieval_set, tmp_path / "new" / "out.csv"
    groups = [(queries.stop - queries.start, entries) for queries, entries in data.spans()]
    pooled = np.concatenate(
        [[entries.start + rng.permutation(entries.stop - entries.start)[:4] for _ in range(n)] for n, entries in groups]
    )
    write_predictions(path, *name_rankings(data, pooled), header=["two", "lines"])
    assert path.read_text().splitlines()[:2] == ["# two", "# lines"]
    resolved = resolve(read_predictions(path), dataset)
    assert np.array_equal(resolved.ranked, pooled) and resolved.problems == ()
    assert [path.name] == [child.name for child in path.parent.iterdir()]


def test_names_leave_gaps_out(dataset):
    assert name_rankings(dataset.retrieval_set, np.array([[0, 2], [-1, 1]]))[1] == [["d0000", "d0002"], ["d0001"]]


def test_bad_files_are_told_in_one_line(tmp_path):
    path = tmp_path / "p.csv"
    with pytest.raises(PredictionError, match="no such prediction file"):
        read_predictions(path)
    path.write_bytes(b"q d\nr \xff\n")
    with pytest.raises(PredictionError, match="line 2: not UTF-8"):
        read_predictions(path)
    path.write_text("# only a header\n\n")
    with pytest.raises(PredictionError, match="no predictions"):
        read_predictions(path)
    with pytest.raises(ValueError, match="2 queries with 1 rankings"):
        write_predictions(path, ["a", "b"], [["c"]])


def test_a_zip_is_read_as_its_one_csv(tmp_path):
    def write(*names):
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "q0 d0 d1\r\n")
        return read_predictions(tmp_path / "p.zip")

    assert write("any.csv").rows == [["d0", "d1"]]
    for names in ((), ("a.csv", "b.csv"), ("folder/a.csv",), ("a.txt",)):
        with pytest.raises(PredictionError, match="exactly one .csv, at its root"):
            write(*names)
    (tmp_path / "p.zip").write_bytes(b"no zip")
    with pytest.raises(PredictionError, match="cannot be read"):
        read_predictions(tmp_path / "p.zip")


def test_names_with_other_white_space_come_back(tmp_path):
    """U+00A0, U+3000, U+0085 and U+2028 separate nothing here, as they do where Python splits text."""
    keys, entries = ["a\u00a0b", "c\u3000d", "e\u0085f", "g\u2028h"], ["i\u00a0", "j\u2029k", "l\u200bm", "n\u1680o"]
    write_city(tmp_path, "cph", make_rows(4, "q").assign(key=keys), make_rows(4, "d").assign(key=entries))
    dataset = load(tmp_path, Protocol(cities=("cph",)), cache=False)
    data, ranked = dataset.retrieval_set, np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    write_predictions(tmp_path / "p.csv", *name_rankings(data, ranked))
    assert np.array_equal(resolve(read_predictions(tmp_path / "p.csv"), dataset).ranked, ranked)
    for name in ("", "a b", "a\nb", "a\tb", "#a", " a"):
        with pytest.raises(PredictionError, match="cannot be written into a prediction file"):
            write_predictions(tmp_path / "q.csv", [name], [["d"]])


@pytest.mark.parametrize("blank", ["  ", "\t", " \t", "\f"])
def test_white_space_of_ascii_separates(tmp_path, blank):
    (tmp_path / "p.csv").write_bytes(f"\ufeffq0{blank}d0{blank}d1{blank}\r\n".encode())
    assert read_predictions(tmp_path / "p.csv").rows == [["d0", "d1"]]


def test_what_systems_add_to_a_zip_is_skipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in ("p.csv", "__MACOSX/._p.csv", ".DS_Store", "._p.csv"):
            archive.writestr(name, "q0 d0 d1\n")
    assert read_predictions(tmp_path / "p.zip").rows == [["d0", "d1"]]


def test_commas_in_the_place_of_spaces_are_told(file, dataset):
    with pytest.raises(PredictionError, match="unknown query.*separate the names by spaces; commas join the names of"):
        resolve(file("q0000,d0000,d0001", *CPH[1:], *SF), dataset)
