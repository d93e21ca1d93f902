"""Copies that may be damaged, and a prediction file without a fault."""

import shutil
from pathlib import Path

import pytest

from datasets.msls import Protocol, load
from eval.files.prediction_file import write_predictions


@pytest.fixture
def tree_copy(tiny_tree, tmp_path):
    """A tree that may be damaged."""
    return Path(shutil.copytree(tiny_tree, tmp_path / "tree"))


@pytest.fixture
def run_copy(distilled_run, tmp_path):
    """A run that may be damaged, without descriptor caches."""
    return Path(shutil.copytree(distilled_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.h5")))


@pytest.fixture(scope="module")
def validation(tiny_tree):
    return load(tiny_tree, Protocol())


@pytest.fixture
def perfect(validation, tmp_path):
    """A prediction file that names a positive first, then nine others, for every scored query."""
    data, path = validation.retrieval_set, tmp_path / "perfect.csv"
    rows = []
    for queries, entries in data.spans():
        for query in (query for query in data.scored if queries.start <= query < queries.stop):
            right = data.positives[query].tolist()
            wrong = [entry for entry in range(entries.start, entries.stop) if entry not in right]
            rows.append(data.database.names[[right[0], *wrong][:10]].tolist())
    write_predictions(path, data.queries.names[data.scored].tolist(), rows)
    return path
