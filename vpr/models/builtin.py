"""The run folder in the box: what ``--run builtin`` names."""

from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.files import cache_folder

NAME = "builtin"
FOLDER = Path(__file__).resolve().parents[1] / "weights" / NAME


def run_of(named: Path) -> Path:
    """The run folder that ``--run`` names; raises VprError when the box is empty."""
    if str(named) != NAME:
        return named
    if not FOLDER.is_dir():
        raise VprError("no weights are shipped with this version; make a run with: python -m vpr.distill")
    return FOLDER


def caches_of(run: Path) -> Path:
    """Where the descriptor caches of a run lie: inside it, or in the user's cache for the one in the box."""
    return cache_folder("descriptors") if run == FOLDER else run / "cache"
