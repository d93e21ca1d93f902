"""Evaluation and extraction by the commands: what they write, what they keep."""

import csv
import json
import os
import zipfile

import pytest
from commands import evaluate
from PIL import Image

from vpr import extract
from vpr.cache import DescriptorCache
from vpr.eval import submission

pytestmark = pytest.mark.slow


def test_reranking_twice_gives_the_same_numbers_and_the_second_time_uses_the_cache(
    tiny_tree, run_copy, tmp_path, seams, validation
):
    images = seams.watch("vpr.description.image_files.read_uncropped")
    first = evaluate(tiny_tree, run_copy, tmp_path, "--rerank")
    assert len(list((run_copy / "cache").glob("*.h5"))) == 1
    images.forbid()
    second = evaluate(tiny_tree, run_copy, tmp_path, "--rerank")
    assert first["results"] == second["results"] and set(first["results"]) == {"shortlist", "rerank"}
    assert first["protocol"] == {
        "split": "val", "cities": ["cph", "sf"], "task": "im2im", "subtask": "all",
        "seq_length": 1, "radius_m": 25.0, "scope": "city",
    }  # fmt: skip
    assert first["counts"] == validation.retrieval_set.counts() and set(first["counts"]) == {
        "queries", "queries_without_positives", "database",
    }  # fmt: skip
    for metrics in first["results"].values():
        assert {f"{name}@{k}" for name in ("recall", "map") for k in (1, 5, 10, 20)} <= set(metrics)
        recalls = [metrics[f"recall@{k}"] for k in (1, 5, 10, 20)]
        assert recalls == sorted(recalls) and recalls[0] >= 0 and recalls[-1] <= 1
        assert all(0 <= share <= 1 for share in metrics["confidence"]["auprc"].values())
    stages = {"shortlist_per_query", "rerank_per_query"}
    assert set(first["latency_ms"]) == {"describe_per_image", *stages}
    assert set(second["latency_ms"]) == stages  # every image was in the cache: none was described
    assert all(value > 0 for value in first["latency_ms"].values())
    assert (run_copy / "log.txt").is_file()


def test_reranking_only_permutes_the_shortlist(tiny_tree, run_copy, tmp_path):
    rankings = []
    for more in ([], ["--rerank", "--weight", "5"]):
        evaluate(tiny_tree, run_copy, tmp_path, "--depth", "10", "--submission", tmp_path / "s.csv", *more)
        rows = [line.split() for line in (tmp_path / "s.csv").read_text().splitlines() if not line.startswith("#")]
        rankings.append({row[0]: row[1:] for row in rows})
    assert rankings[0].keys() == rankings[1].keys() and rankings[0] != rankings[1]
    assert all(sorted(rankings[0][query]) == sorted(rankings[1][query]) for query in rankings[0])


@pytest.mark.parametrize(("split", "suffix"), [("val", "zip"), ("test", "zip"), ("val", "csv")])
def test_a_submission_is_valid(tiny_tree, distilled_run, tmp_path, capsys, split, suffix):
    path = tmp_path / f"s.{suffix}"
    evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--submission", path, "--split", split)
    assert "submission: " in capsys.readouterr().out
    assert submission.main([str(path), "--data", str(tiny_tree), "--split", split]) == 0
    if suffix == "zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["s.csv"]


def test_a_perfect_prediction_file_scores_1_without_a_model(tiny_tree, perfect, tmp_path):
    record = evaluate(tiny_tree, tmp_path / "no-run", tmp_path, "--predictions", perfect)
    assert set(record["results"]) == {"predictions"}
    assert all(record["results"]["predictions"][f"recall@{k}"] == 1 for k in (1, 5, 10, 20))


