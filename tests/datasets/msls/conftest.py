"""A small tree of metadata and a cache folder of its own for each test."""

import pytest
from msls_tree import make_rows, write_city


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "metadata"


@pytest.fixture
def tree(tmp_path):
    """City cph with 6 queries on 6 database images."""
    write_city(tmp_path / "msls", "cph", make_rows(6, "q"), make_rows(6, "d"))
    return tmp_path / "msls"
