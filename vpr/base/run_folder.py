"""Run folders: configuration, code revision and metrics beside the weights."""

import ast
import functools
import hashlib
import json
import logging
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.packages import DISTRIBUTION

log = logging.getLogger("vpr")

CONFIG, METRICS, WEIGHTS, CHECKPOINT = "config.json", "metrics.json", "model.safetensors", "checkpoint.pt"
INPUT_FORM = re.compile(r"@(\d+)(?:x(\d+))?\Z", re.ASCII)  # @SIZE or @SIZExGRID behind the name of a run or model
TRAINING_CODE = (
    "vpr/distill/**/*.py", "vpr/models/*.py", "vpr/description/images.py", "vpr/description/image_files.py",
    "vpr/description/describe.py", "vpr/description/batches.py", "vpr/transport/*.py",
)  # fmt: skip
POST_TRAINING_SETTINGS = {"data.held_out"}  # settings that have no effect until the weights are trained
DOCSTRING_NODES = (ast.Module, ast.ClassDef, ast.FunctionDef)
ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "h5py")  # results depend on their versions


def start_run(out: Path, config: dict[str, Any], overwrite: bool) -> bool:
    """Create the run folder, or continue an existing one; returns whether the run is already complete.

    config: the settings that define the run, of JSON types. overwrite: start over if the folder holds a complete run or
    a run of another configuration. An interrupted run of the same configuration always continues. Settings in
    `POST_TRAINING_SETTINGS` may differ, and are written again. Raises VprError if the folder holds a run of another
    configuration and ``overwrite`` is off, and if it holds other files.
    """
    config = json.loads(json.dumps(config))
    if (out / CONFIG).is_file():
        before = read_config(out)
        changed = sorted({*_differences(before, config)} - POST_TRAINING_SETTINGS)
        complete = (out / WEIGHTS).is_file() and (out / METRICS).is_file()
        if not overwrite and changed:
            raise VprError(
                f"{out} holds a run with other settings ({', '.join(changed)})",
                thing=out,
                remedy="pass --overwrite or another --out",
            )
        if not overwrite or not (changed or complete):
            _warn_other_code(out, complete)
            if complete:  # left if the process was killed just before `finish_run` removed it
                (out / CHECKPOINT).unlink(missing_ok=True)
            if before != config:
                write_json(out / CONFIG, {**_read_json(out / CONFIG, ""), "run": config})
            return complete
        shutil.rmtree(out)
    elif out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise VprError(f"{out} is not empty and not a run folder", thing=out, remedy="pass another --out")
    versions = {name: version(name) for name in LIBRARIES}
    write_json(out / CONFIG, {"run": config, "revision": revision(), "code": training_code(), "versions": versions})
    return False


def training_code() -> str:
    """A digest of the code that determines a trained model, 16 hexadecimal digits; comments do not count."""
    return code_digest(TRAINING_CODE)


@functools.cache
def code_digest(patterns: tuple[str, ...]) -> str:
    """A digest of the code in files, 16 hexadecimal digits; comments do not count. patterns: paths from `ROOT`."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, DOCSTRING_NODES) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(f"{path.relative_to(ROOT)}\n{ast.unparse(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _warn_other_code(out: Path, complete: bool) -> None:
    """Warn if an existing run was started by other training code."""
    content = _read_json(out / CONFIG, f"remove {out}")
    if content.get("code", "") != training_code():
        done = "is complete, but" if complete else "continues, but"
        log.warning(
            "%s %s was started by other training code (revision %s); pass --overwrite to start over",
            out, done, content.get("revision", "unknown"),
        )  # fmt: skip


def finish_run(out: Path, save_weights: Callable[[Path], None], metrics: dict[str, Any]) -> None:
    """Write the weights, then metrics.json, which marks the run as complete; then remove the checkpoint."""
    save_weights(out / WEIGHTS)
    write_json(out / METRICS, metrics)
    (out / CHECKPOINT).unlink(missing_ok=True)


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of settings that differ, or that only one of the two has."""
    names = []
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names += _differences(old, new, f"{prefix}{key}.")
        elif old != new or (key in before) != (key in after):
            names.append(prefix + key)
    return names


def read_config(folder: Path, command: str = "vpr.distill") -> dict[str, Any]:
    """The ``run`` part of a run folder's config.json.

    command: the module that creates such runs, for the error message. Raises VprError if there is no run, and if the
    file is not the configuration of a run.
    """
    path = folder / CONFIG
    if not path.is_file():
        builtin = ", or pass --run builtin" if command == "vpr.distill" else ""
        remedy = f"make it with: python -m {command} --out {folder}{builtin}"
        raise VprError(f"no run at {folder}", thing=folder, remedy=f"check the path, or {remedy}")
    config = _read_json(path, f"remove {folder} or pass another folder")
    if not isinstance(config, dict) or not isinstance(config.get("run"), dict):
        raise VprError(f"{path} is not the configuration of a run", thing=path, remedy="pass another folder")
    run: dict[str, Any] = config["run"]
    return run


def read_metrics(folder: Path) -> dict[str, Any]:
    """The content of metrics.json; raises VprError if the run is not finished, or the file is damaged."""
    path, remedy = folder / METRICS, f"run the command that made {folder} again, with --overwrite"
    if not path.is_file():
        continuing = "run the command that made it again, and it continues"
        raise VprError(f"{folder} is not finished", thing=folder, remedy=continuing)
    metrics = _read_json(path, remedy)
    if not isinstance(metrics, dict):
        raise VprError(f"{path} is damaged", thing=path, remedy=remedy)
    return metrics


def _read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file; raises VprError with the remedy if it is damaged, or contains NaN or infinity."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise VprError(f"{path} is damaged ({error})", thing=path, remedy=remedy) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it contains {name}")


def revision() -> str:
    """The git revision of this software, marked if files were changed; outside a checkout, its version."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        if (ROOT / ".git").exists():  # an installed copy may lie inside another checkout
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        return f"vpr {version(DISTRIBUTION)}"
    except (OSError, subprocess.CalledProcessError, PackageNotFoundError):
        return "unknown"
