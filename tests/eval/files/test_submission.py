"""Submissions: a valid file is called valid, and each fault is named with its place."""

import zipfile

import numpy as np
import pytest
from msls_tree import make_rows, write_city, write_side

from vpr.datasets.msls import Protocol, load
from vpr.eval.files.prediction_file import read_predictions
from vpr.eval.files.submission import write_submission
from vpr.eval.submission import MAX_PRINTED, main, summarise

BARE = ("seq_info.csv", "subtask_index.csv")
ROWS = ("q0000 d0000 d0001", "q0001 d0001 d0002", "q0002 d0002 d0000")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """miami, a test city without ground truth: 3 queries on 3 images; athens is not there; cph has 2 on 2."""
    write_side(tmp_path / "msls" / "test" / "miami" / "query", make_rows(3, "q"), BARE)
    write_side(tmp_path / "msls" / "test" / "miami" / "database", make_rows(3, "d"), BARE)
    write_city(tmp_path / "msls", "cph", make_rows(2, "r"), make_rows(2, "e"))
    return tmp_path / "msls"


@pytest.fixture
def check(root, tmp_path, capsys):
    """Runs the command on a file of the given lines; returns the exit code and the printed lines."""

    def run(lines, *arguments, name="submission.csv"):
        path = tmp_path / name
        if lines is not None:
            path.write_text("\n".join(lines) + "\n")
        code = main([str(path), "--data", str(root), *arguments])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_a_valid_file(check):
    code, lines = check(["# header", *ROWS[::-1]])
    assert code == 0 and lines[0].endswith("valid for miami (3 queries, 3 database entries)")


