"""P@1, RP and MAP@R against loops, against pytorch-metric-learning, and by hand."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

from vpr.datasets.ragged import Ragged
from vpr.eval.labels.label_metrics import chance_of_labels, evaluate_labels

CLASSES = np.random.default_rng(0).permutation(np.repeat(np.arange(12), [1, 2, 2, 3, 4, 5, 6, 7, 8, 3, 2, 9]))


def everything(seed=1):
    """Rankings of all others by descriptors, and the positives."""
    vectors = np.random.default_rng(seed).standard_normal((len(CLASSES), 5)).astype(np.float32)
    vectors += 1.5 * np.random.default_rng(9).standard_normal((12, 5))[CLASSES]
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    ranked = np.argsort(-similarity, axis=1, kind="stable")[:, :-1]
    positives = [[other for other in np.flatnonzero(CLASSES[n] == CLASSES) if other != n] for n in range(len(CLASSES))]
    return vectors, ranked, Ragged.from_rows(positives)


def naive(ranked, positives, count_query=False):
    first, rp, mean_precision = [], [], []
    for row, right in zip(ranked.tolist(), positives):
        right = set(right.tolist())
        if not right:
            continue
        count, hits, precision = len(right), 0, 0.0
        for rank, entry in enumerate(row[:count], 1):
            if entry in right:
                hits += 1
                precision += hits / rank
        first.append(row[0] in right)
        rp.append(hits / (count + count_query))
        mean_precision.append(precision / (count + count_query))
    return {"p@1": np.mean(first), "rp": np.mean(rp), "map@r": np.mean(mean_precision)}


@pytest.mark.parametrize("count_query", [False, True])
def test_metrics_are_those_of_loops(count_query):
    _, ranked, positives = everything()
    found = evaluate_labels(ranked, positives, count_query=count_query)
    expected = naive(ranked, positives, count_query)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert 0.2 < found["map@r"] < 0.9


def test_metrics_are_those_of_the_library():
    vectors, ranked, positives = everything()
    found = evaluate_labels(ranked, positives)
    library = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"), k="max_bin_count",
        device=torch.device("cpu"), knn_func=by_products,
    ).get_accuracy(torch.from_numpy(vectors), torch.from_numpy(CLASSES))  # fmt: skip
    assert found["p@1"] == pytest.approx(library["precision_at_1"])
    assert found["rp"] == pytest.approx(library["r_precision"])
    assert found["map@r"] == pytest.approx(library["mean_average_precision_at_r"])


def by_products(query, k, reference, ref_includes_query):
    similarity = query @ reference.T
    similarity.fill_diagonal_(-torch.inf)
    values, rows = similarity.topk(k)
    return -values, rows


def test_a_perfect_ranking_scores_one_and_less_where_the_query_counts():
    positives = Ragged.from_rows([[1, 2], [0, 2], [0, 1]])
    ranked = np.array([[1, 2], [0, 2], [0, 1]])
    assert set(evaluate_labels(ranked, positives, ks=(1, 2)).values()) == {1.0}
    theirs = evaluate_labels(ranked, positives, ks=(1,), count_query=True)
    assert theirs["map@r"] == theirs["rp"] == pytest.approx(2 / 3) and theirs["p@1"] == 1


def test_recall_goes_as_deep_as_the_rankings_and_repeats_count_once():
    positives = Ragged.from_rows([[3, 4], []])
    found = evaluate_labels(np.array([[9, 3, 3, 4], [1, 2, 3, 4]]), positives)
    assert {name for name in found if name.startswith("recall")} == {"recall@1", "recall@2", "recall@4"}
    assert (found["recall@1"], found["recall@2"], found["rp"], found["map@r"]) == (0, 1, 0.5, 0.25)
    with pytest.raises(ValueError, match="rankings of 1 are shorter than the 2 positives"):
        evaluate_labels(np.array([[3]]), Ragged.from_rows([[3, 4]]))


def test_chance_is_the_mean_of_random_orders():
    _, ranked, positives = everything()
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        found.append(evaluate_labels(rng.permuted(ranked, axis=1), positives, ks=(1,)))
    expected = chance_of_labels(positives, len(CLASSES) - 1)
    for name, value in expected.items():
        assert value == pytest.approx(np.mean([one[name] for one in found]), rel=0.05), name
