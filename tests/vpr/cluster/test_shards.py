"""Maps in shards, without Ray: their answers are those of one machine, and they report shards that do not answer."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest
from here import CLUSTER, Here, hold_here
from photos import a_model, alike, write_photos

from vpr import locate, map
from vpr.cluster.connecting import code_digest, require_code
from vpr.cluster.errors import ClusterError
from vpr.cluster.shards import sharded, split_map
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.retrieval import vector_index


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    hold_here(monkeypatch)


def a_map(tmp_path, count=24, head="shared"):
    folder = write_photos(tmp_path / "photos", range(count))
    return Map.build(tmp_path / "map", folder, model=a_model(head=head)), sorted(folder.iterdir())


@pytest.mark.parametrize(("shards", "head", "count"), [(1, "shared", 24), (3, "whitening", 131), (99, "shared", 24)])
def test_a_map_in_shards_answers_as_one(tmp_path, shards, head, count):
    photo_map, photos = a_map(tmp_path, count, head)
    asked = write_photos(tmp_path / "asked", range(500, 506))
    for depth in (5, 100) if count < 100 else (20,):
        config, given = LocateConfig(depth=depth, top=9), [*photos[:3], *sorted(asked.iterdir())]
        with sharded(photo_map, CLUSTER, shards) as held:
            alike(held.locate_all(given, config), photo_map.locate_all(given, config))


def test_a_map_in_an_order_of_its_own_is_read_by_its_rows(tmp_path):
    photo_map, photos = a_map(tmp_path)
    photo_map = photo_map.remove(photos[3]).add(photos[3])  # whose row in the file is another one now
    assert (np.diff(photo_map.finder.photos.images.rows) != 1).any() or photo_map.content.table.keys[-1] == str(
        photos[3]
    )
    with sharded(photo_map, CLUSTER, 3) as held:
        alike(held.locate_all(photos), photo_map.locate_all(photos))


def test_large_shards_have_an_index(tmp_path, monkeypatch, seams):
    photo_map, photos = a_map(tmp_path, 240)
    usual = vector_index.kind_for
    seams.replace("vpr.retrieval.vector_index.kind_for", lambda count: usual(count, (50, 10_000)))
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    for _ in range(2):  # made, and then read
        with sharded(photo_map, CLUSTER, 3) as held:
            found = held.locate(photos[100], LocateConfig(depth=20))
        assert found.matches[0].photo == str(photos[100]) and len(list((tmp_path / "cache/shards").iterdir())) == 3


def test_what_lies_in_shards_that_are_gone_is_left_out_and_said(tmp_path):
    photo_map, photos = a_map(tmp_path)
    config = LocateConfig(top=24)
    whole = photo_map.locate(photos[2], config)
    with sharded(photo_map, CLUSTER, 3) as held:
        actors = held.finder.shards.actors
        for lose in ([{0}, {0}], [set(), {0}, {0}, {0}]):  # before the search, and between it and the comparison
            actors.lose = lose
            found = held.locate(photos[2], config)
            assert found.not_searched == 8 and "; 8 photos of the map were not searched" in found.summary()
            kept = [match for match in whole.matches if match.photo not in {str(photo) for photo in photos[:8]}]
            assert [(m.photo, m.s_global, m.s_struct) for m in found.matches] == [
                (m.photo, m.s_global, m.s_struct) for m in kept
            ]
            assert found.as_json()["not_searched"] == 8
        assert held.locate(photos[2], config) == whole  # they are back
        actors.lose = [{0, 1, 2}]
        with pytest.raises(ClusterError, match="nor do the others"):
            held.locate(photos[2])
        actors.lose = [set(), {1}] * 9
        with pytest.raises(ClusterError, match="shards keep failing"):
            held.locate(photos[2])


def test_an_answer_of_a_part_has_an_exit_code_of_its_own(tmp_path, monkeypatch, seams, capsys):
    monkeypatch.chdir(tmp_path)
    seams.replace("vpr.cluster.options.ShardOptions.connect", lambda self: nullcontext(CLUSTER))
    write_photos(tmp_path / "photos", range(3))
    assert map.main(["map", "add", "photos", "--device", "cpu"]) == 0
    given = ["map", "photos/000.jpg", "--shards", "3", "--device", "cpu", "--json", "a.json"]
    assert locate.main(given) == 0 and "not searched" not in capsys.readouterr().out
    monkeypatch.setattr(Here, "ask", partialmethod(Here.ask, lost={1}))
    assert locate.main(given) == 3
    assert "; 1 photos of the map were not searched" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["photos"][0]["not_searched"] == 1


def test_code_is_the_same_by_way_of_links_and_of_folders(tmp_path, monkeypatch):
    """In a checkout some rooms are links, in an installation they are folders."""
    for name in ("room", "linked/vpr", "folder/vpr/eval"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("room", "folder/vpr/eval"):
        (tmp_path / name / "a.py").write_text("x = 1\n")
    (tmp_path / "linked/vpr/eval").symlink_to(tmp_path / "room")
    digests = []
    for name in ("linked", "folder"):
        monkeypatch.setattr("vpr.cluster.connecting.ROOT", tmp_path / name / "vpr")
        digests.append(code_digest())
    (tmp_path / "folder/vpr/eval/a.py").write_text("x = 2\n")
    assert digests[0] == digests[1] != code_digest()


def test_a_part_of_another_state_is_refused(tmp_path):
    photo_map, photos = a_map(tmp_path)
    part = split_map(photo_map, 3)[1]
    with pytest.raises(ClusterError, match="has changed meanwhile"):
        replace(part, keys="x").open()
    with pytest.raises(ClusterError, match="has changed meanwhile"):
        replace(part, rows=part.rows + 20).open()
    photo_map.remove(photos[0])
    with pytest.raises(ClusterError, match="has changed meanwhile"):
        part.open()
    with pytest.raises(ClusterError, match="has another version of vpr"):
        require_code("x")
    require_code(code_digest())