FAULTS = {
    "missing query": (ROWS[:2], ["missing query: q0002"]),
    "doubled query": ((*ROWS, ROWS[1]), ["doubled query: line 4, q0001 is already on line 2"]),
    "doubled prediction": (("q0000 d0001 d0001", *ROWS[1:]), ["doubled prediction: line 1, d0001"]),
    "unknown prediction": (("q0000 d0009 d0001", *ROWS[1:]), ["unknown key: line 1, prediction d0009"]),
    "unknown query": ((*ROWS, "x d0000 d0001"), ["unknown key: line 4, query x"]),
    "uneven rows": (
        ("q0000 d0000", *ROWS[1:]), ["uneven rows: line 1, 1 predictions, but most rows have 2"],
    ),
    "no predictions": (
        ("q0000", "q0001", "q0002 d0000"),
        ["uneven rows: line 1, no predictions, but most rows have 1",
         "uneven rows: line 2, no predictions, but most rows have 1"],
    ),
    "prediction with an extension": (
        ("q0000 d0000.jpg d0001", *ROWS[1:]),
        ["key with an extension: line 1, prediction d0000.jpg: keys have no file extension"],
    ),
    "query with an extension": (
        ("q0000.JPG d0000 d0001", *ROWS[1:]),
        ["missing query: q0000", "key with an extension: line 1, query q0000.JPG: keys have no file extension"],
    ),
    "wrong split": (
        (*ROWS, "r0000 e0000 e0001"),
        ["wrong split: line 4, query r0000 is of cph (val split)",
         "wrong split: line 4, prediction e0000 is of cph (val split)",
         "wrong split: line 4, prediction e0001 is of cph (val split)"],
    ),
    "query as prediction": (
        ("q0000 q0001 d0001", *ROWS[1:]), ["prediction outside the protocol: line 1, q0001: query image"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(check, fault):
    rows, expected = FAULTS[fault]
    code, lines = check(rows)
    assert code == 1
    assert lines[:-1] == expected
    assert lines[-1].endswith(f"not valid, {len(expected)} fault(s)")


def test_every_fault_of_a_file_is_named_at_once(check):
    code, lines = check(("q0000 d0000 d0000 d0001", "q0001 d0009 d0002", "q0001 d0001 d0000"))
    assert code == 1
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "missing query", "doubled query", "uneven rows", "doubled prediction", "unknown key",
    ]  # fmt: skip


def test_another_split_task_and_subtask(check, root):
    assert check(["r0000 e0000", "r0001 e0001"], "--split", "val")[0] == 0
    sequences = ["q0000,q0001,q0002 d0000,d0001,d0002"]
    assert check(sequences, "--task", "seq2seq", "--seq-length", "3")[0] == 0
    code, lines = check(["q0001,q0002,q0000 d0000"], "--task", "seq2im", "--seq-length", "3")
    assert code == 1
    assert lines[0] == "missing query: q0000,q0001,q0002"
    assert "no sequence of 3 frames in subtask all" in lines[1]
    write_side(root / "test" / "miami" / "query", make_rows(3, "q", s2w=[True, False, True]), BARE)
    code, lines = check(ROWS, "--subtask", "s2w")
    assert code == 1 and lines[0] == "query outside the protocol: line 2, q0001: outside subtask s2w"


def test_a_city_of_the_split_that_was_not_chosen(check, root):
    write_side(root / "test" / "athens" / "query", make_rows(1, "a"), BARE)
    write_side(root / "test" / "athens" / "database", make_rows(1, "b"), BARE)
    code, lines = check([*ROWS, "a0000 b0000 d0000"], "--cities", "miami")
    assert code == 1 and lines[0].startswith("query outside the protocol: line 4, a0000: of athens")
    assert check([*(row.rsplit(" ", 1)[0] for row in ROWS), "a0000 b0000"])[0] == 0


@pytest.mark.parametrize("names", [("a.csv", "b.csv"), ("folder/a.csv",), ("a.txt",), ()])
def test_a_zip_holds_one_csv_at_its_root(check, tmp_path, names):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "\n".join(ROWS))
    code, lines = check(None, name="s.zip")
    assert code == 1 and "exactly one .csv, at its root" in lines[0]


def test_unreadable_files(check, tmp_path):
    assert "no such prediction file" in check(None, name="none.csv")[1][0]
    assert "a submission is a .csv or a .zip" in check(ROWS, name="s.txt")[1][0]
    (tmp_path / "s.csv").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in check(None, name="s.csv")[1][0]


def test_a_bad_tree_is_one_line(tmp_path, capsys):
    (tmp_path / "s.csv").write_text("a b\n")
    assert main([str(tmp_path / "s.csv"), "--data", str(tmp_path / "nowhere")]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not exist" in line


def test_many_faults_of_a_kind_are_counted():
    lines = summarise([("missing query", f"q{number}") for number in range(MAX_PRINTED + 7)] + [("unknown key", "x")])
    assert (
        len(lines) == MAX_PRINTED + 2
        and lines[MAX_PRINTED] == "missing query: 7 more"
        and lines[-1] == "unknown key: x"
    )


@pytest.mark.parametrize("name", ["out.csv", "out.zip"])
def test_what_is_written_is_valid(check, root, tmp_path, name):
    data, path = load(root, Protocol(split="test")).retrieval_set, tmp_path / "made" / name
    ranked = np.array([[2, 0], [1, 2], [0, 1]])
    write_submission(path, data, ranked)
    assert main([str(path), "--data", str(root)]) == 0
    assert read_predictions(path).rows == [["d0002", "d0000"], ["d0001", "d0002"], ["d0000", "d0001"]]
    if name.endswith(".zip"):
        assert zipfile.ZipFile(path).namelist() == ["out.csv"]
    first = path.read_bytes()
    write_submission(path, data, ranked)
    assert path.read_bytes() == first and [child.name for child in path.parent.iterdir()] == [name]


def test_what_cannot_be_submitted_is_not_written(root, tmp_path):
    data = load(root, Protocol(split="test")).retrieval_set
    good = np.array([[2, 0], [1, 2], [0, 1]])
    for path, ranked, fault in (
        ("out.txt", good, "a .csv or a .zip"),
        ("out.csv", good[:2], "2 rankings for 3 queries"),
        ("out.csv", np.where(good == 2, -1, good), "gap or a repeat"),
        ("out.csv", np.where(good == 2, 1, good), "gap or a repeat"),
        ("out.csv", np.where(good[:, :1] == 1, -1, good), "is empty"),
    ):
        with pytest.raises(ValueError, match=fault):
            write_submission(tmp_path / path, data, ranked)
        assert not (tmp_path / path).exists()


def test_a_row_is_as_long_as_its_query_has_predictions(check, root, tmp_path):
    """A small city has fewer than the others, which are not cut to it."""
    write_side(root / "test" / "athens" / "query", make_rows(1, "a"), BARE)
    write_side(root / "test" / "athens" / "database", make_rows(2, "b"), BARE)
    data, path = load(root, Protocol(split="test")).retrieval_set, tmp_path / "out.csv"
    ranked = np.array([[2, 0, 1], [1, 2, 0], [0, 1, 2], [4, 3, -1]])
    write_submission(path, data, ranked)
    assert [len(row) for row in read_predictions(path).rows] == [3, 3, 3, 2]
    assert main([str(path), "--data", str(root)]) == 0
    write_submission(path, data, np.array([[2, 0, 1], [1, 2, 0], [0, 1, -1], [4, 3, -1]]))
    code, lines = check(path.read_text().split("\n")[:-1])
    assert code == 1 and "uneven rows: line 3, 2 predictions, but most rows have 3" in lines
