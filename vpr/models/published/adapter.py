"""What is known of a published model: where its code is, how it is called, and what is taken out of it.

A module of this folder for each model has its adapters. None of them imports torch, so that names can be checked fast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

# patch descriptors per side by default, at most the side of the map: the time of re-ranking is in proportion to the
# fourth power
GRID = 16


def whole(output: Any) -> Any:
    """All of an output."""
    return output


def first(output: Any) -> Any:
    """The first part of an output of several."""
    return output[0]


def normalised_tokens(output: Any) -> Any:
    """The map (B, D, h, w) of the patch tokens behind the last normalisation, from the dict of a DINOv2 network."""
    return square_map(output["x_norm_patchtokens"])


def square_map(tokens: Any) -> Any:
    """The map (B, D, s, s) of tokens (B, N, D); tokens before the last s * s, such as a class token, are left out."""
    side = int(tokens.shape[1] ** 0.5)
    return tokens[:, -(side**2) :].transpose(1, 2).unflatten(2, (side, side))


def any_global(output: Any) -> Any:
    """The global descriptors of a network that is not known: its output, or the first part of it."""
    return output[0] if isinstance(output, tuple | list) else output


def any_map(output: Any) -> Any:
    """The feature map of a backbone that is not known: a map, tokens, or the first part of several outputs."""
    if isinstance(output, Mapping):
        return normalised_tokens(output)
    found = any_global(output)
    return square_map(found) if getattr(found, "ndim", 0) == 3 else found


def as_given(network: nn.Module) -> nn.Module:
    """The network as its entry returned it."""
    return network


@dataclass(frozen=True)
class Adapter:
    """A published model. Its network has a part ``backbone``, whose output has the features of patches."""

    name: str  # for --run
    repository: str  # OWNER/REPO on GitHub
    entry: str  # function in its hubconf.py
    image_size: int  # height and width of the input by default, pixels
    weights: tuple[str, ...] = ()  # addresses that its code downloads from
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the entry
    more_code: tuple[str, ...] = ()  # other repositories whose code runs, OWNER/REPO
    multiple: int = 1  # the size of the input is a multiple of this, pixels
    one_by_one: bool | None = False  # whether a descriptor depends on the batch; None: that is tested
    global_descriptor: Callable[[Any], torch.Tensor] = whole  # from the network's output to (B, G)
    patch_map: Callable[[Any], torch.Tensor] = whole  # from the backbone's output to (B, D, h, w)
    prepare: Callable[[nn.Module], nn.Module] = as_given  # from what the entry returns to a network with ``backbone``


def unknown_adapter(repository: str, entry: str) -> Adapter:
    """The adapter of an entry that has none of its own: what is taken out is found by its form."""
    return Adapter(
        name="", repository=repository, entry=entry, image_size=322, one_by_one=None,
        global_descriptor=any_global, patch_map=any_map,
    )  # fmt: skip
