"""A map of made-up photos, and a gate before locating."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import make_map

from vpr.maps.photo_map import Map


@pytest.fixture(scope="module")
def photo_map(tmp_path_factory):
    """A map of 24 photos of noise."""
    return make_map(tmp_path_factory.mktemp("serving"))


@pytest.fixture
def gate(monkeypatch):
    """Locating waits until the gate is open; it counts the photos that were asked for together."""
    locate_all, opened, sizes = Map.locate_all, threading.Event(), []

    def waiting(self, photos, *rest):
        sizes.append(len(photos))
        assert opened.wait(100)
        return locate_all(self, photos, *rest)

    monkeypatch.setattr(Map, "locate_all", waiting)
    opened.sizes = sizes
    yield opened
    opened.set()


@pytest.fixture
def threads():
    """Threads for clients."""
    with ThreadPoolExecutor(64) as threads:
        yield threads
