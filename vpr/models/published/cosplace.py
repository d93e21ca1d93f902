"""CosPlace (Berton et al., CVPR 2022): GeM on a convolutional network, trained by classification on SF-XL."""

from vpr.models.published.adapter import Adapter, whole

TORCHVISION = "https://download.pytorch.org/models"
IMAGENET = {  # torchvision's weights that the networks start from
    "VGG16": f"{TORCHVISION}/vgg16-397923af.pth",
    "ResNet18": f"{TORCHVISION}/resnet18-f37072fd.pth",
    "ResNet50": f"{TORCHVISION}/resnet50-11ad3fa6.pth",
    "ResNet101": f"{TORCHVISION}/resnet101-cd907fc2.pth",
    "ResNet152": f"{TORCHVISION}/resnet152-f82ba261.pth",
}
RELEASE = "https://github.com/gmberton/CosPlace/releases/download/v1.0"
SIZES = {
    "ResNet50": (2048, 1024, 512, 256, 128, 64, 32),
    "ResNet18": (512, 256, 128, 64, 32),
    "ResNet101": (2048, 1024, 512, 256, 128, 64, 32),
    "ResNet152": (2048, 1024, 512, 256, 128, 64, 32),
    "VGG16": (512, 256, 128, 64),
}  # lengths of the published descriptors, by network; the first is ``cosplace``


def _adapter(name: str, backbone: str, length: int) -> Adapter:
    return Adapter(
        name=name,
        repository="gmberton/cosplace",
        entry="get_trained_model",
        arguments={"backbone": backbone, "fc_output_dim": length},
        weights=(f"{RELEASE}/{backbone}_{length}_cosplace.pth", IMAGENET[backbone]),
        image_size=512,
        global_descriptor=whole,
        patch_map=whole,  # the last convolutional map, before GeM
    )


ADAPTERS = (
    _adapter("cosplace", "ResNet50", 2048),
    *(_adapter(f"cosplace-{name.lower()}-{length}", name, length) for name in SIZES for length in SIZES[name]),
)
