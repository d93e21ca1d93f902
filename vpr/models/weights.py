"""Reading and writing weights: safetensors for ours, `weights_only` for others. No file can run code."""

import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from vpr.base.errors import VprError
from vpr.base.files import write_bytes

# The errors of torch and safetensors for a damaged file; torch's unpickler raises many kinds.
FILE_ERRORS = (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, AssertionError, struct.error)

# NumPy's numbers and arrays, such as the best score, beside the weights; making them runs no code of the file.
SCALAR, ARRAY = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
NUMPY_VALUES: tuple[Any, ...] = (
    *((SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("_core", "core")),  # the second before NumPy 2
    *((ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("_core", "core")),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefdg"},
)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's weights as safetensors atomically."""
    write_bytes(path, save({name: value.contiguous().cpu() for name, value in model.state_dict().items()}))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a .safetensors, .pth or .pth.tar file; a `state_dict` or `model` entry is unwrapped.

    Raises VprError if the file is missing or damaged, or needs unpickling.
    """
    if not path.is_file():
        raise VprError(f"no weights at {path}", thing=path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(list(NUMPY_VALUES)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VprError(
            f"{path} cannot be loaded safely: it is damaged, or holds Python objects, which could run code",
            thing=path,
            remedy="download it again, or save its state_dict alone",
        ) from error
    except FILE_ERRORS as error:
        reason = str(error).splitlines() or [type(error).__name__]
        problem = f"{path} is not a readable weights file ({reason[0]})"
        raise VprError(problem, thing=path, remedy="download or save it again") from error
    for entry in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise VprError(f"{path} holds no state_dict of tensors", thing=path, remedy="save the state_dict alone")
    plain = {_strip_parallel(name): value for name, value in content.items()}
    return plain if len(plain) == len(content) else content


def _strip_parallel(name: str) -> str:
    """The name of a tensor without the parts ``module`` that DataParallel inserts.

    >>> _strip_parallel("module.encoder.module.0.weight")
    'encoder.0.weight'
    """
    return ".".join(part for part in name.split(".") if part != "module")


def load_into(model: nn.Module, path: Path) -> None:
    """Load a weights file into the model. It must have every tensor of the model; other tensors are ignored.

    Raises VprError with the first tensor that is missing, has another shape, or contains NaN or infinity.
    """
    load_state(model, read_weights(path), path)


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], source: Path) -> None:
    """Load weights that were read from ``source``; errors as `load_into`."""
    for name, value in model.state_dict().items():
        if name not in weights:
            problem = f"{source} lacks {name}: it belongs to another model"
            raise VprError(problem, thing=source, remedy=f"pass the weights of a {type(model).__name__}")
        if weights[name].shape != value.shape:
            raise VprError(
                f"{source}: {name} is {tuple(weights[name].shape)}, this model needs {tuple(value.shape)}",
                thing=source,
                remedy="pass the --backbone, --dim, --image-size and --grid that it was trained with",
            )
        if problem := _problem_of(weights[name], value):
            remedy = f"save the weights again, as plain {value.dtype} tensors"
            raise VprError(f"{source}: {name} {problem}", thing=source, remedy=remedy)
    model.load_state_dict({name: weights[name] for name in model.state_dict()})


def _problem_of(given: torch.Tensor, wanted: torch.Tensor) -> str:
    """The problem of a tensor that has the right shape; empty if there is none."""
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return "is sparse, quantised or without data"
    if given.is_complex() or given.is_floating_point() != wanted.is_floating_point():
        return f"has the type {given.dtype}"
    return "" if not given.is_floating_point() or bool(given.isfinite().all()) else "contains NaN or infinity"


def fingerprint(model: nn.Module, *details: object) -> str:
    """A hash of all weights and of the given details (transform, size, grid): 16 hexadecimal digits."""
    return _digest(model, repr(details).encode())[:16]


def digest_of_weights(model: nn.Module) -> str:
    """SHA-256 of all weights, with their names."""
    return _digest(model, b"")


def _digest(model: nn.Module, before: bytes) -> str:
    digest = hashlib.sha256(before)
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
