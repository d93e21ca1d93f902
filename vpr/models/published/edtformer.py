"""EDTformer (Jin et al., IEEE TCSVT 2025): a decoder with learned queries on DINOv2 ViT-B/14."""

from vpr.models.published.adapter import Adapter, normalised_tokens, whole

ADAPTERS = (
    Adapter(
        name="edtformer",
        repository="Tong-Jin01/EDTformer",
        entry="trained_model",
        weights=("https://github.com/Tong-Jin01/EDTformer/releases/download/v1.0.0/EDTformer.pth",),
        image_size=322,
        multiple=14,
        global_descriptor=whole,
        patch_map=normalised_tokens,
    ),
)
