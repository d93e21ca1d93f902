"""Published models by name: what is taken out of their networks, whose code runs, and what changes a fingerprint."""

import shutil
import sys
from dataclasses import MISSING, fields, replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hub_repositories import PLAIN_NET, write_repositories
from photos import write_photo
from safetensors.torch import save_file
from torch.nn import functional as F

import vpr
from vpr.description.images import read_image
from vpr.models.model_name import ModelName, is_model_name
from vpr.models.published.adapter import Adapter
from vpr.models.published.registry import ADAPTERS, NAMES, find_adapter

ROUNDING = 1e-5  # between two ways to compute a unit vector
# the name, its global descriptor, and its patches: their length, and the side of the map
MODELS = {
    "megaloc": (40, 12, 23),
    "salad": (40, 12, 23),
    "boq": (12288, 10, 23),
    "boq-resnet50@336": (16384, 10, 24),
    "cosplace": (2048, 8, 16),
    "cosplace-resnet18-512@128": (512, 8, 4),
    "eigenplaces": (2048, 8, 16),
    "eigenplaces-vgg16-512": (512, 8, 16),
    "cricavpr": (16, 8, 16),
    "edtformer": (16, 8, 23),
    "anyloc": (24, 6, 23),
}


CHANGING = f"""
import os, sys, torch
{PLAIN_NET}

def leave():
    sys.exit(2)


def change():
    network = Net()
    os.chdir("/")
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(torch.get_num_threads() + 1)
    assert len(sys.argv) == 1
    return network
"""


