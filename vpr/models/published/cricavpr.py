"""CricaVPR (Lu et al., CVPR 2024): regions of DINOv2 ViT-B/14, correlated across the images of a batch.

Photos are described one by one, so that a descriptor does not depend on the other photos of its batch.
"""

from vpr.models.published.adapter import Adapter, normalised_tokens, whole

ADAPTERS = (
    Adapter(
        name="cricavpr",
        repository="Lu-Feng/CricaVPR",
        entry="trained_model",
        weights=("https://github.com/Lu-Feng/CricaVPR/releases/download/v1.0/CricaVPR.pth",),
        image_size=224,
        multiple=224,  # its regions are those of 16 x 16 patches
        one_by_one=True,
        global_descriptor=whole,
        patch_map=normalised_tokens,
    ),
)
