"""Batch normalisation by fixed statistics, folded into the convolution before it.

A convolution followed by ``scale * (x - mean) / sqrt(variance + eps) + shift`` is a convolution with other weights.
This saves one pass over the features, and two in training. Gradients reach the same parameters, and the stored weights
of the network do not change.
"""

import copy
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from timm.layers.conv2d_same import Conv2dSame, conv2d_same
from torch import nn

SIDE = 96  # pixels of the image by which pairs of convolution and normalisation are found
TOLERANCE = 1e-3  # maximum difference by folding, as a share of the largest feature; rounding causes up to 1e-5
INPUT_ERRORS = (
    RuntimeError,
    AssertionError,
    ValueError,
    TypeError,
    IndexError,
)  # of networks that take one input size only


def fold_batch_norm(network: nn.Module) -> None:
    """Fold batch normalisation into the convolutions before it, as long as the normalisation is not in training mode.

    Pairs of convolution and normalisation are found by a forward pass of noise. The network is left as it is if it does
    not take an image of that size, or if folding changes the features, as when the output of a convolution is also used
    elsewhere.
    """
    norms = [module for module in network.modules() if _is_foldable(module)]
    if not norms:
        return
    kept = [[value.detach().clone() for value in _values(norm)] for norm in norms]
    try:
        _randomise(norms)  # the normalisations of a new network are the identity, which would hide mistakes
        for side in dict.fromkeys((SIDE, _own_side(network))):
            try:
                _fold(network, side)
                return
            except INPUT_ERRORS:
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
    """The input size that the network is made for, pixels."""
    made_for = getattr(network, "pretrained_cfg", None)
    size = made_for.get("input_size") if isinstance(made_for, dict) else getattr(made_for, "input_size", None)
    return int(size[-1]) if size else SIDE


def _fold(network: nn.Module, side: int) -> None:
    """As `fold_batch_norm`, with images of ``side`` pixels; raises one of `INPUT_ERRORS` if it refuses them."""
    pairs, before = _pairs(network, side)
    kinds = {module: type(module) for pair in pairs for module in pair}
    for convolution, norm in pairs:
        convolution.__class__ = FOLDED_CLASSES[type(convolution)]
        convolution.norm, convolution.cached = (norm,), None
        norm.__class__ = FOLDED_CLASSES[type(norm)]
    after = _features(network, side)
    if not torch.allclose(before, after, rtol=0, atol=TOLERANCE * float(before.abs().max())):
        for module, kind in kinds.items():
            module.__class__ = kind


def _pairs(network: nn.Module, side: int) -> tuple[list[tuple[Any, Any]], torch.Tensor]:
    """Each convolution with the normalisation that takes its output, and the features of an image."""
    outputs: dict[int, tuple[nn.Module, torch.Tensor]] = {}  # of convolutions, by the ``id`` of the tensor
    pairs: list[tuple[Any, Any]] = []

    def record_output(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        outputs[id(output)] = module, output  # the reference prevents that another tensor gets the same ``id``

    def record_pair(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if id(given[0]) in outputs:
            pairs.append((outputs[id(given[0])][0], module))

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


class _FoldedConv(nn.Conv2d):
    """A convolution that also applies ``norm``. It is in a tuple so that torch does not register it as a submodule."""

    norm: tuple[Any]
    cached: (
        tuple[list[int], torch.Tensor, torch.Tensor] | None
    )  # the versions of the parameters, and the weight and bias computed from them

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The normalised output, or the output itself while the normalisation is in training mode."""
        weight, bias = (self.weight, self.bias) if self.norm[0].training else self.folded_parameters()
        return self.convolve(features, weight, bias)

    def folded_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The folded weight and bias. Without gradients they are cached until a parameter changes."""
        norm = self.norm[0]
        parts = [self.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        if torch.is_grad_enabled():
            return self._compute(*parts)
        state = [number for part in parts for number in (part.data_ptr(), part._version)]
        if self.cached is None or self.cached[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self.cached = (state, *self._compute(*parts))
        return self.cached[1:]

    def _compute(self, weight: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        factor = scale * (variance + self.norm[0].eps).rsqrt()
        return weight * factor[:, None, None, None], shift - (mean if self.bias is None else mean - self.bias) * factor

    def convolve(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """The convolution with these weights."""
        convolved: torch.Tensor = self._conv_forward(features, weight, bias)
        return convolved


class _FoldedSame(_FoldedConv, Conv2dSame):
    def convolve(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """As `_FoldedConv.convolve`, with TensorFlow's padding."""
        own: Any = self  # its sizes are pairs, which torch's annotations do not say
        convolved: torch.Tensor = conv2d_same(features, weight, bias, own.stride, own.padding, own.dilation, own.groups)
        return convolved


class _FoldedNorm(nn.BatchNorm2d):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return super().forward(features) if self.training else features


class _FoldedNormAct(BatchNormAct2d):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor
        if self.training:
            activated = super().forward(features)  # type: ignore[no-untyped-call]  # timm does not annotate it
        else:
            activated = self.act(self.drop(features))
        return activated


FOLDED_CLASSES = {
    nn.Conv2d: _FoldedConv,
    Conv2dSame: _FoldedSame,
    nn.BatchNorm2d: _FoldedNorm,
    BatchNormAct2d: _FoldedNormAct,
}


def plain_copy(network: nn.Module) -> nn.Module:
    """A copy on the CPU, in evaluation mode, whose folded convolutions are plain ones with the folded weights."""
    with torch.inference_mode(False), torch.no_grad():
        copied = copy.deepcopy(network).cpu().eval()
        folded = [module for module in copied.modules() if isinstance(module, _FoldedConv)]
        weights = [tuple(value.clone() for value in module.folded_parameters()) for module in folded]
    kinds = {folded_kind: kind for kind, folded_kind in FOLDED_CLASSES.items()}
    for module, (weight, bias) in zip(folded, weights):
        module.__class__ = kinds[type(module)]
        module.weight, module.bias = nn.Parameter(weight), nn.Parameter(bias)
        del module.norm, module.cached
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is _FoldedNorm:
                setattr(parent, name, nn.Identity())
            elif type(child) is _FoldedNormAct:
                setattr(parent, name, nn.Sequential(child.drop, child.act))
    return copied
