"""Visual place recognition: models, descriptors, caches, transport, re-ranking, and maps of own photos.

    run = vpr.load("builtin")                          # or a run folder
    run.rank(run.describe("query.jpg"), run.describe(["a.jpg", "b.jpg"]))      # best first, re-ranked
    vpr.evaluate("builtin", "MSLS").table()            # as python -m eval.msls --rerank
    vpr.train("runs/mine", teacher="builtin")          # as python -m vpr.distill
    photo_map = vpr.Map.build("MAP", "photos/")        # photos with positions; Map.open("MAP") later
    photo_map.locate("photo.jpg")

A name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

import vpr.base.interrupt  # noqa: F401  before everything else: Ctrl-C during imports

if TYPE_CHECKING:
    from vpr.base.errors import VprError
    from vpr.eval.comparison.comparison import Comparison, compare
    from vpr.eval.evaluation import Evaluation, evaluate
    from vpr.maps.checking import CheckResult
    from vpr.maps.options import LocateConfig
    from vpr.maps.photo_map import Map
    from vpr.maps.results import Located, MapMatch
    from vpr.run import Ranking, Run, load
    from vpr.similarity import structural_similarity
    from vpr.training import train

__version__ = "0.2.0"
__all__ = [
    "CheckResult", "Comparison", "Evaluation", "LocateConfig", "Located", "Map", "MapMatch", "Ranking", "Run",
    "VprError", "__version__", "compare", "evaluate", "load", "structural_similarity", "train",
]  # fmt: skip
_MODULES = {
    "CheckResult": "vpr.maps.checking",
    "Comparison": "vpr.eval.comparison.comparison",
    "Evaluation": "vpr.eval.evaluation",
    "LocateConfig": "vpr.maps.options",
    "Located": "vpr.maps.results",
    "Map": "vpr.maps.photo_map",
    "MapMatch": "vpr.maps.results",
    "Ranking": "vpr.run",
    "Run": "vpr.run",
    "VprError": "vpr.base.errors",
    "compare": "vpr.eval.comparison.comparison",
    "evaluate": "vpr.eval.evaluation",
    "load": "vpr.run",
    "structural_similarity": "vpr.similarity",
    "train": "vpr.training",
}  # where each name is defined


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'vpr' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
