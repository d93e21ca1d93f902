"""Ground truth against plain loops over frames, and by hand."""

import naive_protocol
import numpy as np
import pytest
from msls_tree import make_rows, random_rows, write_city

from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.positives import sequences_within
from vpr.datasets.near import QUERY_CHUNK
from vpr.datasets.ragged import Ragged, concatenate

TASKS = ["im2im", "im2seq", "seq2im", "seq2seq"]


def lists(ragged):
    return [row.tolist() for row in ragged]


def naive_city(query, database, protocol):
    """Kept query and database sequences of one city, and their neighbours within a radius."""
    subtask = None if protocol.split == "train" else protocol.subtask
    queries = naive_protocol.kept_sequences(query, protocol.query_length, subtask)
    entries = naive_protocol.kept_sequences(database, protocol.database_length, subtask)
    return queries, lambda radius: naive_protocol.near(query, queries, database, entries, radius)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", range(3))
def test_positives_equal_a_loop_over_frames(tmp_path, task, seed):
    rng = np.random.default_rng(seed)
    query, database = random_rows(rng, 60, "q"), random_rows(rng, 70, "d")
    write_city(tmp_path, "sf", query, database)
    for radius, subtask in ((25.0, "all"), (10.0, "s2w"), (2.0, "d2n")):
        length = 1 if task == "im2im" else 3
        protocol = Protocol(task=task, seq_length=length, radius_m=radius, subtask=subtask)
        (city,) = load(tmp_path, protocol, cache=False).cities
        _, near = naive_city(query, database, protocol)
        expected = near(radius)
        assert lists(city.positives) == expected
        assert city.scored.tolist() == [index for index, row in enumerate(expected) if row]


@pytest.mark.parametrize("task", TASKS)
def test_training_lists_equal_a_loop_over_frames(tmp_path, task):
    """Positives, night and sideways, over two cities."""
    rng = np.random.default_rng(7)
    length = 1 if task == "im2im" else 5
    protocol = Protocol(split="train", cities=("oslo", "rome"), task=task, seq_length=length, radius_m=10.0)
    tables = {name: (random_rows(rng, 80, f"{name}q"), random_rows(rng, 90, f"{name}d")) for name in protocol.cities}
    for name, (query, database) in tables.items():
        write_city(tmp_path, name, query, database)
    dataset = load(tmp_path, protocol, cache=False)
    scored, night, sideways, positives, first_query, first_entry = [], [], [], [], 0, 0
    for query, database in tables.values():
        queries, near = naive_city(query, database, protocol)
        night += [any(query["night"][frames]) for frames in queries]
        sideways += [any(query["view_direction"][frames] == "Sideways") for frames in queries]
        for index, close in enumerate(near(10.0)):
            positives.append([first_entry + entry for entry in close])
            if close:
                scored.append(first_query + index)
        first_query += len(queries)
        first_entry += len(naive_protocol.kept_sequences(database, protocol.database_length, None))
    assert lists(dataset.positives) == positives
    assert dataset.retrieval_set.scored.tolist() == scored
    for name, expected in (("night", night), ("sideways", sideways)):
        found = np.concatenate([getattr(city.query, name) for city in dataset.cities])
        assert found.tolist() == expected and any(expected)


def test_the_radius_is_inclusive():
    query, database = np.array([[500_000.0, 6_000_000.0]]), np.array([[500_015.0, 6_000_020.0], [500_025.001, 6e6]])
    one, two = np.array([[0]], np.int32), np.array([[0], [1]], np.int32)
    assert lists(sequences_within(one, query, two, database, 25.0)) == [[0]]
    assert lists(sequences_within(one, query, two, database, 24.999)) == [[]]
    assert lists(sequences_within(one, query, two, database, 25.001)) == [[0, 1]]


def test_an_off_centre_frame_makes_a_positive(tmp_path):
    """The first frame of the last database sequence, 4 frames of 100 m, meets the query's last frame."""
    query = make_rows(3, "q", easting=[500_000.0 - 200, 500_000.0 - 100, 500_000.0], northing=6_000_100.0)
    database = make_rows(4, "d", northing=[6_000_100.0, 6e6, 6e6, 6e6])
    write_city(tmp_path, "cph", query, database)
    (city,) = load(tmp_path, Protocol(task="seq2seq", seq_length=3), cache=False).cities
    assert lists(city.positives) == [[0]]


def test_frames_of_filtered_sequences_take_no_part(tmp_path):
    """A database image that is a panorama is no positive, but within a sequence off the centre it is one."""
    query = make_rows(3, "q")
    database = make_rows(3, "d", pano=[True, False, False])
    write_city(tmp_path, "cph", query, database)
    (images,) = load(tmp_path, Protocol(), cache=False).cities
    assert lists(images.positives) == [[], [0], [1]]
    (sequences,) = load(tmp_path, Protocol(task="im2seq", seq_length=3), cache=False).cities
    assert lists(sequences.positives) == [[0], [0], [0]]


def test_queries_without_positives_are_counted_apart(tmp_path):
    query = make_rows(4, "q", northing=[6e6, 6e6 + 26, 6e6, 6e6 - 25])
    write_city(tmp_path, "cph", query, make_rows(4, "d"))
    dataset = load(tmp_path, Protocol(), cache=False)
    assert dataset.retrieval_set.counts() == {"queries": 3, "queries_without_positives": 1, "database": 4}
    assert dataset.retrieval_set.scored.tolist() == [0, 2, 3]


def test_points_in_one_place_and_chunks_of_queries():
    """More frames than one chunk, all coinciding with one of two database points."""
    count = QUERY_CHUNK + 5
    frames = np.arange(count, dtype=np.int32)[:, None]
    utm = np.zeros((count, 2))
    utm[-1] = 1000.0
    pair = np.array([[0], [1]], np.int32)
    found = sequences_within(frames, utm, pair, np.array([[0.0, 0.0], [1000.0, 1000.0]]), 25.0)
    assert (found.counts == 1).all()
    assert np.array_equal(found.values, [0] * (count - 1) + [1])


def test_empty_sides_give_empty_rows():
    none, some = np.empty((0, 3), np.int32), np.array([[0, 1, 2]], np.int32)
    utm = np.zeros((3, 2))
    assert lists(sequences_within(none, utm, some, utm, 25.0)) == []
    assert lists(sequences_within(some, utm, none, utm, 25.0)) == [[]]


def test_ragged_rows():
    ragged = Ragged.from_rows([[3, 1], [], [2]])
    assert lists(ragged) == [[3, 1], [], [2]] and ragged[-1].tolist() == [2]
    assert ragged.counts.tolist() == [2, 0, 1] and len(ragged) == 3
    assert lists(concatenate([ragged, ragged], [0, 10])) == [[3, 1], [], [2], [13, 11], [], [12]]
    assert len(Ragged.from_rows([])) == 0
    with pytest.raises(IndexError):
        ragged[3]
