"""Commands describe photos by ONNX Runtime, and answer as they do by torch."""

import csv
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from commands import module_of, refused
from photos import write_photos

from vpr.cache import DescriptorCache
from vpr.models.onnx_network import VARIABLE


def run(command, *arguments):
    assert module_of(command).main([str(argument) for argument in arguments]) == 0


def rows_of(path):
    """The rows of ``--csv`` by the name of the photo; numbers are floats, and photos are names."""
    rows = {}
    for row in csv.DictReader(path.open()):
        name, match = (Path(row.pop(column)).name for column in ("photo", "match"))
        del row["map"]  # each engine has a map of its own
        rows[name] = {"match": match, **{column: _number(text) for column, text in row.items()}}
    return rows


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text


WITHOUT_TORCH = """
import sys
from vpr.locate import main
code = main(sys.argv[1:])
heavy = {"torch", "timm", "torchvision", "lightning_fabric", "onnx", "onnx_ir", "onnxscript", "sklearn", "faiss",
         "pandas", "matplotlib"} & set(sys.modules)
from vpr.base.machine import thread_count
threads = thread_count()
import torch
sys.exit(code or ", ".join(heavy) or ("" if threads == torch.get_num_threads() else f"{threads} threads") or 0)
"""


def check_a_photo_is_located_without_torch(folder, photo, row):
    """A command of its own, which starts in a second: it imports nothing heavy, and answers as before."""
    arguments = [folder / "map", photo, "--device", "cpu", "--csv", folder / "one.csv"]
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "engine: ONNX Runtime" in done.stderr and rows_of(folder / "one.csv") == {photo.name: row}


TOLERANCES = {"latitude": 1e-6, "longitude": 1e-6, "radius_m": 0.1, "match_metres": 0.1}  # degrees, metres


def test_both_engines_give_the_same_answers(tiny_tree, tmp_path, monkeypatch, caplog):
    """Descriptors up to rounding, and the same rankings and positions."""
    photos, found = write_photos(tmp_path / "photos", range(8)), {}
    for engine in ("auto", "torch"):
        monkeypatch.setenv(VARIABLE, engine)
        caplog.clear()
        out = tmp_path / engine
        out.mkdir()
        common = ["--run", "builtin", "--data", tiny_tree, "--device", "cpu"]
        with caplog.at_level(logging.INFO, "vpr"):
            run("eval.msls", *common, "--rerank", "--cache", out / "a.h5", "--json", out / "a.json")
        assert ("engine: ONNX Runtime" in caplog.text) == (engine == "auto")
        run("vpr.map", out / "map", "add", photos, "--run", "builtin", "--device", "cpu")
        run("vpr.locate", out / "map", photos, "--device", "cpu", "--csv", out / "a.csv")
        cache = DescriptorCache(out / "a.h5")
        found[engine] = {
            "scores": json.loads((out / "a.json").read_text())["results"],
            "located": rows_of(out / "a.csv"),
            "global": np.array(cache.globals_),
            "patches": np.array(cache.patches, np.float32),
        }
    ours, others = found["auto"], found["torch"]
    np.testing.assert_allclose(ours["global"], others["global"], atol=1e-5)
    assert (ours["global"] != others["global"]).any(), "two engines, which round in other places"
    np.testing.assert_allclose(ours["patches"], others["patches"], atol=1e-3)  # a step of float16
    assert ours["scores"].keys() == others["scores"].keys() and "rerank" in ours["scores"]
    for stage, scores in ours["scores"].items():
        assert dict(scores, confidence=0) == dict(others["scores"][stage], confidence=0), stage
    assert ours["located"].keys() == others["located"].keys() == {f"{number:03d}.jpg" for number in range(8)}
    check_a_photo_is_located_without_torch(tmp_path / "auto", photos / "003.jpg", ours["located"]["003.jpg"])
    for photo, row in ours["located"].items():
        assert row["on_map"] == "True" and row["match"] == photo
        wanted = others["located"][photo]
        assert row == {
            name: pytest.approx(value, abs=TOLERANCES[name]) if name in TOLERANCES else value
            for name, value in wanted.items()
        }


def test_a_cache_takes_the_descriptors_of_both_engines(tiny_tree, tmp_path, monkeypatch):
    common = ["--run", "builtin", "--data", tiny_tree, "--cache", tmp_path / "a.h5", "--device", "cpu"]
    monkeypatch.setenv(VARIABLE, "torch")
    run("vpr.extract", *common, "--cities", "cph")
    monkeypatch.setenv(VARIABLE, "onnx")
    run("vpr.extract", *common)
    assert DescriptorCache(tmp_path / "a.h5").done[:].all()


def test_an_exported_run_describes_what_the_run_describes(tmp_path, capsys):
    out = tmp_path / "place.onnx"
    run("vpr.export", "--run", "builtin", "--out", out)
    assert "images (N, 3, 160, 160) uint8 to unit vectors" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(out))
    metadata = json.loads(session.get_modelmeta().custom_metadata_map["vpr"])
    assert metadata["input_size"] == [160, 160] and metadata["model"] == "builtin" and metadata["weight"] > 0
    assert metadata["patches"] == [100, 112] and metadata["global"] == 128
    before = out.read_bytes()
    run("vpr.export", "--run", "builtin", "--out", out)
    assert out.read_bytes() == before


def test_what_cannot_be_exported_is_named(tiny_tree, tmp_path, capsys, monkeypatch):
    main = module_of("vpr.export").main
    assert "no run at" in refused(capsys, main, "--run", tmp_path / "none", "--out", tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_text("notes")
    assert "is no ONNX file" in refused(capsys, main, "--run", "builtin", "--out", tmp_path / "a.onnx")
    monkeypatch.setenv(VARIABLE, "fast")
    given = ["--run", "builtin", "--data", tiny_tree, "--cache", tmp_path / "a.h5", "--device", "cpu"]
    assert "VPR_ENGINE is 'fast'; set it to one of" in refused(capsys, module_of("eval.msls").main, *given)
