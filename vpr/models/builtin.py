"""Run folders as ``--run`` names them: a path or ``builtin``, and after it perhaps the form of the input.

``RUN@SIZE`` and ``RUN@SIZExGRID`` are the model of a run at another height and width of its input, pixels, and with
another number of patch descriptors per side.
"""

import os
from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.files import cache_folder
from vpr.models.model_name import form_text, is_model_name, similar_names, split_form

NAME = "builtin"
FOLDER = Path(__file__).resolve().parents[1] / "weights" / NAME


def resolve_run(named: Path) -> Path:
    """The run folder that ``--run`` names, whatever the form of the input.

    Raises VprError for a model without a run folder, for a misspelt one, and if this version has no built-in weights.
    """
    if is_model_name(named):
        raise VprError(f"{named} is a model without a run folder", thing=named, remedy="pass a run folder")
    named = split_run(named)[0]
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


def split_run(named: Path) -> tuple[Path, int, int]:
    """A run folder without ``@SIZExGRID``, the size and the grid; 0 for what is not given.

    A folder whose own name ends like that is taken as it is. Raises VprError for a form out of range.
    """
    if named.exists():
        return named, 0, 0
    bare, size, grid = split_form(str(named))
    return Path(bare), size, grid


def absolute_run(named: Path) -> str:
    """The name of a run with an absolute path, so that it means the same in every folder; ``builtin`` stays.

    >>> absolute_run(Path("builtin@224x14"))
    'builtin@224x14'
    """
    bare, size, grid = split_run(named)
    return (NAME if str(bare) == NAME else os.path.abspath(bare)) + form_text(size, grid)


def descriptor_folder(run: Path) -> Path:
    """The folder of a run's descriptor caches: inside the run, or in the user's cache for the built-in run."""
    return cache_folder("descriptors") if run == FOLDER else run / "cache"
