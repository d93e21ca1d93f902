"""Run folders: config, revision, dataset fingerprint and metrics beside the weights."""

import dataclasses
import json
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from vpr.cache import CacheSpec, PatchType
from vpr.checkpoint import fingerprint, load_into, load_state, read_weights, save_weights
from vpr.errors import VprError
from vpr.files import write_json
from vpr.models.netvlad import NetVLAD, TeacherConfig
from vpr.models.structural import ModelConfig, StructuralModel

CONFIG, METRICS, WEIGHTS = "config.json", "metrics.json", "model.safetensors"
TEACHER = "teacher"


def start_run(out: Path, config: dict, overwrite: bool) -> bool:
    """Make the run folder, or find it as an earlier call left it; returns whether the run is complete already.

    config: what defines the run, of JSON types. overwrite: start over where a complete run, or one of another
    configuration, lies; one that was interrupted goes on all the same. Raises VprError when the folder holds a run of
    another configuration and ``overwrite`` is off, and when it holds something else than a run.
    """
    config = json.loads(json.dumps(config))
    if (out / CONFIG).is_file():
        changed = sorted(_differences(read_config(out), config))
        complete = (out / WEIGHTS).is_file() and (out / METRICS).is_file()
        if not overwrite and changed:
            raise VprError(
                f"{out} holds a run with other settings ({', '.join(changed)}); pass --overwrite or another --out"
            )
        if not overwrite or not (changed or complete):
            return complete
        shutil.rmtree(out)
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise VprError(f"{out} is not empty and not a run folder; pass another --out")
    write_json(out / CONFIG, {"run": config, "revision": revision(), "versions": versions()})
    return False


def _differences(before: dict, after: dict, prefix: str = "") -> list[str]:
    """The dotted names of the settings that differ or that only one of the two has."""
    names = []
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names += _differences(old, new, f"{prefix}{key}.")
        elif old != new or (key in before) != (key in after):
            names.append(prefix + key)
    return names


def revision() -> str:
    """The git revision of this software, with a mark when files were changed since; its version outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        if (root / ".git").exists():  # an installed copy may lie inside somebody else's checkout
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return f"vpr {version('vpr')}"
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return "unknown"


def versions() -> dict[str, str]:
    """The versions of the libraries that the numbers depend on."""
    return {name: version(name) for name in ("torch", "torchvision", "timm", "numpy", "scikit-learn", "h5py")}


def read_config(run: Path, command: str = "vpr.distill") -> dict:
    """The ``run`` part of a run folder's config.json.

    Raises VprError when there is no such run, naming the command that makes it, and when the file is somebody else's.
    """
    path = run / CONFIG
    if not path.is_file():
        raise VprError(f"no run at {run}; make it with: python -m {command} --out {run}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VprError(f"{path} is damaged ({error}); remove {run} or pass another folder") from error
    if not isinstance(config, dict) or not isinstance(config.get("run"), dict):
        raise VprError(f"{path} is not the config of a run; pass another folder")
    return config["run"]


def _settings(stage: type, recorded: dict, run: Path, **replaced: object) -> object:
    """The dataclass that a run recorded; raises VprError when this version has other fields."""
    try:
        return stage(**{**recorded, **replaced})
    except TypeError as error:
        raise VprError(f"{run} was made by another version of this software ({error}); make it again") from error


def finish_run(out: Path, model: nn.Module, metrics: dict) -> None:
    """Write the weights and, last of all, metrics.json, which marks the run as complete."""
    save_weights(model, out / WEIGHTS)
    write_json(out / METRICS, metrics)


def read_metrics(run: Path) -> dict:
    """metrics.json of a complete run; raises VprError when the run was interrupted."""
    path = run / METRICS
    if not path.is_file():
        raise VprError(f"{run} is not finished; give the command that made it again and it goes on")
    return json.loads(path.read_text(encoding="utf-8"))


def load_student(run: Path, device: torch.device) -> StructuralModel:
    """The structural model of a run by vpr.scratch or vpr.distill, in evaluation mode.

    Raises VprError when the run is missing, unfinished or of another kind.
    """
    if str(run) == "builtin":
        raise VprError("no weights are shipped with this version; make a run with: python -m vpr.distill")
    config = read_config(run)
    if "model" not in config:
        raise VprError(f"{run} holds a {config.get('command')} run, not a structural model; pass a vpr.distill run")
    read_metrics(run)
    model = StructuralModel(_settings(ModelConfig, config["model"], run, pretrained=False, weights=""))
    load_into(model, run / WEIGHTS)
    return model.to(device).eval()


def load_teacher(source: Path, device: torch.device) -> NetVLAD:
    """The NetVLAD of a run folder, of the teacher inside a distilled run, or of a Patch-NetVLAD checkpoint file.

    Raises VprError when there is none.
    """
    if source.is_file():
        return _teacher_from_checkpoint(source).to(device).eval()
    if (source / TEACHER / CONFIG).is_file():
        source = source / TEACHER
    config = read_config(source, "vpr.teacher")
    if "teacher" not in config:
        raise VprError(f"{source} has no teacher; pass a vpr.teacher run or a NetVLAD checkpoint")
    read_metrics(source)
    model = NetVLAD(_settings(TeacherConfig, config["teacher"], source, pretrained=False))
    model.whitened = True
    load_into(model, source / WEIGHTS)
    return model.to(device).eval()


def save_teacher(model: NetVLAD, out: Path) -> None:
    """Keep a teacher that came from elsewhere in a run folder of its own."""
    start_run(out, {"command": "vpr.teacher", "teacher": dataclasses.asdict(model.config)}, overwrite=False)
    finish_run(out, model, {})


def _teacher_from_checkpoint(path: Path) -> NetVLAD:
    """VGG16 NetVLAD with the clusters and dimensions that the checkpoint's tensors have (480 x 640 input)."""
    weights = read_weights(path)
    missing = {"pool.centroids", "WPCA.0.weight", "WPCA.0.bias"} - weights.keys()
    if missing:
        raise VprError(f"{path} is no NetVLAD checkpoint with whitening: it lacks {', '.join(sorted(missing))}")
    clusters, dim = len(weights["pool.centroids"]), len(weights["WPCA.0.weight"])
    model = NetVLAD(TeacherConfig("vgg16", clusters=clusters, dim=dim, image_height=480, image_width=640))
    model.whitened = True
    load_state(model, weights, path)
    return model


def cache_spec(model: StructuralModel | NetVLAD, dtype: PatchType = "float16") -> CacheSpec:
    """What makes the descriptors of one model differ from another's: weights, input transform, size, grid, pooling."""
    transform = (model.mean.flatten().tolist(), model.std.flatten().tolist(), "bicubic", model.input_size)
    config = model.config
    if isinstance(model, NetVLAD):
        return CacheSpec(fingerprint(model, "NetVLAD", config.backbone, transform), 0, config.dim)
    made_by = fingerprint(model, config.backbone, transform, config.grid, config.pooling)
    return CacheSpec(made_by, config.grid**2, config.dim, dtype)
