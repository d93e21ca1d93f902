"""Checkpoints: the state of an unfinished training, in one file."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from vpr.base.errors import VprError
from vpr.base.files import write_bytes
from vpr.models.weights import FILE_ERRORS

FORMAT = 2  # raised when the entries of the file change


class Stateful(Protocol):
    """A part of the training with a state of tensors and plain Python values."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore a state."""


def save_checkpoint(path: Path, parts: Mapping[str, Stateful]) -> None:
    """Write the state of each part, by name. A kill leaves the old file or the new one, never half of it."""
    content = io.BytesIO()
    torch.save({"format": FORMAT, **{name: part.state_dict() for name, part in parts.items()}}, content)
    write_bytes(path, content.getbuffer())


def load_checkpoint(path: Path, parts: Mapping[str, Stateful], device: torch.device) -> None:
    """Restore each part. Raises VprError for a file that is damaged, or of another version or training."""
    remedy = "remove it to train from the first step"
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        if state.get("format") == FORMAT:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            return
    except (*FILE_ERRORS, pickle.UnpicklingError, TypeError, AttributeError, MemoryError) as error:
        raise VprError(f"{path} is damaged", thing=path, remedy=remedy) from error
    raise VprError(f"{path} was written by another version of vpr", thing=path, remedy=remedy)
