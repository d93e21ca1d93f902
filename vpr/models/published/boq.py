"""BoQ, Bag-of-Queries (Ali-bey et al., CVPR 2024): learned queries on DINOv2 ViT-B/14, or on ResNet-50 to layer3."""

from vpr.models.published.adapter import Adapter, first, whole

RELEASE = "https://github.com/amaralibey/Bag-of-Queries/releases/download/v1.0"
DINOV2 = Adapter(
    name="boq",
    repository="amaralibey/Bag-of-Queries",
    entry="get_trained_boq",
    arguments={"backbone_name": "dinov2", "output_dim": 12288},
    weights=(
        f"{RELEASE}/dinov2_12288.pth",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    ),
    more_code=("facebookresearch/dinov2",),
    image_size=322,
    multiple=14,
    global_descriptor=first,  # the attentions follow
    patch_map=whole,
)
RESNET = Adapter(
    name="boq-resnet50",
    repository=DINOV2.repository,
    entry=DINOV2.entry,
    arguments={"backbone_name": "resnet50", "output_dim": 16384},
    weights=(f"{RELEASE}/resnet50_16384.pth", "https://download.pytorch.org/models/resnet50-0676ba61.pth"),
    image_size=384,
    global_descriptor=first,
    patch_map=whole,
)
ADAPTERS = (DINOV2, RESNET)
