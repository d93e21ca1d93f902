"""Files are written whole or not at all."""

import json

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
