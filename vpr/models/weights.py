"""Weights in and out: safetensors for ours, `weights_only` for other people's; no file is trusted to run code."""

import hashlib
import pickle
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from vpr.base.errors import VprError
from vpr.base.files import write_bytes

# What torch and safetensors raise for a damaged file; damage reaches every corner of torch's unpickler.
DAMAGED = (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, AssertionError, struct.error)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's weights as safetensors, atomically."""
    write_bytes(path, save({name: value.contiguous().cpu() for name, value in model.state_dict().items()}))


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a .safetensors, .pth or .pth.tar file; a `state_dict` or `model` entry is unwrapped.

    Raises VprError when the file is missing, damaged, or would need unpickling.
    """
    if not path.is_file():
        raise VprError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VprError(
            f"{path} is damaged, or holds more than tensors and could run code when read; save its state_dict alone, "
            "or as safetensors"
        ) from error
    except DAMAGED as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise VprError(f"{path} is not a readable weights file ({reason[0]}); fetch or save it again") from error
    for entry in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    named = isinstance(content, dict) and all(isinstance(name, str) for name in content)
    if not named or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise VprError(f"{path} holds no state_dict of tensors; save the state_dict alone")
    return {name.removeprefix("module."): value for name, value in content.items()}


def load_into(model: nn.Module, path: Path) -> None:
    """Load a weights file into the model, every tensor of which must be there with its shape; extra ones may be.

    Raises VprError naming the first tensor that is missing, does not fit or holds what is no finite number.
    """
    load_state(model, read_weights(path), path)


def load_state(model: nn.Module, weights: dict[str, torch.Tensor], source: Path) -> None:
    """Load weights already read from ``source``; errors as `load_into`."""
    for name, value in model.state_dict().items():
        if name not in weights:
            raise VprError(f"{source} lacks {name}: it is of another model ({type(model).__name__} wanted)")
        if weights[name].shape != value.shape:
            raise VprError(
                f"{source}: {name} is {tuple(weights[name].shape)}, this model wants {tuple(value.shape)}; "
                "give the same --backbone, --dim, --image-size and --grid as it was made with"
            )
        if problem := _unfit(weights[name], value):
            raise VprError(f"{source}: {name} {problem}; save the weights again, as plain {value.dtype} tensors")
    model.load_state_dict({name: weights[name] for name in model.state_dict()})


def _unfit(given: torch.Tensor, wanted: torch.Tensor) -> str:
    """What is wrong with a tensor of the right shape, or nothing."""
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return "is sparse, quantised or without data"
    if given.is_complex() or given.is_floating_point() != wanted.is_floating_point():
        return f"is of {given.dtype}"
    return "" if not given.is_floating_point() or bool(given.isfinite().all()) else "holds what is no finite number"


def fingerprint(model: nn.Module, *details: object) -> str:
    """A hash of every weight and of the given details (transform, size, grid): 16 hexadecimal digits."""
    digest = hashlib.sha256(repr(details).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
