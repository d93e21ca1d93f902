"""The table over several trainings: ranks against a plain loop, and what is written."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from datasets.ragged import Ragged
from eval.results import NEVER, Results, first_right, write_results


@pytest.fixture
def data():
    """Four queries, one without a positive, on two drives."""
    answers = Ragged.from_rows([[3], [1, 2], [], [0]])
    return SimpleNamespace(scored=np.array([0, 1, 3]), answers=answers, drives=np.array([7, 7, 7, 9]))


def test_ranks_of_the_first_right_answer(data):
    ranked = np.array([[1, 3, 2], [2, 1, 0], [0, 1, 2], [3, 2, -1]])
    assert first_right(ranked, data).tolist() == [1, 0, NEVER]


def test_recalls_and_differences_and_every_file(data, tmp_path):
    rows = {"NetVLAD": [5, 9, NEVER], "distilled": [0, 9, NEVER], "distilled + structure": [0, 0, NEVER]}
    trainings = [{name: np.array(ranks) for name, ranks in rows.items()} for _ in range(2)]
    results = Results(trainings, data)
    recalls = {row: [round(by_k[k].mean, 3) for k in (1, 5, 10)] for row, by_k in results.recalls.items()}
    assert recalls == {
        "NetVLAD": [0, 0, 0.667], "distilled": [0.333, 0.333, 0.667], "distilled + structure": [0.667] * 3,
    }  # fmt: skip
    assert set(results.differences) == {("distilled", "NetVLAD"), ("distilled + structure", "distilled")}
    assert results.differences["distilled + structure", "distilled"].mean == pytest.approx(1 / 3)
    write_results(tmp_path, results, "a protocol")
    record = json.loads((tmp_path / "table.json").read_text())
    assert (record["queries"], record["drives"]) == (3, 2)
    assert record["by_training"]["distilled"]["recall@1"] == pytest.approx([1 / 3, 1 / 3])
    with (tmp_path / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 9
    text = (tmp_path / "table.txt").read_text()
    assert "a protocol" in text and "R@1 of distilled - NetVLAD: 33.3" in text
    assert Image.open(tmp_path / "table.png").size[0] > 500
