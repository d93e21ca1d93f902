"""The geometry of transport plans: planted maps are found, scattered matches are not, and compiled equals readable."""

import numpy as np
import pytest
from problems import images, unit

from vpr.similarity import structural_similarity, structural_similarity_pairs
from vpr.transport import TransportError
from vpr.transport.cpu import geometry as compiled
from vpr.transport.geometry import pair_geometry, plan_geometry, score_with_geometry
from vpr.transport.geometry_reference import DOUBT, PatchGeometry, grid_positions, grid_side
from vpr.transport.geometry_reference import plan_geometry as readable
from vpr.transport.problem import Images, Transport

PATCHES = 100
MAPS = {
    "identity": [[1, 0, 0], [0, 1, 0]],
    "far shift": [[1, 0, 3.3], [0, 1, -2.6]],
    "zoom": [[1.5, 0, 0.4], [0, 1.5, -0.7]],
    "turn": [[0.9, -0.3, 1.2], [0.3, 0.9, 0.5]],
    "shear": [[1.2, 0.25, -1.0], [0.05, 0.8, 0.6]],
    "mirror": [[-1, 0, 0], [0, 1, 0]],
}


def planted(transform, wrong=0.0, seed=0):
    """A plan (P, P) whose mass goes to the patches around the images of the query patches, some of it at random.

    wrong: the share of patches whose mass goes to a random patch. Patches whose image is outside move nothing.
    """
    rng, there = np.random.default_rng(seed), grid_positions(PATCHES)
    target = np.column_stack([there, np.ones(PATCHES)]) @ np.transpose(transform)
    distance = np.linalg.norm(target[:, None] - there[None], axis=2)
    plan = np.exp(-(distance**2) / 0.5) * (abs(target) < 5).all(1)[:, None]
    lost = rng.permutation(PATCHES)[: round(wrong * PATCHES)]
    plan[lost] = 0
    plan[lost, rng.integers(PATCHES, size=len(lost))] = 1
    plan += 1e-6 * rng.random(plan.shape)
    return (plan / plan.sum()).astype("f4")


def corner_error(found, transform):
    """Largest distance, in cells, between two maps over the patches whose image is inside."""
    points = np.column_stack([grid_positions(PATCHES), np.ones(PATCHES)])
    there = points @ np.transpose(transform)
    return np.linalg.norm(points @ found.T - there, axis=1)[(abs(there) < 4.5).all(1)].max()


@pytest.mark.parametrize(("wrong", "allowed"), [(0.0, 0.1), (0.2, 0.15)])  # share of wrong matches, cells
@pytest.mark.parametrize("name", [name for name in MAPS if name != "mirror"])
def test_a_planted_map_is_found(name, wrong, allowed):
    result = plan_geometry(planted(MAPS[name], wrong)[None])
    assert corner_error(result.transform[0], MAPS[name]) < allowed
    assert result.determinant[0] == pytest.approx(np.linalg.det(np.array(MAPS[name])[:, :2]), abs=0.12)
    assert result.score[0] == result.inlier_mass[0] > 0.3


def test_a_mirrored_picture_is_doubtful():
    result = plan_geometry(planted(MAPS["mirror"])[None])
    assert result.determinant[0] < 0
    assert result.score[0] == pytest.approx(DOUBT * result.inlier_mass[0])


def test_scattered_matches_follow_no_map():
    rng = np.random.default_rng(0)
    plan = planted(MAPS["identity"])
    scattered = np.stack([plan[:, rng.permutation(PATCHES)] for _ in range(200)])
    assert plan_geometry(scattered).score.max() < 0.2 < 0.6 < plan_geometry(plan[None]).score[0]


@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (49, 49), (100, 25)])
def test_compiled_equals_readable(shape):
    rng = np.random.default_rng(1)
    plans = rng.random((40, *shape)).astype("f4") ** 8
    plans[0] = 0  # a plan that moves nothing
    plans[1] = 1 / plans[1].size  # all matches are equal
    plans[2] = 0
    plans[2, 0, -1] = 1  # one match
    found = compiled.plan_geometry(np.ascontiguousarray(plans.swapaxes(1, 2)))
    for field, expected in zip(found, readable(plans)):
        assert np.isfinite(field).all() and field.dtype == np.float32
        np.testing.assert_allclose(field[:3], expected[:3], atol=5e-3)  # hardly solvable
        np.testing.assert_allclose(field[3:], expected[3:], atol=2e-4, rtol=2e-4)


