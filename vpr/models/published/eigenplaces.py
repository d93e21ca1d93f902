"""EigenPlaces (Berton et al., ICCV 2023): GeM on a convolutional network, trained on views of SF-XL from all sides."""

from vpr.models.published.adapter import Adapter, whole
from vpr.models.published.cosplace import IMAGENET
from vpr.models.published.cosplace import RELEASE as COSPLACE

RELEASE = "https://github.com/gmberton/EigenPlaces/releases/download/v1.0"
SIZES = {
    "ResNet50": (2048, 1024, 512, 256, 128),
    "ResNet18": (512, 256),
    "ResNet101": (2048, 1024, 512, 256, 128),
    "VGG16": (512,),
}  # lengths of the published descriptors, by network; the first is ``eigenplaces``


def _adapter(name: str, backbone: str, length: int) -> Adapter:
    start = (f"{COSPLACE}/{backbone}_512_cosplace.pth", IMAGENET[backbone])  # its code begins with CosPlace
    return Adapter(
        name=name,
        repository="gmberton/eigenplaces",
        entry="get_trained_model",
        arguments={"backbone": backbone, "fc_output_dim": length},
        weights=(f"{RELEASE}/{backbone}_{length}_eigenplaces.pth", *start),
        more_code=("gmberton/cosplace",),
        image_size=512,
        global_descriptor=whole,
        patch_map=whole,  # the last convolutional map, before GeM
    )


ADAPTERS = (
    _adapter("eigenplaces", "ResNet50", 2048),
    *(_adapter(f"eigenplaces-{name.lower()}-{length}", name, length) for name in SIZES for length in SIZES[name]),
)