@pytest.fixture
def hub(tmp_path, monkeypatch, seams):
    """The folder of torch.hub's cache, with all repositories; there is no network."""
    seams.replace("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return write_repositories(tmp_path / "torch" / "hub")


@pytest.fixture
def folder(tmp_path):
    """The code of a published model in a folder."""
    return write_repositories(tmp_path / "hub") / "gmberton_MegaLoc_main"


def no_network(*rest, **options):
    from urllib.error import URLError

    raise URLError("no route")


def load(name, trust=True):
    return vpr.load(name, device="cpu", trust=trust)


def normalised(photo, size):
    """A photo as the field gives it to such models."""
    pixels = torch.from_numpy(read_image(photo, (size, size), "bilinear").copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (pixels - mean) / std


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_its_own_global_descriptor_and_the_features_of_its_backbone(hub, tmp_path, name):
    length, channels, side = MODELS[name]
    photo, run = write_photo(tmp_path / "a.jpg", None), load(name)
    described, size = run.describe(photo), run.config.image_size
    grid = min(side, 16)
    assert described.patches.shape == (1, grid**2, channels) and run.spec.keeps_globals
    assert described.globals_.shape == (1, length + (length == channels)) and not run.calibrated
    adapter = ADAPTERS[ModelName.parse(name).name]
    owner, repository = adapter.repository.split("/")
    (code,) = [path for path in hub.iterdir() if path.name.startswith(f"{owner}_{repository}_")]
    with torch.inference_mode(), isolated():
        network = torch.hub.load(str(code), adapter.entry, source="local", **adapter.arguments).eval()
        network = getattr(network, "module", network)
        images = normalised(photo, size)
        found = network(images)
        features = network.dino_extractor(images) if name == "anyloc" else network.backbone(images)
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(described.globals_[0, :length], F.normalize(found)[0], atol=ROUNDING)
    features = features["x_norm_patchtokens"] if isinstance(features, dict) else features
    features = features[0] if isinstance(features, tuple) else features
    if features.ndim == 3:
        features = features.transpose(1, 2).unflatten(2, (side, side))
    assert features.shape == (1, channels, side, side)
    pooled = F.normalize(F.adaptive_avg_pool2d(features, grid).flatten(2), dim=1)[0].T
    np.testing.assert_allclose(described.patches[0], pooled, atol=2e-3)  # they are float16


class isolated:
    """A block whose imports are undone."""

    def __enter__(self):
        self.before, self.path = {*sys.modules}, [*sys.path]

    def __exit__(self, *error):
        sys.path[:] = self.path
        for name in {*sys.modules} - self.before:
            if not name.startswith(("torch", "vpr")):
                del sys.modules[name]


def test_equal_lengths_of_globals_and_patches_are_told_apart_by_a_zero(tmp_path):
    code = "import torch\nclass Net(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    code += "        self.backbone = torch.nn.Conv2d(3, 5, 8, 8)\n    def forward(self, x):\n"
    code += "        return self.backbone(x).mean((2, 3))\ndef net():\n    return Net()\n"
    (tmp_path / "hubconf.py").write_text(code)
    run = load(f"hub:{tmp_path}:net@64")
    described = run.describe(write_photo(tmp_path / "a.jpg", None))
    assert described.globals_.shape == (1, 6) and described.globals_[0, 5] == 0 and run.spec.dim == 5


@pytest.mark.parametrize("name", ["cricavpr", "hub:Lu-Feng/CricaVPR:other"])
def test_a_descriptor_does_not_depend_on_the_other_photos(hub, tmp_path, name):
    """Also of an entry that is not known: it is tried with one image and with two."""
    hubconf = hub / "Lu-Feng_CricaVPR_main/hubconf.py"
    hubconf.write_text(hubconf.read_text() + "\n\ndef other():\n    return trained_model()\n")
    photos = [write_photo(tmp_path / f"{number}.jpg", None, seed=number) for number in range(3)]
    run = load(name)
    together = run.describe(photos)
    for number, photo in enumerate(photos):
        np.testing.assert_allclose(run.describe(photo).globals_[0], together.globals_[number], atol=ROUNDING)


def test_the_names_are_known_and_can_be_read_back(tmp_path):
    assert {"megaloc", "salad", "boq", "eigenplaces", "cosplace", "cricavpr", "anyloc"} <= set(NAMES)
    texts = ["megaloc", "boq@224", "cosplace-vgg16-64@320x8", f"salad:{tmp_path}@322x8", "hub:a/b:dev:net@64x4"]
    texts += ["timm:resnet18", f"timm:resnet18:{tmp_path}/w.pth@96", "timm:hf-hub:a/b@224"]
    for text in texts:
        assert str(ModelName.parse(text)) == text and is_model_name(text)
    assert not any(map(is_model_name, ("runs/megaloc", "builtin", "megaloc.csv", str(tmp_path))))
    for name in NAMES:
        adapter = ADAPTERS[name]
        folder = adapter.repository.replace("/", "_") + "_main"
        assert find_adapter(adapter.repository, adapter.entry) == find_adapter(folder, adapter.entry) == adapter


def test_each_option_of_an_adapter_is_set_by_a_model():
    for field in fields(Adapter):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        assert any(getattr(adapter, field.name) != default for adapter in ADAPTERS.values()), field.name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("megaloc:nowhere/none", "cannot be loaded"),
        ("hub:net", "names no model; pass hub:OWNER/REPO:ENTRY"),
        ("timm:", "names no network"),
        ("megaloc@5000", "out of range; give @SIZE or @SIZExGRID, at most @4096x64"),
        ("megaloc@320", "takes sizes that are multiples of 14, not 320; give @308"),
        ("megaloc@140x11", "a grid of 11 is finer than the 10 patches per side"),
        ("timm:no_such_network", "timm has no model 'no_such_network'"),
        ("timm:resnet18:none.pth", "no weights at"),
        ("timm:test_vit:none.pth", "no weights at"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(tmp_path, monkeypatch, name, words):
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    write_repositories(tmp_path / "torch" / "hub")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(vpr.VprError, match="(?s).*") as error:
        load(name)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_code_of_others_runs_only_if_it_is_trusted(tmp_path):
    (tmp_path / "hubconf.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(vpr.VprError, match="which can do anything on this machine; read it, and pass --trust to run"):
        load(f"hub:{tmp_path}:net", trust=False)
    words = r"eigenplaces is code of gmberton \(https://github.com/gmberton/eigenplaces, newest revision\), and of "
    with pytest.raises(vpr.VprError, match=words + "gmberton/cosplace, which can"):
        load("eigenplaces", trust=False)
    with pytest.raises(vpr.VprError, match="gmberton/MegaLoc at abc\\), which can"):
        load("megaloc:gmberton/MegaLoc:abc", trust=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", NAMES)
def test_without_network_one_line_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch, seams, name):
    seams.replace("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(vpr.VprError) as error:
        load(name)
    adapter, text = ADAPTERS[name], str(error.value)
    folder = f"{tmp_path}/hub/{adapter.repository.replace('/', '_')}_main"
    assert f"put https://github.com/{adapter.repository} into {folder}" in text
    assert "the first time needs an internet connection" in text and "\n" not in text
    for address in adapter.weights:
        assert f"{address} into {'the cache' if 'huggingface' in address else f'{tmp_path}/hub/checkpoints'}" in text


def test_a_missing_package_is_named(tmp_path):
    (tmp_path / "hubconf.py").write_text("import no_such_package.part\n")
    with pytest.raises(vpr.VprError, match="install what its code imports: pip install no-such-package"):
        load(f"hub:{tmp_path}:net")


def test_what_code_of_others_changes_for_the_process_is_undone(tmp_path):
    """It sees no arguments of the command, and its exit is an error of one line."""
    (tmp_path / "hubconf.py").write_text(CHANGING)
    before = [Path.cwd(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), [*sys.argv]]
    with pytest.raises(vpr.VprError, match=r"cannot be loaded \(SystemExit: 2\); check its hubconf.py"):
        load(f"hub:{tmp_path}:leave")
    model = load(f"hub:{tmp_path}:change@64")
    after = [Path.cwd(), torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(), [*sys.argv]]
    assert after == before and model.spec.dim == 8


def test_modules_of_the_same_name_do_not_meet(hub, tmp_path, monkeypatch):
    """Each repository has a module ``utils``; so may the user."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "utils.py").write_text("mine = True\n")
    monkeypatch.syspath_prepend(tmp_path / "own")
    monkeypatch.delitem(sys.modules, "utils", raising=False)
    import utils  # type: ignore[import-not-found]

    before, path = {*sys.modules}, [*sys.path]
    specs = {name: load(f"{name}@140").spec for name in ("megaloc", "boq")}
    assert specs["megaloc"].dim == 12 and specs["boq"].dim == 10
    assert sys.modules["utils"] is utils and sys.path == path
    assert not {name for name in {*sys.modules} - before if not name.startswith(("torch", "vpr", "huggingface_hub"))}
    assert not [*hub.rglob("*.pyc")]
    monkeypatch.delitem(sys.modules, "utils")


def test_a_fingerprint_covers_code_weights_size_and_grid_but_not_the_place(folder, tmp_path):
    name = f"megaloc:{folder}@140"
    first = load(name).spec.fingerprint
    shutil.copytree(folder, tmp_path / "moved")
    (tmp_path / "moved" / "README.md").write_text("more")
    (tmp_path / "moved" / "train.py").write_text("not imported")
    assert load(f"megaloc:{tmp_path}/moved@140").spec.fingerprint == first == load(f"{name}x10").spec.fingerprint
    others = [load(other).spec.fingerprint for other in (f"megaloc:{folder}@154", f"{name}x5")]
    utils = (folder / "utils.py").read_text()
    (folder / "utils.py").write_text(f"{utils}# a comment\n")
    others.append(load(name).spec.fingerprint)
    (folder / "utils.py").write_text(utils)
    assert load(name).spec.fingerprint == first
    moved = load(name)
    with torch.no_grad():
        moved.network.network.aggregator.bias[0] += 1e-3
    moved.network.__dict__.pop("weights_digest", None)
    others.append(moved.spec.fingerprint)
    assert len({first, *others}) == 5


def test_a_network_of_timm_gives_the_features_of_its_weights(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0).eval()
    weights = tmp_path / "w.safetensors"
    save_file(network.state_dict(), weights)
    photo, run = write_photo(tmp_path / "a.jpg", None), load(f"timm:test_vit:{weights}", trust=False)
    pixels = torch.from_numpy(read_image(photo, (160, 160)).copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        tokens = network.forward_features((pixels - 0.5) / 0.5)[:, 1:]
    described = run.describe(photo)
    np.testing.assert_allclose(described.patches[0], F.normalize(tokens, dim=-1)[0], atol=2e-3)
    mean = F.normalize(F.normalize(tokens, dim=-1).mean(1))[0]
    np.testing.assert_allclose(described.globals_[0], mean, atol=1e-4)
    assert run.name == f"timm:test_vit:{weights}" and not run.spec.keeps_globals
    smaller = load(f"timm:test_vit:{weights}@96x3")
    assert smaller.describe(photo).patches.shape == (1, 9, 64) and smaller.spec.fingerprint != run.spec.fingerprint


def test_weights_from_timm_fit_another_size_of_the_input(seams):
    """Position embeddings are resampled; without the network timm's own function is what is replaced."""
    torch.manual_seed(0)
    made = timm.create_model("test_vit")
    create = timm.create_model
    seams.replace(
        "timm.create_model", lambda *name, pretrained=False, **more: made if pretrained else create(*name, **more)
    )
    run = load("timm:test_vit@96")
    assert run.spec.patches == 36
    np.testing.assert_array_equal(
        run.network.backbone.blocks[0].attn.qkv.weight, made.blocks[0].attn.qkv.weight.detach()
    )


def test_what_timm_would_have_to_download_is_one_line(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(vpr.VprError, match="connect to the internet.*timm:resnet18:FILE"):
        load("timm:resnet18")
    with pytest.raises(vpr.VprError, match="is not on this machine .*hf download a/b"):
        load("timm:hf-hub:a/b")


def test_what_needs_a_run_folder_says_so(hub):
    run = load("megaloc@140")
    with pytest.raises(vpr.VprError, match="megaloc@140 is a model without a run folder"):
        _ = run.teacher
    with pytest.raises(vpr.VprError, match="megaloc@140 has no attention rollout"):
        run.match(__file__, __file__, replace(run.calibration.config(), marginals="rollout"))
