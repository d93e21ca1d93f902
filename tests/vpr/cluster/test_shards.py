"""Maps in shards, without Ray: their answers are those of one machine, and they report shards that do not answer."""

import json
import os
import time
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
from vpr.cluster.shard_actors import ShardActors
from vpr.cluster.shards import sharded, split_map
from vpr.maps.candidates import Candidates
from vpr.maps.options import LocateConfig
from vpr.maps.pages import page
from vpr.maps.photo_map import Map
from vpr.maps.results import as_geojson, as_rows
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
    for number in (3, 12):  # a photo that has changed gets a row at the end of the file
        os.utime(photos[number], ns=(number, number))
        photo_map = photo_map.add(photos[number])
    rows = photo_map.finder.photos.images.rows.tolist()
    assert (rows[3], rows[12]) == (24, 25) and rows != sorted(rows)
    with sharded(photo_map, CLUSTER, 3) as held:
        alike(held.locate_all(photos), photo_map.locate_all(photos))


def test_large_shards_have_an_index(tmp_path, monkeypatch, seams, caplog):
    photo_map, photos = a_map(tmp_path, 240)
    usual = vector_index.kind_for
    seams.replace("vpr.retrieval.vector_index.kind_for", lambda count: usual(count, (50, 10_000)))
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    kept = tmp_path / "cache/shards"

    def ask():
        with sharded(photo_map, CLUSTER, 3) as held:
            found = held.locate(photos[100], LocateConfig(depth=20))
        assert found.matches[0].photo == str(photos[100])
        return {path: path.read_bytes() for path in kept.iterdir()}

    whole = ask()
    build = seams.watch("vpr.retrieval.vector_index.build")
    assert len(whole) == 3 and ask() == whole and build.calls == 0, "made, and then read"
    first, second, third = sorted(whole)
    first.write_bytes(b"")
    second.write_bytes(whole[second][:1000])
    third.write_bytes(b"no index" * 99)
    assert ask() == whole and build.calls == 3 and caplog.text.count("is damaged") == 3
    monkeypatch.setattr(vector_index, "VERSION", 0)
    assert len(ask()) == 6, "an index of other parameters is another file"


def test_a_new_index_that_cannot_be_read_is_an_error(tmp_path, monkeypatch, seams):
    photo_map, _ = a_map(tmp_path, 240)
    usual = vector_index.kind_for
    seams.replace("vpr.retrieval.vector_index.kind_for", lambda count: usual(count, (50, 10_000)))
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    build = seams.replace("vpr.retrieval.vector_index.build", lambda vectors, kind, path: path.write_bytes(b"x"))
    (tmp_path / "cache/shards").mkdir(parents=True)
    with pytest.raises(RuntimeError):
        split_map(photo_map, 3)[0].open()
    assert build.calls == 1
    with pytest.raises(RuntimeError):
        split_map(photo_map, 3)[0].open()
    assert build.calls == 2


LISTED = np.array([[0, 1, 2, 3], [4, 9, 5, 20], [9, 10, 20, 21], [7, 6, 23, 1]])  # photos 0 to 7 are in the first shard


def test_a_shortlist_without_the_photos_of_a_lost_shard(tmp_path):
    """Each photo has the rest of its own shortlist, and no other photo."""
    photo_map, photos = a_map(tmp_path)
    described = photo_map.model.describe(photos[:4])
    whole = photo_map.finder.find(described, 9, LISTED)
    with sharded(photo_map, CLUSTER, 3) as held:
        for lose in ([{0}, {0}], [{0}, set()]):  # gone, and back again for the second question
            held.finder.shards.actors.lose = lose
            found = held.finder.find(described, 9, LISTED)
            for query, row in enumerate(found.rows):
                kept = whole.rows[query] >= 8
                present = row >= 0
                assert row[present].tolist() == whole.rows[query][kept].tolist()
                assert present.tolist() == sorted(present.tolist(), reverse=True), "padding is at the end"
                for name in ("global_similarity", "structural", "scores", "places"):
                    np.testing.assert_array_equal(
                        getattr(found, name)[query][present], getattr(whole, name)[query][kept]
                    )
                assert (
                    np.isneginf(found.scores[query][~present]).all() and np.isnan(found.places[query][~present]).all()
                )
                assert (found.weights[query] > 0).tolist() == present.tolist()
            assert (found.rows >= 0).sum(1).tolist() == [0, 2, 4, 1]
        held.finder.shards.actors.lose = [{0, 1, 2}] * 2
        assert (held.finder.find(described, 9, LISTED).rows == -1).all()


