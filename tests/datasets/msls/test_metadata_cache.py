"""The cache of parsed CSVs: it gives the same, is never stale, and whatever is wrong with it is mended."""

import os

import numpy as np
import pytest
from msls_tree import edit, same

from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.metadata_cache import load_frames


def test_the_cache_is_used_and_gives_the_same(tree, cache_folder, seams):
    folder = tree / "train_val" / "cph" / "query"
    parsing = seams.watch("vpr.datasets.msls.metadata_cache.read_frames")
    cold, fingerprint = load_frames(folder)
    (entry,) = cache_folder.iterdir()
    assert fingerprint in entry.name
    parsing.forbid()
    warm, again = load_frames(folder)
    assert same(cold, warm) and again == fingerprint


def test_changed_metadata_is_read_anew(tree):
    before = load(tree, Protocol())
    path = tree / "train_val" / "cph" / "query" / "postprocessed.csv"
    stamp = path.stat()
    edit(path, b"500300.0", b"500350.0")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = load(tree, Protocol())
    assert before.retrieval_set.counts()["queries"] == 6 and after.retrieval_set.counts()["queries"] == 5
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "foreign", "empty"])
def test_a_damaged_cache_entry_is_written_anew(tree, cache_folder, damage):
    folder = tree / "train_val" / "cph" / "query"
    cold, _ = load_frames(folder)
    (entry,) = cache_folder.iterdir()
    data = entry.read_bytes()
    if damage == "foreign":
        np.savez(entry, keys=np.array([b"q"]), drive=np.zeros(7, np.int32), frame_number=np.zeros(7))
    else:
        place = data.index(b"q0003")
        flipped = data[:place] + b"x" + data[place + 1 :]
        entry.write_bytes({"cut": data[:-100], "flip": flipped, "text": b"not a zip", "empty": b""}[damage])
    assert same(cold, load_frames(folder)[0])
    assert entry.read_bytes()[:2] == b"PK" and len(entry.read_bytes()) == len(data)
    assert [path.name for path in cache_folder.iterdir()] == [entry.name]


def test_a_cache_folder_that_cannot_be_made_is_tolerated(tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "file"))
    assert load(tree, Protocol()).retrieval_set.counts()["queries"] == 6


def test_without_the_cache_nothing_is_written(tree, cache_folder):
    load(tree, Protocol(), cache=False)
    assert not cache_folder.exists()
