"""Networks for ONNX Runtime that are kept on disk, so that a command describes photos without torch.

One file per run holds the network with its weights, the kind of its descriptors, and an image with its descriptors by
torch. It lies beside the descriptor caches of the run, or in the user's cache if that folder is read-only. It is used
only if

- it was made from the same weights and settings, by the same code and packages: their digest is its key,
- its content is undamaged: the file begins with its SHA-256, and
- ONNX Runtime on this machine describes the image as torch did.

Otherwise torch loads the run, and the file is made again.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vpr.base.files import cache_folder, is_writable, write_bytes
from vpr.base.run_folder import WEIGHTS
from vpr.cache import CacheSpec
from vpr.models.builtin import descriptor_folder, resolve_run, split_run
from vpr.models.model_name import form_text
from vpr.models.onnx_network import OUTPUTS, TOLERANCE, OnnxNetwork, largest_gap
from vpr.models.settings import ModelConfig

if TYPE_CHECKING:
    from vpr.models.structural import StructuralModel

log = logging.getLogger("vpr")

NAME = "network.kept"
PACKAGES = ("torch", "timm", "onnxruntime")  # a network may compute something else with another version
CODE = Path(__file__).resolve().parents[1] / "models"  # whatever changes there may change a model
DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, eq=False)
class KeptNetwork:
    """A network from disk, and the kind of its descriptors."""

    network: OnnxNetwork
    spec: CacheSpec


def open_kept(run: Path, config: ModelConfig) -> KeptNetwork | None:
    """The network that is kept for a run; None if there is none for these weights, or it cannot be used here.

    The second reason is logged. config: the settings of the run's model.
    """
    path = _path(run)
    try:
        content = path.read_bytes()
        weights = (resolve_run(run) / WEIGHTS).read_bytes()
    except OSError:
        return None
    try:
        parts = _unpack(content)
        record = json.loads(parts["record"].tobytes())
        if record["key"] != key_of(weights, config):
            return None
        network = OnnxNetwork(parts["network"].tobytes())
        _require_equal(network, parts["image"], [parts[name] for name in OUTPUTS if name in parts])
        return KeptNetwork(network, CacheSpec(**record["spec"]))
    except ImportError:  # without ONNX Runtime torch describes, and says why
        return None
    except Exception as error:  # noqa: BLE001  damaged, or of a processor that computes something else
        log.info("%s cannot be used and is made again (%s)", path, error)
        return None


def keep(run: Path, spec: CacheSpec, model: StructuralModel, network: OnnxNetwork) -> None:
    """Keep the network of a run's model. If that is not possible, the next command loads torch again.

    Nothing is kept if the model has other weights than the run, and if the file cannot be written. spec: the kind of
    descriptors of the model. network: made from the model as it is now.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load, save

    try:
        weights = (resolve_run(run) / WEIGHTS).read_bytes()
        stored = load(weights)
        for name, value in model.state_dict().items():
            if not np.array_equal(value.numpy(force=True), stored[name]):
                return
        image = _image(model.input_size)
        wanted = _describe_by_torch(model, image)
        _require_equal(network, image, wanted)
        record = json.dumps({"key": key_of(weights, model.config), "spec": asdict(spec)}).encode()
        parts = {
            "record": np.frombuffer(record, np.uint8), "network": np.frombuffer(network.network, np.uint8),
            "image": image, **dict(zip(OUTPUTS, wanted)),
        }  # fmt: skip
        content = save(parts)
        write_bytes(_path(run, to_write=True), hashlib.sha256(content).digest() + content)
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        log.info("the network of %s is not kept (%s)", run, error)


def _path(run: Path, to_write: bool = False) -> Path:
    """The file of a run's network, to read or to write."""
    folder, form = resolve_run(run), form_text(*split_run(run)[1:])
    own = descriptor_folder(folder) / f"{NAME}{form}"
    if own.is_file() or (to_write and is_writable(own.parent)):
        return own
    name = hashlib.sha256(os.path.realpath(folder).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_folder("descriptors") / f"{name}.{NAME}{form}"


def key_of(weights: bytes, config: ModelConfig) -> str:
    """A digest of what a network is made from: weights, settings, the code of models, and packages."""
    digest = hashlib.sha256(weights)
    digest.update(json.dumps([asdict(config), [*map(_version, PACKAGES)]], sort_keys=True).encode())
    for path in sorted(CODE.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    """The version of a package; empty if another one takes its place, as ``onnxruntime-gpu`` does."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _unpack(content: bytes) -> Mapping[str, np.ndarray]:
    """The arrays of a file; raises ValueError if it is damaged."""
    from safetensors.numpy import load

    digest, body = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("its checksum is wrong")
    return load(body)


def _require_equal(network: OnnxNetwork, image: np.ndarray, wanted: Sequence[np.ndarray]) -> None:
    """Raise ValueError if a network describes an image (1, 3, H, W) in another way, beyond rounding."""
    difference = largest_gap(network(image), wanted)
    if not difference <= TOLERANCE:
        raise ValueError(f"it differs from torch by up to {difference:.1e}")


def _image(size: tuple[int, int]) -> np.ndarray:
    """A picture of random patches, (1, 3, height, width) uint8."""
    small = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
    large = Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(large).transpose(2, 0, 1)[None])


def _describe_by_torch(model: Any, image: np.ndarray) -> list[np.ndarray]:
    import torch  # loaded already, with the model

    with torch.inference_mode():
        described = model(torch.from_numpy(image))
    return [part.numpy() for part in described if part is not None]
