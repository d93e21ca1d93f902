"""Shards without Ray: their answers, merged, are those of one machine, and naive loops agree."""

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import a_model, write_photos

from datasets.msls import Protocol, load
from eval.described import Sharding
from eval.evaluation import Evaluator
from eval.options import RankingConfig, SourceConfig
from vpr import locate, map
from vpr.cache import CacheError, CacheSpec, DescriptorCache, create
from vpr.cluster import of_caches, of_maps
from vpr.cluster.connecting import Cluster, code_digest, require_code
from vpr.cluster.errors import ClusterError
from vpr.cluster.holders import Gone
from vpr.cluster.merging import first_of, outside, spans, within
from vpr.cluster.of_caches import ShardedCache
from vpr.cluster.of_maps import parts_of, sharded
from vpr.cluster.options import ShardOptions
from vpr.maps import index
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.retrieval.rerank import compare
from vpr.retrieval.search import search, search_groups
from vpr.retrieval.settings import RerankConfig, RerankOptions

CLUSTER = Cluster(3, 3, "")


class Here:
    """The parts in this process, some of which may be gone."""

    def __init__(self, cluster, makes):
        self.parts, self.gone, self.lose = [make() for make in makes], {}, []

    def __len__(self):
        return len(self.parts)

    def share(self, value):
        return value

    def why(self):
        return f"shard {min(self.gone) + 1} is gone"

    def ask(self, question, arguments, lost=frozenset()):
        """What is in ``lose`` are numbers of parts that go away, one set for each question."""
        away = self.lose.pop(0) if self.lose else lost
        self.gone = dict.fromkeys(away, "")
        return [
            None if given is None else Gone("") if number in away else getattr(part, question)(*given)
            for number, (part, given) in enumerate(zip(self.parts, arguments))
        ]

    def end(self):
        self.parts = []


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    for module in (of_maps, of_caches):
        monkeypatch.setattr(module, "Holders", Here)


@st.composite
def found_by_parts(draw):
    """Similarities out of few values, so that many are equal, and a part for each row."""
    width, count = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=width, max_size=width))
    return (
        np.array(values, np.float32),
        draw(st.lists(st.integers(0, count - 1), min_size=width, max_size=width)),
        count,
    )


@given(found_by_parts(), st.integers(1, 40))
def test_the_first_of_all_are_those_of_a_sorted_list(found, depth):
    values, owners, count = found
    parts = []
    for part in range(count):
        rows = sorted((row for row, owner in enumerate(owners) if owner == part), key=lambda row: (-values[row], -row))
        gaps = [-1] * (2 - len(rows))
        parts.append(
            (np.array([[*values[rows], *[-np.inf] * len(gaps)]], np.float32), np.array([[*rows, *gaps]], np.int64))
        )
    similarity, rows = first_of(parts, depth)
    naive = sorted(range(len(values)), key=lambda row: (-values[row], -row))[:depth]
    assert rows[0, : len(naive)].tolist() == naive and (rows[0, len(naive) :] == -1).all()
    assert similarity[0, : len(naive)].tolist() == values[naive].tolist() and rows.shape[1] <= depth


@given(st.integers(1, 50), st.integers(1, 60))
def test_parts_hold_everything_once(count, parts):
    cut = spans(count, parts)
    assert [number for span in cut for number in range(*span)] == list(range(count))
    sizes = [stop - start for start, stop in cut]
    assert len(cut) == min(count, parts) and max(sizes) - min(sizes) <= 1
    rows = np.arange(-1, count)
    for start, stop in cut:
        there = outside(within(rows, start, stop), start)
        assert there.tolist() == [row if start <= row < stop else -1 for row in rows]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 60), st.booleans())
def test_faiss_in_parts_is_faiss(parts, depth, twice):
    rng = np.random.default_rng(parts)
    database = unit(rng.normal(size=(50, 8)))
    if twice:
        database[25:] = database[:25]
    queries = unit(rng.normal(size=(40, 8)))
    found = [
        (similarity, outside(rows, start))
        for start, stop in spans(50, parts)
        for similarity, rows in [search(queries, database[start:stop], depth)]
    ]
    ours, whole = first_of(found, min(depth, 50)), search(queries, database, depth)
    np.testing.assert_allclose(ours[0], whole[0], rtol=0, atol=1e-6)
    sure = ours[0] > ours[0][:, -1:] + 1e-6 if depth < 50 else np.ones_like(ours[0], bool)  # of equal last ones any
    np.testing.assert_array_equal(ours[1][sure], whole[1][sure])


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


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
            assert held.locate_all(given, config) == photo_map.locate_all(given, config)


