"""Copies that may be damaged."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def tree_copy(tiny_tree, tmp_path):
    """A tree that may be damaged."""
    return Path(shutil.copytree(tiny_tree, tmp_path / "tree"))


@pytest.fixture
def run_copy(distilled_run, tmp_path):
    """A run that may be damaged, without descriptor caches."""
    return Path(shutil.copytree(distilled_run, tmp_path / "run", ignore=shutil.ignore_patterns("*.h5")))
