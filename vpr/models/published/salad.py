"""SALAD (Izquierdo and Civera, CVPR 2024): optimal-transport aggregation on DINOv2 ViT-B/14.

Its code imports pytorch_lightning and pytorch_metric_learning.
"""

from vpr.models.published.adapter import Adapter, first, whole

ADAPTERS = (
    Adapter(
        name="salad",
        repository="serizba/salad",
        entry="dinov2_salad",
        weights=(
            "https://github.com/serizba/salad/releases/download/v1.0.0/dino_salad.ckpt",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        ),
        more_code=("facebookresearch/dinov2",),
        image_size=322,
        multiple=14,
        global_descriptor=whole,
        patch_map=first,  # the class token follows
    ),
)
