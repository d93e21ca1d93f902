"""Where the database lies and which queries were driven together, as the retrieval set has it."""

import numpy as np
import pytest
from msls_tree import make_rows, write_city, write_side

from vpr.datasets.msls import Protocol, load


@pytest.fixture
def two_cities(tmp_path):
    """City cph with two drives of queries, sf with one; the same coordinates in both."""
    queries = make_rows(6, "q", sequence_key=["a"] * 4 + ["b"] * 2, frame_number=[0, 1, 2, 3, 0, 1])
    write_city(tmp_path, "cph", queries, make_rows(5, "d"))
    write_city(tmp_path, "sf", make_rows(3, "r"), make_rows(5, "e"))
    return tmp_path


def test_positions_are_metres_and_cities_lie_apart(two_cities):
    data = load(two_cities, Protocol()).retrieval_set
    steps = np.diff(data.positions, axis=0)
    assert np.linalg.norm(steps, axis=1).round().tolist()[:4] == [100] * 4  # within cph
    assert np.linalg.norm(data.positions[0] - data.positions[5]) > 1e6  # the same easting in sf
    places = data.places(np.array([[1, 0], [2, -1]]))
    assert places.shape == (2, 2, 2) and (places[0, 1] == data.positions[0]).all()
    assert data.merged().positions is data.positions


def test_positions_of_sequences_are_those_of_their_centre(two_cities):
    images = load(two_cities, Protocol(cities=("cph",))).retrieval_set
    sequences = load(two_cities, Protocol(task="seq2seq", seq_length=3, cities=("cph",))).retrieval_set
    np.testing.assert_array_equal(sequences.positions, images.positions[1:-1])


def test_queries_of_a_drive_share_a_number(two_cities):
    data = load(two_cities, Protocol()).retrieval_set
    assert data.drives.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    sequences = load(two_cities, Protocol(task="seq2im", seq_length=3)).retrieval_set
    assert sequences.drives.tolist() == [0, 0, 1]


def test_positions_are_unknown_without_coordinates(tmp_path):
    files = ("seq_info.csv", "subtask_index.csv", "raw.csv")
    for side in ("query", "database"):
        write_side(tmp_path / "test/miami" / side, make_rows(3, side[0]), files)
    data = load(tmp_path, Protocol(split="test", cities=("miami",))).retrieval_set
    assert data.positions is None and data.places(np.array([[0]])) is None


def test_a_thinned_set_has_evenly_spaced_entries_with_their_answers(tmp_path):
    rng = np.random.default_rng(0)
    for city, queries, database in (("cph", 30, 40), ("sf", 20, 25)):
        places = rng.uniform(0, 400, queries), rng.uniform(0, 400, database)
        sides = [make_rows(len(x), city + side, easting=500_000 + x) for x, side in zip(places, "qd")]
        write_city(tmp_path, city, *sides)
    whole = load(tmp_path, Protocol()).retrieval_set
    thin = whole.thin(20, 33)
    assert len(thin.database) == 33 and len(thin.queries) == 20 == len(thin.scored)
    assert [span[1].stop - span[1].start for span in thin.spans()] == [20, 13]
    number = {name: i for i, name in enumerate(whole.queries.names)}
    for row, name in enumerate(thin.queries.names):
        right = {whole.database.names[entry] for entry in whole.answers[number[name]]} & set(thin.database.names)
        assert {thin.database.names[entry] for entry in thin.answers[row]} == right
        assert (thin.query_positions[row] == whole.query_positions[number[name]]).all()
    everything = whole.thin(1000, 1000)
    assert everything.database.names.tolist() == whole.database.names.tolist()
    assert everything.queries.names.tolist() == whole.queries.names[whole.scored].tolist()
