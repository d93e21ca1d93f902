"""The cache specification of a model: which descriptors it makes."""

from vpr.cache import CacheSpec, PatchType
from vpr.description.adaptation import spec_of_type
from vpr.models.hub import HubModel
from vpr.models.netvlad import NetVLAD
from vpr.models.rollout import transformer_of
from vpr.models.structural import StructuralModel
from vpr.models.weights import fingerprint
from vpr.patch_codes import CODE_BYTES


def cache_spec(
    model: StructuralModel | NetVLAD | HubModel,
    dtype: PatchType = "float16",
    rollout: bool = False,
    adapt: bool | None = None,
) -> CacheSpec:
    """The specification of a model's descriptors. Its fingerprint covers weights, input transform, size, grid, pooling.

    rollout: also weights of patches. adapt: whether descriptors of a product-quantised type are adapted; None: those of
    models with a whitening head are. Raises VprError for a model without rollout.
    """
    if rollout:
        transformer_of(model)
    transform: tuple[object, ...] = (
        model.mean.flatten().tolist(),
        model.std.flatten().tolist(),
        model.interpolation,
        model.input_size,
    )
    if model.crop != "resize":  # the default is left out, so that fingerprints of old caches stay valid
        transform = (*transform, model.crop)
    if isinstance(model, NetVLAD):
        return CacheSpec(fingerprint(model, "NetVLAD", model.config.backbone, transform), 0, model.config.dim)
    if isinstance(model, HubModel):
        return CacheSpec(fingerprint(model, "hub", model.name, transform), 0, model.dim)
    config = model.config
    made_by = fingerprint(model, config.backbone, config.stage, transform, config.grid, config.pooling, config.head)
    adapt = dtype in CODE_BYTES and (config.head == "whitening" if adapt is None else adapt)
    return spec_of_type(
        CacheSpec(made_by, config.grid**2, config.dim, "float16", model.global_dim, rollout), dtype, adapt
    )