def test_a_map_in_an_order_of_its_own_is_read_by_its_rows(tmp_path):
    photo_map, photos = a_map(tmp_path)
    photo_map = photo_map.remove(photos[3]).add(photos[3])  # whose row in the file is another one now
    assert (np.diff(photo_map.comparer.rows) != 1).any() or photo_map.content.table.keys[-1] == str(photos[3])
    with sharded(photo_map, CLUSTER, 3) as held:
        assert held.locate_all(photos) == photo_map.locate_all(photos)


def test_large_shards_have_an_index(tmp_path, monkeypatch):
    photo_map, photos = a_map(tmp_path, 240)
    usual = index.kind_for
    monkeypatch.setattr(index, "kind_for", lambda count: usual(count, (50, 10_000)))
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
        holders = held.comparer.search.holders
        for lose in ([{0}, {0}], [set(), {0}, {0}, {0}]):  # before the search, and between it and the comparison
            holders.lose = lose
            found = held.locate(photos[2], config)
            assert found.not_searched == 8 and "; 8 photos of the map were not searched" in found.said()
            kept = [match for match in whole.matches if match.photo not in map(str, photos[:8])]
            assert [(m.photo, m.s_global, m.s_struct) for m in found.matches] == [
                (m.photo, m.s_global, m.s_struct) for m in kept
            ]
            assert found.as_json()["not_searched"] == 8
        assert held.locate(photos[2], config) == whole  # they are back
        holders.lose = [{0, 1, 2}]
        with pytest.raises(ClusterError, match="and so are all others"):
            held.locate(photos[2])
        holders.lose = [set(), {1}] * 9
        with pytest.raises(ClusterError, match="shards come and go"):
            held.locate(photos[2])


def test_an_answer_of_a_part_has_an_exit_code_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ShardOptions, "joined", lambda self: nullcontext(CLUSTER))
    write_photos(tmp_path / "photos", range(3))
    assert map.main(["map", "add", "photos", "--device", "cpu"]) == 0
    given = ["map", "photos/000.jpg", "--shards", "3", "--device", "cpu", "--json", "a.json"]
    assert locate.main(given) == 0 and "not searched" not in capsys.readouterr().out
    monkeypatch.setattr(Here, "ask", partialmethod(Here.ask, lost={1}))
    assert locate.main(given) == 3
    assert "; 1 photos of the map were not searched" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["photos"][0]["not_searched"] == 1


def test_a_part_of_another_state_is_refused(tmp_path):
    photo_map, photos = a_map(tmp_path)
    part = parts_of(photo_map, 3)[1]
    with pytest.raises(ClusterError, match="holds other photos"):
        replace(part, keys="x").open()
    with pytest.raises(ClusterError, match="holds other photos"):
        replace(part, rows=part.rows + 20).open()
    photo_map.remove(photos[0])
    with pytest.raises(ClusterError, match="is another map by now"):
        part.open()
    with pytest.raises(ClusterError, match="has another version of vpr"):
        require_code("x")
    require_code(code_digest())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("cache") / "a.h5"
    spec = CacheSpec("x", patches=4, dim=8, weights=True)
    create(path, [f"{row}.jpg" for row in range(40)], spec)
    weights = rng.uniform(0.1, 1, (40, 4))
    DescriptorCache(path, spec, writable=True).write(
        np.arange(40), unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(40, 4, 8))), weights
    )
    return DescriptorCache(path, spec)


DATABASE = np.random.default_rng(1).permutation(40)[:30][:, None]  # rows of the entries, in an order of their own


