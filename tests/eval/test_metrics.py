"""Recall@k and mAP@k against plain loops and by hand."""

import naive_protocol
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpr.datasets.ragged import Ragged
from vpr.eval.metrics import KS, evaluate, map_at_k, recall_at_k, rectangular

ROW = st.lists(st.integers(0, 12), max_size=25)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(ROW, st.lists(st.integers(0, 12), unique=True, max_size=6)), min_size=1, max_size=12))
def test_both_equal_plain_loops(queries):
    """Uneven rows, repeats, queries without positives and rows shorter than k included."""
    ranked, positives = [row for row, _ in queries], [wanted for _, wanted in queries]
    if not any(positives):
        with pytest.raises(ValueError, match="no query has a positive"):
            evaluate(ranked, positives)
        return
    for form in (positives, Ragged.from_rows(positives)):
        recall, mean_precision = recall_at_k(ranked, form), map_at_k(ranked, form)
        for k in KS:
            assert recall[k] == pytest.approx(naive_protocol.recall(ranked, positives, k))
            assert mean_precision[k] == pytest.approx(naive_protocol.mean_average_precision(ranked, positives, k))


def test_by_hand():
    """Query 0: hits at ranks 2 and 4 of three positives. Query 1: none. Query 2: a hit at rank 1."""
    ranked = np.array([[9, 1, 8, 2, 7], [1, 2, 3, 4, 5], [6, 0, 0, 0, 0]])
    positives = [[1, 2, 3], [9], [6]]
    assert recall_at_k(ranked, positives, (1, 2, 5)) == pytest.approx({1: 1 / 3, 2: 2 / 3, 5: 2 / 3})
    first = (1 / 2 + 2 / 4) / 3
    assert map_at_k(ranked, positives, (1, 5)) == pytest.approx({1: 1 / 3, 5: (first + 0 + 1) / 3})


def test_ap_divides_by_k_when_there_are_more_positives():
    assert map_at_k([[1, 2]], [[1, 2, 3, 4, 5, 6]], (1, 2, 5)) == pytest.approx({1: 1.0, 2: 1.0, 5: 2 / 5})


def test_a_repeat_counts_once_and_holds_its_rank():
    assert map_at_k([[1, 1, 2]], [[1, 2]], (3,)) == pytest.approx({3: (1 + 2 / 3) / 2})
    assert map_at_k([[1, 1]], [[1, 2]], (2,)) == pytest.approx({2: 1 / 2})


def test_a_place_without_prediction_is_wrong_and_holds_its_rank():
    ranked = np.array([[-1, 4], [-1, -1]])
    assert recall_at_k(ranked, [[4], [0]], (1, 2)) == {1: 0.0, 2: 0.5}
    assert map_at_k(ranked, [[4], [0]], (2,)) == {2: 0.25}


def test_queries_without_positives_leave_the_denominator():
    ranked = [[1], [1], [1]]
    assert recall_at_k(ranked, [[1], [], [2]], (1,)) == {1: 0.5}
    assert map_at_k(ranked, [[1], [], []], (1,)) == {1: 1.0}


def test_recall_never_falls_with_k():
    rng = np.random.default_rng(0)
    ranked = np.argsort(rng.random((40, 60)), axis=1)
    values = list(recall_at_k(ranked, rng.integers(0, 60, (40, 3)), range(1, 61)).values())
    assert values == sorted(values) and values[-1] == 1.0 and values[0] < 0.5


def test_names_of_the_figures():
    figures = evaluate([[1]], [[1]])
    assert list(figures) == [f"{metric}@{k}" for metric in ("recall", "map") for k in (1, 5, 10, 20)]
    assert set(figures.values()) == {1.0}


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 rankings for 1 queries"):
        recall_at_k([[1], [2]], [[1]])


def test_rectangular_cuts_and_fills():
    assert rectangular([[1, 2, 3], [4], []], 2).tolist() == [[1, 2], [4, -1], [-1, -1]]
    assert rectangular(np.array([[1, 2, 3]]), 2).tolist() == [[1, 2]]
    assert rectangular(np.array([[1]]), 2).tolist() == [[1, -1]]
