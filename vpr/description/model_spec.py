"""The cache specification of a model: which descriptors it makes."""

from typing import TypeAlias

from vpr.base.errors import VprError
from vpr.cache import CacheSpec, PatchType
from vpr.description.adaptation import spec_of_type
from vpr.models.hub import HubModel
from vpr.models.netvlad import NetVLAD
from vpr.models.published.network import PublishedModel
from vpr.models.rollout import transformer_of
from vpr.models.structural import StructuralModel
from vpr.models.weights import fingerprint
from vpr.patch_codes import CODE_BYTES

PatchModel: TypeAlias = StructuralModel | PublishedModel  # makes global and patch descriptors
AnyModel: TypeAlias = PatchModel | NetVLAD | HubModel  # the last two make global descriptors only


def cache_spec(
    model: AnyModel,
    dtype: PatchType = "float16",
    rollout: bool = False,
    adapt: bool | None = None,
) -> CacheSpec:
    """The specification of a model's descriptors. Its fingerprint covers weights, input transform, size, grid, pooling,
    and the code of a model of others.

    rollout: also weights of patches, by rollout; learnt weights of a model are always there. adapt: whether descriptors
    of a product-quantised type are adapted; None: those of models with a whitening head are. Raises VprError for a
    rollout of a model that has none, or that has learnt weights.
    """
    learnt = has_learnt_weights(model)
    if rollout:
        transformer_of(model)
        if learnt:
            problem = (
                "this model has learnt weights of its patches, which its caches hold in place of those of the rollout"
            )
            raise VprError(problem, thing="rollout", remedy="leave rollout out, or pass --marginals learnt")
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
        return CacheSpec(fingerprint(model, "hub", model.origin, transform), 0, model.dim)
    is_published = isinstance(model, PublishedModel)
    made_by = model.fingerprint(transform) if isinstance(model, PublishedModel) else _structural(model, transform)
    config = model.config
    adapt = dtype in CODE_BYTES and (config.head == "whitening" if adapt is None else adapt)
    spec = CacheSpec(
        made_by, config.grid**2, config.dim, "float16", model.global_dim, rollout or learnt, keeps_globals=is_published
    )
    return spec_of_type(spec, dtype, adapt)


def has_learnt_weights(model: object) -> bool:
    """Whether a model gives learnt weights of its patches."""
    return isinstance(model, StructuralModel) and model.patch_weights is not None


def _structural(model: StructuralModel, transform: object) -> str:
    """The fingerprint of a structural model."""
    config = model.config
    return fingerprint(model, config.backbone, config.stage, transform, config.grid, config.pooling, config.head)
