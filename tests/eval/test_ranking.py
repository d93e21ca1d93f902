"""Shortlists by scope, sequences, baselines: against plain loops on a small tree of metadata."""

import numpy as np
import pytest

from vpr.cache import CacheSpec, DescriptorCache, create
from vpr.datasets.msls import Protocol, load
from vpr.eval.baselines import chance
from vpr.eval.descriptors import DescribedSet
from vpr.eval.ranking import find_shortlist, search_shortlist
from vpr.retrieval.settings import RerankConfig
from vpr.retrieval.vector_index import VectorIndex
from vpr.similarity import structural_similarity


@pytest.fixture(scope="module")
def described(tiny_tree, tmp_path_factory):
    """The validation cities as sequences of three frames, with random descriptors of every frame."""
    dataset = load(tiny_tree, Protocol(task="seq2seq", seq_length=3))
    keys = np.unique(dataset.retrieval_set.image_files())
    path, spec = tmp_path_factory.mktemp("ranking") / "a.h5", CacheSpec("x", 4, 8)
    create(path, keys.tolist(), spec)
    rng = np.random.default_rng(0)
    descriptors = [rng.standard_normal(shape) for shape in ((len(keys), 8), (len(keys), 4, 8))]
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in descriptors]
    DescriptorCache(path, spec, writable=True).write(np.arange(len(keys)), *unit)
    return dataset, DescriptorCache(path)


@pytest.mark.parametrize("scope", ["city", "merged"])
def test_shortlists_keep_to_their_scope(described, scope):
    dataset, cache = described
    data = dataset.retrieval_set if scope == "city" else dataset.retrieval_set.merged()
    everything = DescribedSet.from_cache(data, cache)
    queries, database = everything.global_descriptors()
    ranked = find_shortlist(everything, 1000).ranked
    query_city = np.repeat(np.arange(len(dataset.cities)), np.diff(dataset.query_offsets))
    database_city = np.repeat(np.arange(len(dataset.cities)), np.diff(dataset.database_offsets))
    for city, query, row in zip(query_city, queries, ranked):
        allowed = [i for i in range(len(database)) if scope == "merged" or database_city[i] == city]
        expected = sorted(allowed, key=lambda i: -float(query @ database[i]))
        assert row[row >= 0].tolist() == expected
        assert (row[len(expected) :] == -1).all()


@pytest.mark.parametrize(("spread", "said"), [(0.0, True), (1e-7, True), (1e-2, False)])
def test_descriptors_that_are_all_alike_are_reported(described, caplog, spread, said):
    data = described[0].retrieval_set
    rng = np.random.default_rng(1)
    queries, database = (1 + spread * rng.standard_normal((len(side), 8)) for side in (data.queries, data.database))
    found = search_shortlist(data, unit(queries), VectorIndex(unit(database)), 5)
    assert ("no better than chance" in caplog.text) == said
    assert found.ranked.shape[1] == 5


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_sequences_count_each_query_frame_with_its_best_partner(described):
    dataset, cache = described
    described_set = DescribedSet.from_cache(dataset.retrieval_set, cache)
    rows = described_set.rows
    ranked = np.array([[0, 2, -1]] * len(rows.query))
    found = described_set.compare(ranked, RerankConfig())
    for query in (0, len(rows.query) - 1):
        for place, entry in enumerate((0, 2)):
            best = [
                structural_similarity(
                    np.asarray(cache.patches[frame], np.float32), cache.patches[rows.database[entry]],
                    cache.globals_[frame], cache.globals_[rows.database[entry]],
                ).score.max()
                for frame in rows.query[query]
            ]  # fmt: skip
            assert found.structural[query, place] == pytest.approx(np.mean(best), abs=5e-5)
            means = [cache.globals_[side].mean(0) for side in (rows.query[query], rows.database[entry])]
            cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
            assert found.global_similarity[query, place] == pytest.approx(cosine, abs=1e-5)
    assert (found.global_similarity[:, 2] == -np.inf).all() and (found.structural[:, 2] == -np.inf).all()


def test_chance_is_what_random_orders_reach(described):
    dataset, _ = described
    rng, hits = np.random.default_rng(0), []
    for query in dataset.retrieval_set.scored:
        city = np.searchsorted(dataset.query_offsets, query, side="right") - 1
        start, stop = dataset.database_offsets[city : city + 2]
        for _ in range(300):
            drawn = rng.choice(np.arange(start, stop), min(5, stop - start), replace=False)
            hits.append(bool(set(drawn) & set(dataset.positives[query])))
    assert chance(dataset.retrieval_set)["recall@5"] == pytest.approx(np.mean(hits), abs=0.03)


def test_the_merged_scope_searches_all_cities(tiny_tree):
    apart, together = (load(tiny_tree, Protocol(scope=scope)).retrieval_set for scope in ("city", "merged"))
    assert len(list(apart.spans())) == 2 and apart.queries.names.tolist() == together.queries.names.tolist()
    assert list(together.spans()) == [(slice(0, len(apart.queries)), slice(0, len(apart.database)))]
    assert [row.tolist() for row in apart.positives] == [row.tolist() for row in together.positives]
    assert chance(together)["recall@1"] < chance(apart)["recall@1"]
