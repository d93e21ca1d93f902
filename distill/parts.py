"""Which parameters are trained, and at what share of the learning rate."""

from typing import Any

from timm.models import group_parameters
from torch import nn

from vpr.base.errors import VprError
from vpr.distill.settings import TrainConfig


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The trained parameters in groups for an optimiser, each with its ``share`` of the learning rate.

    Those of the backbone (the encoder of a teacher) have ``backbone_rate`` of it, times ``layer_decay`` for each layer
    between them and its end; with ``frozen_blocks`` its stem and first blocks, and with a rate of 0 all of it, are not
    trained. Layers are those that timm names. Raises VprError for a backbone that has no such layers.
    """
    part = getattr(model, "backbone", getattr(model, "encoder", None))
    backbone = dict(part.named_parameters()) if isinstance(part, nn.Module) else {}
    shares = dict.fromkeys(backbone, config.backbone_rate)
    if config.frozen_blocks or config.layer_decay != 1:
        depths = _depths(part)
        last = max(depths.values(), default=0)
        if config.frozen_blocks > last:
            raise VprError(f"--frozen-blocks {config.frozen_blocks}: the backbone has {last} layers; give fewer")
        for name in backbone:
            kept = config.frozen_blocks and depths[name] <= config.frozen_blocks
            shares[name] = 0.0 if kept else shares[name] * config.layer_decay ** (last - depths[name])
    for name, parameter in backbone.items():
        if shares[name] == 0:  # never the other way round: some networks have parts that are fixed
            parameter.requires_grad_(False)
    of_backbone = {id(parameter): shares[name] for name, parameter in backbone.items()}
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault(of_backbone.get(id(parameter), 1.0), []).append(parameter)
    return [{"params": parameters, "share": share} for share, parameters in groups.items()]


def _depths(part: nn.Module | None) -> dict[str, int]:
    """The layer of each parameter of a backbone, by name: 0 for its stem, then 1, 2, ..."""
    network = getattr(part, "network", part)
    matcher = getattr(network, "group_matcher", None)
    if not isinstance(network, nn.Module) or matcher is None:
        raise VprError("--frozen-blocks and --layer-decay need a network of timm's, whose layers it names")
    prefix = "" if network is part else "network."
    found = group_parameters(network, matcher(coarse=True), reverse=True)
    return {f"{prefix}{name}": depth for name, depth in found.items()}
