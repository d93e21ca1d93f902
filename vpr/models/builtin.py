"""The built-in run folder, which ``--run builtin`` names."""

from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.files import cache_folder
from vpr.models.model_name import is_model_name, similar_names

NAME = "builtin"
FOLDER = Path(__file__).resolve().parents[1] / "weights" / NAME


def resolve_run(named: Path) -> Path:
    """The run folder that ``--run`` names.

    Raises VprError for a model without a run folder, for a misspelt one, and if this version has no built-in weights.
    """
    if is_model_name(named):
        raise VprError(f"{named} is a model without a run folder", thing=named, remedy="pass a run folder")
    if str(named) != NAME:
        if (similar := similar_names(named)) and not named.exists():
            problem = f"{named} is neither a run folder nor a published model"
            raise VprError(problem, thing=named, remedy=f"similar names: {', '.join(similar)}")
        return named
    if not FOLDER.is_dir():
        raise VprError(
            "this version has no built-in weights", thing=FOLDER, remedy="train a model with: python -m vpr.distill"
        )
    return FOLDER


def descriptor_folder(run: Path) -> Path:
    """The folder of a run's descriptor caches: inside the run, or in the user's cache for the built-in run."""
    return cache_folder("descriptors") if run == FOLDER else run / "cache"