def test_stretch_is_the_singular_values():
    transform = np.random.default_rng(2).normal(size=(50, 2, 3)).astype("f4")
    result = PatchGeometry(transform, np.ones(50, "f4"), np.zeros(50, "f4"))
    singular = np.linalg.svd(transform[:, :, :2], compute_uv=False)
    np.testing.assert_allclose(result.stretch, singular, atol=1e-5)
    np.testing.assert_allclose(abs(result.determinant), singular.prod(1), atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_pairs_in_any_order_have_the_geometry_of_their_plans(weighted, monkeypatch):
    rng = np.random.default_rng(3)
    _, database, _, theirs = images(6, 9, 16, 12)
    queries = unit(rng.normal(size=(3, 9, 12))).astype("f4")
    own = unit(queries.mean(1))
    pairs = rng.permutation(np.repeat(np.arange(3), 4)), rng.integers(6, size=12)
    weights = (rng.random((3, 9)).astype("f4"), rng.random((6, 16)).astype("f4")) if weighted else None
    monkeypatch.setattr("vpr.transport.cpu.geometry.PLAN_FLOATS", 3 * 9 * 16)  # three pairs at a time
    found = pair_geometry(queries, database, own, theirs, pairs, Transport(mass=0.7), weights=weights)
    for n, (query, image) in enumerate(zip(*pairs)):
        given = None if weights is None else (weights[0][query], weights[1][[image]])
        problem = queries[query], database[[image]], own[query], theirs[[image]]
        plan = structural_similarity(*problem, mass=0.7, weights=given, plan=True, tolerance=1e-3).plan
        np.testing.assert_allclose(found.transform[n], plan_geometry(plan).transform[0], atol=2e-2)
        np.testing.assert_allclose(found.score[n], plan_geometry(plan).score[0], atol=1e-2)


@pytest.mark.parametrize("pairs_in_memory", [3, 5, 1000], ids=["too few for a query", "a query", "all"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_and_geometry_of_one_solution_are_those_of_two(weighted, pairs_in_memory, monkeypatch):
    rng = np.random.default_rng(4)
    _, database, _, theirs = images(6, 9, 16, 12)
    queries = unit(rng.normal(size=(4, 9, 12))).astype("f4")
    sets = Images(queries, database, unit(queries.mean(1)), theirs)
    pairs = np.array([0, 0, 0, 0, 2, 2, 2, 3, 3]), rng.integers(6, size=9)
    weights = (rng.random((4, 9)).astype("f4"), rng.random((6, 16)).astype("f4")) if weighted else None
    monkeypatch.setattr("vpr.transport.cpu.geometry.PLAN_FLOATS", pairs_in_memory * 9 * 16)
    asked = np.zeros(9, int)

    def best_two(part, scores):
        asked[part] += 1
        assert set(pairs[0][part]).isdisjoint(np.delete(pairs[0], part)), "a query is not divided"
        of_query = [np.flatnonzero(pairs[0][part] == query) for query in np.unique(pairs[0][part])]
        return np.concatenate([places[np.argsort(-scores[places])[:2]] for places in of_query])

    scores, geometry = score_with_geometry(sets, pairs, best_two, Transport(mass=0.7), weights=weights)
    assert (asked == 1).all() and np.isfinite(geometry).sum() == 6
    expected = structural_similarity_pairs(*sets, pairs, Transport(mass=0.7), weights=weights).score
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    chosen = np.flatnonzero(np.isfinite(geometry))
    some = pairs[0][chosen], pairs[1][chosen]
    made_again = pair_geometry(*sets, some, Transport(mass=0.7), weights=weights).score
    np.testing.assert_allclose(geometry[chosen], made_again, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sets, pairs: (sets._replace(database_patches=sets.database_patches[..., 1:]), pairs), "patches have"),
        (lambda sets, pairs: (sets._replace(database_global=sets.database_global[1:]), pairs), "global descriptors"),
        (lambda sets, pairs: (sets, (pairs[0], pairs[1][1:])), "give .N,. twice"),
        (lambda sets, pairs: (sets, (pairs[0] + 9, pairs[1])), "not indices"),
    ],
    ids=["channels", "globals", "pairs", "indices"],
)
def test_images_and_pairs_that_do_not_fit_are_refused(change, words):
    query, database, own, theirs = images(6, 9, 16, 12)
    sets, pairs = change(Images(query[None], database, own[None], theirs), (np.zeros(2, int), np.arange(2)))
    with pytest.raises(TransportError, match=words):
        score_with_geometry(sets, pairs, lambda part, scores: np.arange(len(scores)), Transport())
    with pytest.raises(TransportError, match=words):
        pair_geometry(*sets, pairs, Transport())


def test_patches_that_are_no_grid_are_refused():
    with pytest.raises(TransportError, match="12 patches"):
        grid_side(12)
    with pytest.raises(TransportError, match="12 patches"):
        plan_geometry(np.ones((1, 9, 12), "f4"))
