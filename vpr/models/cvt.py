"""CvT (Wu et al., ICCV 2021), the student of the paper: Hugging Face transformers behind timm's interface."""

from typing import Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import nn

from vpr.base.errors import VprError
from vpr.base.packages import install_extra

HUB = "microsoft/cvt-13"
SOURCE = {"hf_hub_id": HUB, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
default_cfgs = generate_default_cfgs({"cvt_13.ms_in1k": SOURCE})  # timm looks them up by this name


class Cvt(nn.Module):
    """Images (B, 3, H, W), normalised, to tokens (B, 1 + N, D), the class token first; N patches at stride 16."""

    num_prefix_tokens = 1

    pretrained_cfg = SOURCE  # the input statistics of the network

    def __init__(self, classifier: Any) -> None:
        """classifier: the network of transformers; its head is not used."""
        super().__init__()
        self.cvt, self.layernorm = classifier.cvt, classifier.layernorm
        self.num_features = int(classifier.config.embed_dim[-1])

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """The same as `forward`; timm calls it by this name."""
        tokens: torch.Tensor = self(images)
        return tokens

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.cvt(images)
        tokens = torch.cat([found.cls_token_value, found.last_hidden_state.flatten(2).transpose(1, 2)], 1)
        normalised: torch.Tensor = self.layernorm(tokens)
        return normalised

    def reset_classifier(self, num_classes: int) -> None:
        """Do nothing: there is no classifier."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The grouping of the parameters by layer for timm; the embedding of a stage belongs to its first layer."""
        stage = r"^cvt\.encoder\.stages\.(\d+)"
        embedding = (rf"{stage}\.(?:embedding|cls_token)", (0,))
        return {
            "stem": r"^cvt\.encoder\.stages\.0",
            "blocks": [embedding, (rf"{stage}\.layers\.(\d+)", None), (r"^layernorm", (99,))],
        }


def checkpoint_filter_fn(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights without the classifier's head; timm calls it by this name."""
    return {name: value for name, value in weights.items() if not name.startswith("classifier.")}


@register_model
def cvt_13(pretrained: bool = False, **kwargs: Any) -> Cvt:
    """CvT-13: 19.6 million parameters, 384 numbers per token.

    Raises VprError if transformers is not installed.
    """
    try:
        from transformers import CvtConfig, CvtForImageClassification
    except ImportError as error:
        raise VprError(f"cvt_13 needs another package: {install_extra('cvt')}", thing="cvt_13") from error
    if pretrained:
        classifier = CvtForImageClassification.from_pretrained(HUB)
    else:
        classifier = CvtForImageClassification(CvtConfig())
    return Cvt(classifier)
