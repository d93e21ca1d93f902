"""The table over several trainings: ranks against a plain loop, and what is written."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vpr.datasets.ragged import Ragged
from vpr.eval.comparison.seed_results import Results, recall_hits, write_results


@pytest.fixture
def data():
    """Four queries, one without a positive, on two drives."""
    answers = Ragged.from_rows([[3], [1, 2], [], [0]])
    return SimpleNamespace(
        scored=np.array([0, 1, 3]), answers=answers, drives=np.array([7, 7, 7, 9]), unanswered="left out"
    )


def test_what_is_found_within_the_first_answers(data):
    ranked = np.array([[1, 3, 2], [2, 1, 0], [0, 1, 2], [3, 2, -1]])
    found = recall_hits(ranked, data)
    assert {name: values.tolist() for name, values in found.items()} == {
        "recall@1": [0, 1, 0], "recall@5": [1, 1, 0], "recall@10": [1, 1, 0],
    }  # fmt: skip


def test_recalls_and_differences_and_every_file(data, tmp_path):
    rows = {"NetVLAD": [5, 9, 99], "distilled": [0, 9, 99], "distilled + structure": [0, 0, 99]}
    of_row = {name: {f"recall@{k}": (np.array(ranks) < k) * 1.0 for k in (1, 5, 10)} for name, ranks in rows.items()}
    results = Results([of_row, of_row], data)
    recalls = {row: [round(by[f"recall@{k}"].mean, 3) for k in (1, 5, 10)] for row, by in results.estimates.items()}
    assert recalls == {
        "NetVLAD": [0, 0, 0.667], "distilled": [0.333, 0.333, 0.667], "distilled + structure": [0.667] * 3,
    }  # fmt: skip
    assert set(results.differences) == {
        ("recall@1", "distilled", "NetVLAD"),
        ("recall@1", "distilled + structure", "distilled"),
    }
    assert results.differences["recall@1", "distilled + structure", "distilled"].mean == pytest.approx(1 / 3)
    write_results(tmp_path, results, "a protocol")
    record = json.loads((tmp_path / "table.json").read_text())
    assert (record["queries"], record["drives"]) == (3, 2)
    assert record["by_training"]["distilled"]["recall@1"] == pytest.approx([1 / 3, 1 / 3])
    with (tmp_path / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 9
    text = (tmp_path / "table.txt").read_text()
    assert "a protocol" in text and "R@1 of distilled - NetVLAD: 33.3" in text
    assert Image.open(tmp_path / "table.png").size[0] > 500