@pytest.mark.parametrize("marginals", ["complement", "rollout"])
@pytest.mark.parametrize("shards", [1, 3, 30])
def test_re_ranking_in_shards_is_re_ranking(cache, shards, marginals):
    rng = np.random.default_rng(2)
    queries = rng.integers(0, 40, 150)
    candidates = np.where(rng.uniform(size=(150, 6)) < 0.2, -1, DATABASE[rng.integers(0, 30, (150, 6)), 0])
    config = RerankConfig(marginals)
    ours = ShardedCache(CLUSTER, shards, cache, DATABASE).compare(cache, queries, candidates, config, title="x")
    whole = compare(cache, queries, candidates, config)
    np.testing.assert_array_equal(ours.global_, whole.global_)
    np.testing.assert_allclose(ours.structural, whole.structural, atol=1e-6)


def test_pruning_in_shards_keeps_the_first_ranks(cache):
    queries = np.arange(40)
    candidates = np.tile(DATABASE[:, 0], (40, 1))
    sharded_cache, first = ShardedCache(CLUSTER, 3, cache, DATABASE), []
    for by, prune in ((compare, 0), (sharded_cache.compare, 4)):
        found = by(cache, queries, candidates, RerankConfig(prune=prune), weight=2.0)
        first.append(np.argsort(-(found.global_ + 2 * found.structural), axis=1)[:, :4])
    np.testing.assert_array_equal(*first)


@pytest.mark.parametrize("length", [1, 3])
def test_groups_are_searched_in_shards_as_in_one(cache, length):
    entries = np.stack([np.roll(DATABASE[:, 0], -step) for step in range(length)], 1)  # images lie in several
    shards = ShardedCache(CLUSTER, 4, cache, entries)
    database = unit(cache.globals_[entries].mean(1)) if length > 1 else cache.globals_[entries[:, 0]]
    queries, groups = unit(np.random.default_rng(3).normal(size=(10, 8))), [(0, 4, 0, 11), (4, 10, 11, 30)]
    cut = [(slice(a, b), slice(c, d)) for a, b, c, d in groups]
    for depth in (3, 15):
        ours, whole = (search_groups(queries, by, iter(cut), depth) for by in (shards.search, database))
        np.testing.assert_allclose(ours[0], whole[0], atol=1e-6)
        np.testing.assert_array_equal(ours[1], whole[1])


@pytest.mark.parametrize("task", ["im2im", "seq2seq"])
def test_an_evaluation_in_shards_is_an_evaluation(tiny_tree, tmp_path, task):
    data = load(tiny_tree, Protocol(task=task, seq_length=1 if task == "im2im" else 3)).retrieval_set
    source = SourceConfig(Path("builtin"), rerank=True, cache=tmp_path / "a.h5")
    alone = Evaluator(RankingConfig(depth=8), RerankOptions(), torch.device("cpu"))
    whole = alone.answer(data, source)
    ours = replace(alone, sharding=Sharding(CLUSTER, 3)).answer(data, source)
    assert ours.described.shards is not None and ours.scores(data) == whole.scores(data)
    for name, stage in whole.stages().items():
        np.testing.assert_array_equal(ours.stages()[name].ranked, stage.ranked)
        np.testing.assert_allclose(ours.stages()[name].similarity, stage.similarity, atol=1e-6)
    np.testing.assert_allclose(ours.reranking.structural, whole.reranking.structural, atol=1e-5)


def test_an_evaluation_wants_every_shard(cache):
    shards = ShardedCache(CLUSTER, 3, cache, DATABASE)
    shards.holders.lose = [{1}]
    with pytest.raises(ClusterError, match="shard 2 is gone, and an evaluation wants all"):
        shards.search(unit(np.ones((1, 8))), slice(0, 30), 5)
    part = of_caches.CachePart(cache.path, cache.spec, "x", 0, DATABASE)
    with pytest.raises(ClusterError, match="holds other images"):
        part.open()


def test_a_part_of_a_cache_is_its_rows(cache):
    part = DescriptorCache(cache.path, cache.spec, part=slice(7, 19))
    assert part.keys.tolist() == cache.keys[7:19].tolist() and len(part) == 12
    np.testing.assert_array_equal(part.read_patches(np.array([0, 11])), cache.read_patches(np.array([7, 18])))
    assert part.rows(["9.jpg"]).tolist() == [2]
    with pytest.raises(CacheError, match="lacks 1 images"):
        part.rows(["3.jpg"])
