"""Visual place recognition: models, descriptors, caches, transport, re-ranking, and maps of own photos.

    model = vpr.load("builtin")                        # or a run folder
    photo_map = vpr.Map.build("MAP", "photos/")        # photos with positions; Map.open("MAP") later
    photo_map.locate("photo.jpg")

What is named here is imported when it is used first.
"""

import importlib
from typing import TYPE_CHECKING, Any

import vpr.base.interrupt  # noqa: F401  before everything else: Ctrl-C during imports

if TYPE_CHECKING:
    from vpr.maps.model import Model, load
    from vpr.maps.options import LocateConfig
    from vpr.maps.photo_map import Map
    from vpr.maps.results import Located, MapMatch

__all__ = ["LocateConfig", "Located", "Map", "MapMatch", "Model", "load"]
HOMES = {"LocateConfig": "options", "Map": "photo_map", "Model": "model", "load": "model"}
HOMES |= {"Located": "results", "MapMatch": "results"}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'vpr' has no attribute {name!r}")
    return getattr(importlib.import_module(f"vpr.maps.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
