"""Batch normalisation by fixed statistics, computed as part of the convolution before it.

A convolution followed by ``scale * (x - mean) / sqrt(variance + eps) + shift`` is a convolution with other weights, so
one pass over the features is saved, in training two. Gradients reach the same parameters, and what a network stores
stays as it is.
"""

from typing import Any

import torch
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from torch import nn

SIDE = 96  # pixels of the image that shows which convolution feeds which normalisation
TOLERANCE = 1e-3  # largest difference by folding, as a share of the largest feature; rounding takes up to 1e-5
FAILED = (RuntimeError, AssertionError, ValueError, TypeError, IndexError)  # of networks that take one input size only


def fold_batch_norm(network: nn.Module) -> None:
    """Have the convolutions of a network apply the batch normalisation that follows them, while it is not in training
    mode.

    Which ones do is seen from an image of noise. A network stays as it is if it cannot take that image, or if folding
    makes a difference, as it does if the output of a convolution is used elsewhere too.
    """
    norms = [module for module in network.modules() if _is_foldable(module)]
    if not norms:
        return
    kept = [[value.detach().clone() for value in _values(norm)] for norm in norms]
    try:
        _randomise(norms)  # a new network's normalisations change nothing, and would hide that one is left out
        for side in dict.fromkeys((SIDE, _own_side(network))):
            try:
                _fold(network, side)
                return
            except FAILED:
                continue
    finally:
        with torch.no_grad():
            for norm, values in zip(norms, kept):
                for own, value in zip(_values(norm), values):
                    own.copy_(value)


def _is_foldable(module: nn.Module) -> bool:
    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) and bool(module.affine and module.track_running_stats)


def _values(norm: Any) -> tuple[torch.Tensor, ...]:
    return norm.weight, norm.bias, norm.running_mean, norm.running_var


def _randomise(norms: list[Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in norms:
            for value in (norm.weight, norm.running_var):
                value.uniform_(0.5, 1.5, generator=generator)
            for value in (norm.bias, norm.running_mean):
                value.normal_(0, 0.5, generator=generator)


def _own_side(network: Any) -> int:
    """The input size that the network was made for, pixels."""
    made_for = getattr(network, "pretrained_cfg", None)
    size = made_for.get("input_size") if isinstance(made_for, dict) else getattr(made_for, "input_size", None)
    return int(size[-1]) if size else SIDE


def _fold(network: nn.Module, side: int) -> None:
    """As `fold_batch_norm`, by an image of so many pixels; raises one of `FAILED` if the network does not take it."""
    pairs, before = _pairs(network, side)
    kinds = {module: type(module) for pair in pairs for module in pair}
    for convolution, norm in pairs:
        convolution.__class__ = FOLDED[type(convolution)]
        convolution.norm, convolution.kept = (norm,), None
        norm.__class__ = FOLDED[type(norm)]
    after = _features(network, side)
    if not torch.allclose(before, after, rtol=0, atol=TOLERANCE * float(before.abs().max())):
        for module, kind in kinds.items():
            module.__class__ = kind


def _pairs(network: nn.Module, side: int) -> tuple[list[tuple[Any, Any]], torch.Tensor]:
    """Convolutions with the normalisation that their output goes to, and the network's features of an image."""
    made: dict[int, tuple[nn.Module, torch.Tensor]] = {}  # by the identity of what a convolution returned
    pairs: list[tuple[Any, Any]] = []

    def record_output(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        made[id(output)] = module, output  # held, so that no other tensor gets its identity

    def record_pair(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if id(given[0]) in made:
            pairs.append((made[id(given[0])][0], module))

    hooks = []
    for module in network.modules():
        if type(module) in (nn.Conv2d, Conv2dSame):
            hooks.append(module.register_forward_hook(record_output))
        elif _is_foldable(module):
            hooks.append(module.register_forward_pre_hook(record_pair))
    try:
        features = _features(network, side)
    finally:
        for hook in hooks:
            hook.remove()
    once = [part for part in zip(*pairs) if len(set(part)) == len(part)]  # shared layers stay as they are
    return (pairs if len(once) == 2 else []), features


def _features(network: nn.Module, side: int) -> torch.Tensor:
    """The network's features of an image of noise, in evaluation mode."""
    training = network.training
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            features: torch.Tensor = network.eval()(image)
    finally:
        network.train(training)
    return features


class _Folded(nn.Conv2d):
    """A convolution that applies the normalisation of ``norm``, which is in a tuple so that it is no part of it."""

    norm: tuple[Any]
    kept: (
        tuple[list[int], torch.Tensor, torch.Tensor] | None
    )  # versions of the parameters; weight and bias made of them

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The normalised output, or the output itself while the normalisation is in training mode."""
        weight, bias = (self.weight, self.bias) if self.norm[0].training else self.folded()
        return self.convolve(features, weight, bias)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias; without gradients they are kept until a parameter changes."""
        norm = self.norm[0]
        parts = [self.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        if torch.is_grad_enabled():
            return self._compute(*parts)
        state = [number for part in parts for number in (part.data_ptr(), part._version)]
        if self.kept is None or self.kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self.kept = (state, *self._compute(*parts))
        return self.kept[1:]

    def _compute(self, weight: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        factor = scale * (variance + self.norm[0].eps).rsqrt()
        return weight * factor[:, None, None, None], shift - (mean if self.bias is None else mean - self.bias) * factor

    def convolve(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The convolution with the weights given."""
        return self._conv_forward(features, weight, bias)


class _FoldedSame(_Folded, Conv2dSame):
    def convolve(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        how: Any = self  # its sizes are pairs, which torch's annotations do not say
        return conv2d_same(features, weight, bias, how.stride, how.padding, how.dilation, how.groups)


class _FoldedNorm(nn.BatchNorm2d):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features) if self.training else features


class _FoldedNormAct(BatchNormAct2d):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features) if self.training else self.act(self.drop(features))


FOLDED = {nn.Conv2d: _Folded, Conv2dSame: _FoldedSame, nn.BatchNorm2d: _FoldedNorm, BatchNormAct2d: _FoldedNormAct}
