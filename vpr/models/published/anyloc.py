"""AnyLoc (Keetha et al., RA-L 2023): VLAD of the values of layer 31 of DINOv2 ViT-G/14, by a vocabulary of a domain.

The network has 1.1 billion parameters. Its code imports einops and fast_pytorch_kmeans.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vpr.models.published.adapter import Adapter, square_map, whole

if TYPE_CHECKING:
    from torch import nn

RELEASE = "https://github.com/AnyLoc/DINO/releases/download/v1"
DOMAINS = ("urban", "indoor", "aerial", "structured", "unstructured", "global")


def _prepare(made: Any) -> nn.Module:
    """A network whose tensors are registered; in the published one they are plain attributes."""
    import torch
    from torch import nn

    class Features(nn.Module):
        """Images to unit features of patches (B, N, D)."""

        def __init__(self) -> None:
            super().__init__()
            self.transformer = made.dino_extractor.dino_model

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = made.dino_extractor(images)
            return features

    class Network(nn.Module):
        """Images to VLAD (B, G), computed on the CPU as in the published code."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = Features()
            self.register_buffer("vocabulary", made.vlad.c_centers.clone())

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features = self.backbone(images)
            summaries = [made.vlad.generate(image.cpu()).reshape(1, -1) for image in features]
            return torch.cat(summaries).to(images.device)

    return Network()


def _adapter(domain: str) -> Adapter:
    return Adapter(
        name=f"anyloc-{domain}",
        repository="AnyLoc/DINO",
        entry="get_vlad_model",
        arguments={"backbone": "DINOv2", "domain": domain},
        weights=(
            f"{RELEASE}/dinov2_vitg14_l31_value_c32_{domain}_c_centers.pt",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitg14/dinov2_vitg14_pretrain.pth",
        ),
        more_code=("facebookresearch/dinov2",),
        image_size=322,
        multiple=14,
        global_descriptor=whole,
        patch_map=square_map,
        prepare=_prepare,
    )


ADAPTERS = (replace(_adapter(DOMAINS[0]), name="anyloc"), *map(_adapter, DOMAINS))
