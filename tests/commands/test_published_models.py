"""Published models and networks of timm in the commands, by tiny networks in torch.hub's cache."""

import json
import shutil
from urllib.error import URLError

import numpy as np
import pytest
from commands import evaluate, refused
from hub_repositories import write_repositories
from layouts import as_numpy
from photos import write_photos
from safetensors.numpy import load_file
from tiny import SMALL

import vpr
from vpr import extract, locate, map, match
from vpr.cache import DescriptorCache
from vpr.datasets.msls import Protocol
from vpr.datasets.msls import load as load_msls
from vpr.description.adaptation import fit_adaptation
from vpr.distill import __main__ as distill
from vpr.distill.data import training_photos
from vpr.eval import compare

GRID = 5
CPU = ["--device", "cpu"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The folder of torch.hub's cache, with the code of the published models; there is no network."""

    def no_network(*rest, **options):
        raise URLError("no route")

    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    return write_repositories(tmp_path / "torch" / "hub")


@pytest.fixture
def code(hub):
    """The code of a published model in a folder, whose files are local: no question of a branch."""
    shutil.copytree(hub / "gmberton_MegaLoc_main", hub.parent.parent / "MegaLoc")
    return hub.parent.parent / "MegaLoc"


def named(code):
    return f"megaloc:{code}@140x{GRID}"


def run(main, *arguments):
    assert main([str(argument) for argument in arguments]) == 0


def test_the_shortlist_is_the_models_own_and_the_patches_are_whitened_on_the_database(tiny_tree, tmp_path, code):
    """The shortlist has the recall of the descriptors alone; the cache has them, and an adaptation without VLAD."""
    name, cache = named(code), tmp_path / "a.h5"
    found = evaluate(tiny_tree, name, tmp_path, "--rerank", "--trust", "--cache", cache)
    assert found["adapted"] and found["model"]["name"] == name and len(found["model"]["code_sha256"]) == 64
    described = DescriptorCache(cache)
    assert described.spec.global_dim == 40 and described.spec.patches == GRID**2 and described.spec.keeps_globals
    keys = described.keys.tolist()
    own = as_numpy(tmp_path, keys, np.asarray(described.globals_))
    other = evaluate(tiny_tree, "builtin", tmp_path, "--shortlist", own, "--no-adapt")
    assert found["results"]["shortlist"]["recall@5"] == other["results"]["shortlist"]["recall@5"]
    (file,) = tmp_path.glob("adaptation-*.safetensors")
    arrays, data = load_file(file), load_msls(tiny_tree, Protocol()).retrieval_set
    expected = fit_adaptation(described, described.find(np.unique(data.database.images)))
    assert expected.summary is None and {*arrays} == {"mean", "components"}
    np.testing.assert_allclose(arrays["components"], expected.components, atol=1e-6)


def test_a_cache_of_other_code_is_not_taken(tiny_tree, tmp_path, code, capsys):
    options = ["--run", named(code), "--trust", "--data", tiny_tree, "--cache", tmp_path / "a.h5", *CPU]
    run(extract.main, *options)
    (code / "utils.py").write_text((code / "utils.py").read_text() + "# changed\n")
    assert "was made by another model" in refused(capsys, extract.main, *options)
    assert "which can do anything on this machine" in refused(capsys, extract.main, *options[:2], *options[3:])


def test_a_map_is_made_and_used_by_a_published_model(tmp_path, code, capsys):
    folder, photos = tmp_path / "map", write_photos(tmp_path / "photos", range(8))
    run(map.main, folder, "add", photos, "--run", named(code), "--trust", *CPU)
    state = json.loads((folder / "map.json").read_text())
    assert state["run"] == named(code) and state["adapted_to"] == 8
    content = vpr.Map.open(folder, trust=True).content
    cache = DescriptorCache(folder / "descriptors.h5")
    np.testing.assert_array_equal(content.global_descriptors, cache.globals_[cache.find(content.table.described_as)])
    run(locate.main, folder, photos / "003.jpg", "--trust", "--json", tmp_path / "a.json", *CPU)
    (found,) = json.loads((tmp_path / "a.json").read_text())["photos"]
    assert found["matches"][0]["photo"].endswith("003.jpg") and found["matches"][0]["s_global"] > 0.999
    question = [folder, photos / "003.jpg", *CPU]
    assert "read it, and pass --trust" in refused(capsys, locate.main, *question)
    hubconf = code / "hubconf.py"
    hubconf.write_text(hubconf.read_text().replace("3 * ", "-1 * "))
    assert "the code or the weights of megaloc:" in refused(capsys, locate.main, *question, "--trust")


def test_a_map_of_coded_patches_keeps_the_models_own_descriptors(tmp_path, code):
    folder, photos = tmp_path / "map", write_photos(tmp_path / "photos", range(131))
    made = vpr.Map.build(folder, photos, model=vpr.load(named(code), "cpu", trust=True), patches="pq14")
    own = made.model.describe(photos / "007.jpg")
    row = made.content.table.keys.tolist().index(str(photos / "007.jpg"))
    np.testing.assert_allclose(made.content.global_descriptors[row], own.globals_[0], atol=1e-5)
    assert made.content.adaptation is not None and made.content.adaptation.summary is None
    assert made.locate(photos / "007.jpg").matches[0].photo == str(photos / "007.jpg")


def test_photos_are_matched(tmp_path, code):
    photos, figure = write_photos(tmp_path / "photos", range(2)), tmp_path / "a.png"
    pair = photos / "000.jpg", photos / "001.jpg"
    run(match.main, *pair, "--run", named(code), "--trust", "--out", figure)
    assert figure.exists()


def test_models_are_compared_by_their_names(tiny_tree, tmp_path, code, capsys):
    arguments = [named(code), "timm=timm:tf_efficientnet_lite0@64x4", "--data", tiny_tree, "--trust", *CPU]
    run(compare.main, *arguments, "--json", tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text())
    own = f"MegaLoc@140x{GRID}"
    assert {own, f"{own}, re-ranked", "timm", "timm, re-ranked"} <= {*rows}


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["megaloc@140", "eigenplaces-resnet18-512@64"])
def test_a_student_of_a_published_teacher_is_that_of_its_descriptors(tiny_tree, tmp_path, hub, teacher):
    usual = ["--data", tiny_tree, "--grid", "3", *SMALL, "--distillation", "relational", "--seed", "0"]
    run(distill.main, *usual, "--teacher", teacher, "--trust", "--out", tmp_path / "a")
    names = training_photos(tiny_tree, (), ("amsterdam",))[0].paths.tolist()
    model = vpr.load(teacher, "cpu", trust=True)
    length = 40 if teacher.startswith("megaloc") else 512
    own = model.describe([tiny_tree / name for name in names]).globals_[:, :length]
    (cache,) = (tmp_path / "a" / "cache").glob("teacher-*.h5")
    taught = DescriptorCache(cache)
    rows = np.flatnonzero(taught.done)
    expected = own[[names.index(str(taught.keys[row])) for row in rows]]
    np.testing.assert_allclose(taught.globals_[rows], expected, atol=1e-5)
    assert len(rows) > 8


def test_a_model_of_others_is_not_exported(tmp_path, hub, capsys):
    from vpr import export

    assert "megaloc is code of others" in refused(capsys, export.main, "--run", "megaloc", "--out", tmp_path / "a.onnx")
