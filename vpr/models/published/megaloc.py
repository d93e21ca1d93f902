"""MegaLoc (Berton and Masone, 2025): optimal-transport aggregation on DINOv2 ViT-B/14, trained on five data sets."""

from vpr.models.published.adapter import Adapter, first, whole

ADAPTERS = (
    Adapter(
        name="megaloc",
        repository="gmberton/MegaLoc",
        entry="get_trained_model",
        weights=("https://huggingface.co/gberton/MegaLoc",),
        image_size=322,
        multiple=14,
        global_descriptor=whole,
        patch_map=first,  # the class token follows
    ),
)
