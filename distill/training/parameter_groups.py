"""The trained parameters, in groups by their learning rate."""

from __future__ import annotations

from typing import Any

from timm.models import group_parameters
from torch import nn

from vpr.base.errors import VprError
from vpr.distill.settings import TrainConfig

LR_SCALE = "lr_scale"  # entry of a group: its learning rate divided by that of the schedule, as in timm


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The trained parameters in groups for an optimiser, each with its ``lr_scale``. The first group has scale 1.

    Parameters of the backbone (of a teacher's encoder) have the scale ``backbone_rate``, times ``layer_decay`` for each
    layer between them and the end. Those with scale 0, and the stem and first ``frozen_blocks`` layers, are frozen:
    they no longer require gradients. Layers are those that timm defines, block by block. Raises VprError for a backbone
    without such layers.
    """
    backbone = getattr(model, "backbone", getattr(model, "encoder", None))
    scale_of: dict[nn.Parameter, float] = {}
    if isinstance(backbone, nn.Module):
        parameters, scales = dict(backbone.named_parameters()), _backbone_scales(backbone, config)
        scale_of = {parameter: scales[name] for name, parameter in parameters.items()}
    for parameter, scale in scale_of.items():
        if scale == 0:  # never set to True: some networks have parameters that are always frozen
            parameter.requires_grad_(False)
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault(scale_of.get(parameter, 1.0), []).append(parameter)
    return [{"params": parameters, LR_SCALE: scale} for scale, parameters in groups.items()]


def _backbone_scales(backbone: nn.Module, config: TrainConfig) -> dict[str, float]:
    """The scale of each parameter of a backbone, by name."""
    scales = {name: config.backbone_rate for name, _ in backbone.named_parameters()}
    if not config.frozen_blocks and config.layer_decay == 1:
        return scales
    layers = _layer_numbers(backbone)
    last = max(layers.values(), default=0)
    if config.frozen_blocks > last:
        problem = f"--frozen-blocks {config.frozen_blocks}: the backbone has {last} layers"
        raise VprError(problem, thing="--frozen-blocks", remedy="pass a smaller number")
    for name in scales:
        frozen = config.frozen_blocks and layers[name] <= config.frozen_blocks
        scales[name] = 0.0 if frozen else scales[name] * config.layer_decay ** (last - layers[name])
    return scales


def _layer_numbers(backbone: nn.Module) -> dict[str, int]:
    """The layer of each parameter of a backbone, by name: 0 for the stem, then 1, 2, ..."""
    network = getattr(backbone, "network", backbone)
    matcher = getattr(network, "group_matcher", None)
    if not isinstance(network, nn.Module) or matcher is None:
        raise VprError("--frozen-blocks and --layer-decay need a backbone of timm", remedy="pass another --backbone")
    prefix = "" if network is backbone else "network."
    layers = group_parameters(network, matcher(coarse=True), reverse=True)
    return {f"{prefix}{name}": layer for name, layer in layers.items()}
