"""The cache specification of a model: which descriptors it makes."""

from vpr.cache import CacheSpec, PatchType
from vpr.models.hub import HubModel
from vpr.models.netvlad import NetVLAD
from vpr.models.rollout import transformer_of
from vpr.models.structural import StructuralModel
from vpr.models.weights import fingerprint


def cache_spec(
    model: StructuralModel | NetVLAD | HubModel, dtype: PatchType = "float16", rollout: bool = False
) -> CacheSpec:
    """The specification of a model's descriptors. Its fingerprint covers weights, input transform, size, grid, pooling.

    rollout: also weights of patches. Raises VprError for a model without rollout.
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
    return CacheSpec(made_by, config.grid**2, config.dim, dtype, model.global_dim, rollout)