def test_a_perfect_prediction_file_is_reranked(tiny_tree, distilled_run, perfect, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--shortlist", perfect, "--rerank")
    assert record["results"]["shortlist"]["recall@1"] == 1 and record["fusion"]["rule"] == "trust"
    assert record["results"]["rerank"]["recall@10"] == 1  # permuted, nothing lost
    assert record["fusion"]["lambda"] is not None  # its size depends on the tiny run, and so on the processor
    confidence = record["results"]["shortlist"]["confidence"]
    assert confidence == {"auprc": dict.fromkeys(("ours", "l2", "pa", "sue")), "ece": None}  # a file has no scores
    ours = evaluate(tiny_tree, distilled_run, tmp_path, "--shortlist", perfect, "--rerank", "--fusion", "similarity")
    assert (
        ours["fusion"] == {"rule": "similarity", "lambda": None}
        and ours["results"]["shortlist"] == record["results"]["shortlist"]
    )


def test_the_teachers_shortlist_is_reranked(tiny_tree, distilled_run, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--shortlist", "teacher", "--rerank")
    assert set(record["results"]) == {"shortlist", "rerank"} and record["fusion"]["rule"] == "trust"


def test_sequences_are_reranked(tiny_tree, distilled_run, tmp_path):
    record = evaluate(tiny_tree, distilled_run, tmp_path, "--rerank", "--task", "seq2seq", "--seq-length", "3")
    assert record["protocol"]["seq_length"] == 3 and set(record["results"]) == {"shortlist", "rerank"}


def test_extraction_resumes_and_serves_evaluation(tiny_tree, run_copy, tmp_path, seams):
    images, path = seams.watch("vpr.description.image_files.read_uncropped"), tmp_path / "a.h5"
    arguments = ["--run", str(run_copy), "--data", str(tiny_tree), "--cache", str(path), "--device", "cpu"]
    assert extract.main(arguments) == 0
    whole = path.read_bytes()
    cache = DescriptorCache(path)
    assert cache.done.all() and cache.spec.patches == 9 and cache.spec.dim == 16
    os.truncate(path, len(whole) - 1000)
    assert extract.main(arguments) == 0 and path.read_bytes() == whole
    images.forbid()
    evaluate(tiny_tree, run_copy, tmp_path, "--rerank", "--cache", path)


def test_images_of_other_sizes_and_kinds_are_described(tree_copy, run_copy, tmp_path):
    photos = sorted((tree_copy / "train_val/cph/database/images").iterdir())
    Image.open(photos[0]).convert("L").resize((80, 300)).save(photos[0])
    Image.open(photos[1]).resize((500, 40)).save(photos[1])
    evaluate(tree_copy, run_copy, tmp_path, "--cities", "cph")


def test_evaluation_takes_what_the_calibration_recorded(tiny_tree, run_copy, tmp_path):
    """The mass and the weight of the run, unless others are asked for."""
    metrics = json.loads((run_copy / "metrics.json").read_text())
    results = []
    for mass in (1.0, 0.5):
        metrics["calibration"] |= {"mass": mass, "weight": 20.0, "marginals": "uniform"}
        (run_copy / "metrics.json").write_text(json.dumps(metrics))
        results.append([evaluate(tiny_tree, run_copy, tmp_path, "--rerank", *more) for more in ([], ["--mass", "1"])])
    asked = [record["results"]["rerank"] for _, record in results]
    taken = [record["results"]["rerank"] for record, _ in results]
    assert taken[0] == asked[0] == asked[1] != taken[1]
    assert all(record["weight"] == 20 and record["adapted"] is False for record, _ in results)


def test_a_map_that_is_large_enough_is_adapted_to(tiny_tree, run_copy, tmp_path, monkeypatch):
    monkeypatch.setattr("vpr.description.adaptation.GLOBAL_DIM", 24)
    monkeypatch.setattr("vpr.description.adaptation.CLUSTERS", 4)
    plain, adapted, again = (
        evaluate(tiny_tree, run_copy, tmp_path, "--rerank", *more) for more in ([], ["--adapt"], ["--adapt"])
    )
    assert (plain["adapted"], adapted["adapted"]) == (False, True) and adapted["results"] == again["results"]
    assert plain["results"]["shortlist"] != adapted["results"]["shortlist"]
    assert len(list((run_copy / "cache").glob("adaptation-*.safetensors"))) == 1


def test_the_weights_in_the_box_need_no_run(tiny_tree, tmp_path):
    record = evaluate(tiny_tree, "builtin", tmp_path, "--rerank", "--confidence", tmp_path / "sure.csv")
    assert 0 <= record["results"]["rerank"]["confidence"]["ece"] <= 1
    with (tmp_path / "sure.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 29 and set(rows[0]) == {"query", "answer", "separation", "probability"}
    by_separation = sorted(rows, key=lambda row: float(row["separation"]))
    assert by_separation == sorted(by_separation, key=lambda row: float(row["probability"]))
    assert record["weight"] > 0 and record["adapted"] is True
    assert record["results"]["rerank"]["recall@5"] > 0.5
