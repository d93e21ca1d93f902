"""The default student for mini-MSLS: timm's VisionTransformer behind timm's convolutional stem, 112 px, 7x7 tokens."""

from functools import partial
from typing import Any

from timm.layers import HybridEmbed
from timm.models import VisionTransformer, register_model
from timm.models.vision_transformer_hybrid import ConvStem
from torch import nn

from vpr.models.settings import MINI_VIT


@register_model
def vit_mini_patch16_112(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """A ViT of width 128 and depth 2 over five convolutions (stride 16). It learns from few images in few steps.

    Instance normalisation removes exposure and white balance. The tokens are rectified, so that their mean shows which
    features are present. Raises ValueError for pretrained weights, because there are none.
    """
    if pretrained:
        raise ValueError(f"{MINI_VIT} has no pretrained weights; leave --weights out")
    for unused in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        kwargs.pop(unused, None)
    convolutions = ConvStem(channels=(24, 48, 96, 96, 128), depth=5, stride=(2, 2, 2, 1, 2))
    stem = nn.Sequential(nn.InstanceNorm2d(3), convolutions, nn.BatchNorm2d(128), nn.ReLU())
    shape: dict[str, Any] = {
        "img_size": 112,
        "patch_size": 1,
        "embed_dim": 128,
        "depth": 2,
        "num_heads": 4,
        "num_classes": 0,
    }
    tokens: dict[str, Any] = {"class_token": False, "global_pool": "avg", "init_values": 0.1}
    model = VisionTransformer(embed_layer=partial(HybridEmbed, backbone=stem), **{**shape, **tokens, **kwargs})
    model.norm = nn.Sequential(model.norm, nn.ReLU())
    return model
