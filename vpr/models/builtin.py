"""The built-in run folder, which ``--run builtin`` names."""

from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.files import cache_folder

NAME = "builtin"
FOLDER = Path(__file__).resolve().parents[1] / "weights" / NAME


def resolve_run(named: Path) -> Path:
    """The run folder that ``--run`` names; raises VprError if this version has no built-in weights."""
    if str(named) != NAME:
        return named
    if not FOLDER.is_dir():
        raise VprError(
            "this version has no built-in weights", thing=FOLDER, remedy="train a model with: python -m vpr.distill"
        )
    return FOLDER


def descriptor_folder(run: Path) -> Path:
    """The folder of a run's descriptor caches: inside the run, or in the user's cache for the built-in run."""
    return cache_folder("descriptors") if run == FOLDER else run / "cache"
