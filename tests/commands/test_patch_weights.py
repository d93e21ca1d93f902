"""A run with learnt weights of patches, in every command that compares patches."""

import json

import numpy as np
import pytest
from commands import evaluate, refused
from safetensors.numpy import load_file, save_file
from tiny import LABELS, SMALL

import vpr
from tools.photo_folder import write_side
from vpr import extract, locate, map, match, scratch
from vpr.cache import DescriptorCache
from vpr.distill import classes as retrieval
from vpr.eval import msls
from vpr.maps.map_sample import FEWEST
from vpr.retrieval.settings import RerankConfig

pytestmark = pytest.mark.slow
LEARNT = {"weight": 40.0, "marginals": "learnt", "epsilon": 0.05, "mass": 0.7}


@pytest.fixture(scope="module")
def run(tiny_tree, tmp_path_factory):
    """A run whose weights count fully, and which is calibrated with them."""
    out = tmp_path_factory.mktemp("weighted") / "run"
    more = ["--grid", "3", "--held-out", "", "--patch-weights"]
    assert scratch.main(["--data", str(tiny_tree), "--out", str(out), *SMALL, *more]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["patch_weights"] == {"kept_share": 1.0} and "calibration" not in metrics
    (out / "metrics.json").write_text(json.dumps({**metrics, "calibration": LEARNT}))
    # a few photos teach little: weights that go by how a patch differs from the mean of all
    patches = vpr.load(out, "cpu").describe(sorted(tiny_tree.rglob("*.jpg"))[:20]).patches.astype("f4").reshape(-1, 16)
    mean, rng = patches.mean(0), np.random.default_rng(0)
    weights = load_file(out / "model.safetensors")
    hidden = rng.normal(size=(len(weights["patch_weights.hidden.bias"]), len(mean)))
    hidden /= (patches - mean).std() * len(mean) ** 0.5
    weights["patch_weights.hidden.weight"] = np.pad(hidden, ((0, 0), (0, 2))).astype("f4")
    weights["patch_weights.hidden.bias"] = (-hidden @ mean).astype("f4")
    weights["patch_weights.out.weight"] = rng.normal(size=(1, len(hidden))).astype("f4")
    save_file(weights, out / "model.safetensors")
    return out


@pytest.fixture(scope="module")
def photos(tiny_tree, tmp_path_factory):
    """A city as folders of photos, by their sides."""
    folder = tmp_path_factory.mktemp("photos")
    for side in ("database", "query"):
        for city in ("cph", "sf"):
            write_side(tiny_tree, city, side, folder)
    return {side: sorted((folder / side).rglob("*.jpg")) for side in ("database", "query")}


def test_a_match_and_a_ranking_go_by_them(run, photos, tmp_path):
    opened, pair = vpr.load(run, "cpu"), (photos["query"][0], photos["database"][0])
    described = opened.describe(list(pair))
    assert described.weights.std() > 0.01
    found = opened.match(*pair)
    ranking = opened.rank(opened.describe(pair[0]), opened.describe(pair[1]))
    assert ranking.scores[0, 0] == pytest.approx(found.score(40.0), abs=1e-3)
    out = tmp_path / "m.json"
    assert (
        match.main(
            [
                *[str(photo) for photo in pair],
                "--run",
                str(run),
                "--json",
                str(out),
                "--out",
                str(out.with_suffix(".png")),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    said = json.loads(out.read_text())
    assert said["settings"]["marginals"] == "learnt"
    assert said["scores"]["structural"] == pytest.approx(found.match.score, abs=1e-5)
    assert opened.match(*pair, RerankConfig("complement", mass=0.7)).match.score != found.match.score


def test_a_map_goes_by_them(run, photos, tmp_path):
    where, out = tmp_path / "map", tmp_path / "a.json"
    given = [str(photos["database"][0].parents[1]), "--run", str(run), "--device", "cpu"]
    assert map.main([str(where), "add", *given]) == 0
    cache = DescriptorCache(where / "descriptors.h5")
    assert cache.spec.weights and len(cache) >= FEWEST  # a smaller map does not search for its own photos
    pairs = tmp_path / "pairs.txt"
    assert map.main([str(where), "pairs", "--rerank", "--out", str(pairs), "--device", "cpu"]) == 0
    assert len(pairs.read_text().splitlines()) >= len(cache)
    query = photos["query"][0]
    assert locate.main([str(where), str(query), "--json", str(out), "--device", "cpu"]) == 0
    best = json.loads(out.read_text())["photos"][0]["matches"][0]
    name = next(photo for photo in photos["database"] if photo.name == best["photo"].split("/")[-1])
    opened = vpr.load(run, "cpu")
    plain = opened.match(query, name, RerankConfig("complement", mass=0.7)).match.score
    assert best["s_struct"] == pytest.approx(opened.match(query, name).match.score, abs=1e-5)
    assert best["s_struct"] != pytest.approx(plain, abs=5e-5)


@pytest.mark.parametrize("patches", ["float16", "int8"])
def test_an_evaluation_goes_by_them(run, tiny_tree, tmp_path, patches):
    results = {}
    for marginals in ("learnt", "complement", ""):
        more = ["--marginals", marginals] if marginals else []
        table = tmp_path / f"{marginals}.csv"
        evaluate(tiny_tree, run, tmp_path, "--rerank", "--patches", patches, "--confidence", table, *more)
        results[marginals] = table.read_text()  # with separations
    assert results[""] == results["learnt"] != results["complement"]


def test_caches_have_them_and_other_runs_refuse_them(run, tiny_tree, distilled_run, tmp_path, capsys):
    path = tmp_path / "a.h5"
    given = ["--run", str(run), "--data", str(tiny_tree), "--cache", str(path), "--device", "cpu"]
    assert extract.main(given) == 0
    weights = DescriptorCache(path).weights
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    given = ["--run", str(distilled_run), "--data", str(tiny_tree), "--rerank", "--marginals", "learnt"]
    assert "has no learnt weights of its patches" in refused(capsys, msls.main, *given)


def test_class_labels_learn_them_once(tiny_set, tmp_path):
    out = tmp_path / "run"
    assert retrieval.main(["--data", str(tiny_set), "--out", str(out), *LABELS, "--patch-weights"]) == 0
    assert "patch_weights.span" in load_file(out / "model.safetensors")
    assert "patch_weights.span" not in load_file(out / "base" / "model.safetensors")
