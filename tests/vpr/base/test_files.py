"""Files are written whole or not at all."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from vpr.base.files import cache_folder, replacing, write_json


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(TypeError):
        write_json(path, object())
    assert json.loads(path.read_text()) == {"a": 1} and len(list(path.parent.iterdir())) == 1


def test_the_cache_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path))
    assert cache_folder("metadata") == tmp_path / "metadata"
    monkeypatch.delenv("VPR_CACHE_DIR")
    assert cache_folder("metadata").name == "metadata" and cache_folder("metadata").parent.name == "vpr"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "a.json").symlink_to(tmp_path / "far" / "b.json")
    for value in (1, 2):  # the target missing, then there
        write_json(tmp_path / "a.json", value)
        assert (tmp_path / "a.json").is_symlink() and json.loads((tmp_path / "far" / "b.json").read_text()) == value
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["b.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(path.read_text)
        write_json(path, {"a": 1})
        assert json.loads(read.result(timeout=30)) == {"a": 1}
    assert path.is_fifo() and [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
