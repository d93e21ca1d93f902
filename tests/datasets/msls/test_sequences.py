"""Sequences and the filters, against plain loops and by hand."""

import naive_protocol
import numpy as np
import pytest
from msls_tree import make_rows, random_rows, write_city

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.sequences import centre_filter, frame_sequences


def codes(rows):
    """Runs of equal sequence_key in consecutive rows, numbered."""
    names = rows["sequence_key"]
    return (names != names.shift()).cumsum().to_numpy()


@pytest.mark.parametrize("length", [1, 3, 5, 9])
@pytest.mark.parametrize("seed", range(8))
def test_sequences_equal_a_loop_over_rows(seed, length):
    rows = random_rows(np.random.default_rng(seed), 120, "q")
    found = frame_sequences(codes(rows), rows["frame_number"].to_numpy(), length)
    assert found.tolist() == naive_protocol.sequences(rows, length)
    assert found.dtype == np.int32


@pytest.mark.parametrize("count", range(7))
def test_edges_of_short_tables(count):
    rows = make_rows(count, "q")
    for length in (1, 3, 5):
        found = frame_sequences(codes(rows), rows["frame_number"].to_numpy(), length)
        assert found.shape == (max(0, count - length + 1), length)


def test_a_gap_breaks_a_sequence_and_so_does_a_new_name():
    run = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1])
    numbers = np.array([1, 2, 3, 5, 6, 7, 8, 9, 10])
    assert frame_sequences(run, numbers, 3).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert frame_sequences(run, numbers, 5).tolist() == []


def test_a_name_that_returns_is_not_joined_over_the_rows_between():
    rows = make_rows(5, "q", sequence_key=["a", "a", "b", "a", "a"])
    assert frame_sequences(codes(rows), rows["frame_number"].to_numpy(), 3).tolist() == []


def test_only_the_centre_frame_is_judged():
    sequences = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    keep = np.array([False, True, False, True, False])
    assert centre_filter(sequences, keep).tolist() == [[0, 1, 2], [2, 3, 4]]


@pytest.mark.parametrize("task", ["im2im", "im2seq", "seq2im", "seq2seq"])
@pytest.mark.parametrize("subtask", ["all", "s2w", "n2d"])
def test_loaded_sides_equal_a_loop_over_rows(tmp_path, task, subtask):
    rng = np.random.default_rng(len(task) + len(subtask))
    query, database = random_rows(rng, 90, "q"), random_rows(rng, 110, "d")
    write_city(tmp_path, "cph", query, database)
    length = 1 if task == "im2im" else 5
    dataset = load(tmp_path, Protocol(task=task, subtask=subtask, seq_length=length), cache=False)
    (city,) = dataset.cities
    for side, rows, sequence in ((city.query, query, "seq2"), (city.database, database, "2seq")):
        own = length if sequence in task else 1
        expected = naive_protocol.kept_sequences(rows, own, subtask)
        assert side.frames.tolist() == expected
        assert side.names().tolist() == [",".join(rows["key"][members]) for members in expected]
        assert len(side) == len(expected) and len(side.keys) == len(rows)


def test_training_takes_frames_of_every_subtask(tmp_path):
    rows = make_rows(4, "d", all=False, s2w=[True, False, False, False])
    write_city(tmp_path, "paris", rows.assign(key=["a", "b", "c", "d"]), rows)
    dataset = load(tmp_path, Protocol(split="train", cities=("paris",)), cache=False)
    assert dataset.retrieval_set.counts() == {"queries": 4, "queries_without_positives": 0, "database": 4}
    with pytest.raises(DatasetError, match="no queries"):
        load(tmp_path, Protocol(cities=("paris",)), cache=False)


def test_image_paths_name_city_and_side(tmp_path):
    folder = write_city(tmp_path, "cph", make_rows(3, "q"), make_rows(3, "d"))
    (city,) = load(tmp_path, Protocol(), cache=False).cities
    assert city.database.image_paths(np.array([[2], [0]])).tolist() == [
        ["train_val/cph/database/images/d0002.jpg"],
        ["train_val/cph/database/images/d0000.jpg"],
    ]
    assert (tmp_path / city.query.image_paths(np.array(1)).item()).parent == folder / "query" / "images"
