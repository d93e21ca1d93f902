"""The published models by name."""

from __future__ import annotations

from vpr.models.published import anyloc, boq, cosplace, cricavpr, edtformer, eigenplaces, megaloc, salad
from vpr.models.published.adapter import Adapter

MODULES = (megaloc, salad, boq, eigenplaces, cosplace, cricavpr, anyloc, edtformer)
ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for module in MODULES for adapter in module.ADAPTERS}
NAMES = [module.ADAPTERS[0].name for module in MODULES]  # without the variants


def find_adapter(repository: str, entry: str) -> Adapter | None:
    """The adapter of an entry; None if there is none.

    repository: OWNER/REPO[:REF], a folder named as the repository, or as torch.hub names it: OWNER_REPO_REF.

    >>> find_adapter("gmberton/MegaLoc", "get_trained_model").name, find_adapter("x/MegaLoc", "other")
    ('megaloc', None)
    """
    folder = repository.rstrip("/").split("/")[-1].partition(":")[0].casefold()
    for adapter in ADAPTERS.values():
        owner, name = adapter.repository.casefold().split("/")
        if entry == adapter.entry and (folder == name or folder.startswith(f"{owner}_{name}_")):
            return adapter
    return None
