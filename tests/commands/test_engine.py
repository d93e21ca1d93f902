"""Commands describe photos by ONNX Runtime, and answer as they do by torch."""

import json
import logging

import numpy as np
import onnxruntime
import pytest
from commands import module_of, refused
from photos import write_photos

from vpr.cache import DescriptorCache
from vpr.models.engine import VARIABLE


@pytest.fixture(params=["auto", "torch"])
def engine(request, monkeypatch):
    """The engine that ``auto`` means."""
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


def run(command, *arguments):
    assert module_of(command).main([str(argument) for argument in arguments]) == 0


RESULTS = {}


def test_both_engines_give_the_same_answers(engine, tiny_tree, tmp_path, caplog):
    """Descriptors up to rounding, and the same rankings and positions."""
    common = ["--run", "builtin", "--data", tiny_tree, "--device", "cpu"]
    with caplog.at_level(logging.INFO, "vpr"):
        run("eval.msls", *common, "--rerank", "--cache", tmp_path / "a.h5", "--json", tmp_path / "a.json")
    assert ("engine: ONNX Runtime" in caplog.text) == (engine == "auto")
    photos = write_photos(tmp_path / "photos", range(8))
    run("vpr.map", tmp_path / "map", "add", photos, "--run", "builtin", "--device", "cpu")
    run("vpr.locate", tmp_path / "map", photos, "--device", "cpu", "--csv", tmp_path / "a.csv")
    cache = DescriptorCache(tmp_path / "a.h5")
    found = {
        "scores": json.loads((tmp_path / "a.json").read_text())["results"],
        "located": (tmp_path / "a.csv").read_text().replace(str(tmp_path), ""),
        "global": np.array(cache.globals_),
        "patches": np.array(cache.patches, np.float32),
    }
    before = RESULTS.setdefault("first", found)
    np.testing.assert_allclose(found["global"], before["global"], atol=1e-5)
    np.testing.assert_allclose(found["patches"], before["patches"], atol=1e-3)  # a step of float16
    for stage, scores in found["scores"].items():
        assert dict(scores, confidence=0) == dict(before["scores"][stage], confidence=0), stage
    assert found["located"].split(",")[:2] == before["located"].split(",")[:2]


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


def test_what_cannot_be_exported_is_named(tmp_path, capsys, monkeypatch):
    main = module_of("vpr.export").main
    assert "no run at" in refused(capsys, main, "--run", tmp_path / "none", "--out", tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_text("notes")
    assert "is no ONNX file" in refused(capsys, main, "--run", "builtin", "--out", tmp_path / "a.onnx")
    monkeypatch.setenv(VARIABLE, "fast")
    line = refused(capsys, module_of("eval.msls").main, "--run", "builtin", "--data", tmp_path)
    assert "VPR_ENGINE is 'fast'" in line or "not an MSLS tree" in line