@pytest.mark.parametrize("sequence", [False, True])
def test_a_photo_whose_shortlist_is_lost_is_not_on_the_map(tmp_path, seams, sequence):
    photo_map, photos = a_map(tmp_path)
    seams.replace("vpr.maps.photo_map.Map._shortlist", lambda self, by, names, depth: LISTED)
    with sharded(photo_map, CLUSTER, 3) as held:
        held.finder.shards.actors.lose = [{0}, {0}]
        located, _ = held.locate_readable(photos[:4], LocateConfig(top=9, sequence=sequence), by=object())
    listed = [{str(photos[row]) for row in rows if row >= 8} for rows in LISTED]
    assert [{match.photo for match in one.matches} for one in located] == listed
    lost = located[0]
    assert not lost.on_map and lost.not_searched == 8 and np.isnan([lost.latitude, lost.longitude]).all()
    assert lost.summary().startswith(f"{photos[0]}: not on this map (it has no candidates); 8 photos")
    content = json.loads(json.dumps([lost.as_json(), as_geojson(located, "M")], allow_nan=False))
    assert content[0]["latitude"] is None and content[1]["features"][0]["properties"]["radius_m"] is None
    assert as_rows([lost], "M")[0][1:] == (False, *[""] * 7, "M", "") and "no candidates" in page(
        [lost], held.positions, "a", "b"
    )


def test_batches_with_fewer_candidates_are_joined(tmp_path):
    photo_map, photos = a_map(tmp_path)
    described = photo_map.model.describe(photos[:2])
    whole, padded = LISTED[:2], np.array([[9, 5, -1, -1], [20, -1, -1, -1]])
    parts = [photo_map.finder.find(described, 9, rows) for rows in (whole, padded)]
    joined = Candidates.join(parts)
    assert [sorted(row) for row in joined.rows.tolist()] == [sorted(row) for row in [*whole.tolist(), *padded.tolist()]]
    for start, part in zip((0, 2), parts):
        width = part.rows.shape[1]
        for name in ("rows", "structural", "scores", "places", "separations", "weights"):
            np.testing.assert_array_equal(getattr(joined, name)[start : start + 2, :width], getattr(part, name))
    alone = photo_map.finder.find(described, 9, padded[:, :1])
    np.testing.assert_allclose(joined.structural[3, 0], alone.structural[1, 0], atol=1e-6)
    assert joined.separations[3].tolist() == [0.0] * 4 and not joined.has_rivals[3]


def test_a_timeout_is_said_as_it_was(monkeypatch):
    ray = pytest.importorskip("ray")
    waited = []

    def get(answer, timeout):
        waited.append(round(timeout))
        raise ray.exceptions.GetTimeoutError

    monkeypatch.setattr(ray, "get", get)
    asking = ShardActors.__new__(ShardActors)
    asking.actors, asking.answer_s, asking.names, asking.failures = [None], 120.0, {}, {}
    asking.started = [time.monotonic()]
    said = [asking._await(0, None, time.monotonic()).reason for _ in range(2)]
    asking.names, asking.failures = {0: "a"}, {}
    said.append(asking._await(0, None, time.monotonic()).reason)
    assert [text.split(":")[0] for text in said] == [f"no answer within {s} s" for s in (600, 600, 120)]
    assert waited == [600, 2, 120]


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
