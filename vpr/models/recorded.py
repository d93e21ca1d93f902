"""The settings of a structural model that its run folder records. They are read without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from vpr.base.errors import VprError
from vpr.base.run_folder import CONFIG, read_config, read_metrics
from vpr.base.settings import load_stage
from vpr.models.builtin import resolve_run, split_run
from vpr.models.model_name import MOST_GRID
from vpr.models.settings import ModelConfig

T = TypeVar("T")


def student_config(folder: Path) -> ModelConfig:
    """The settings of the structural model of a finished run, in the form that its name asks for.

    Without a grid in the name, a patch keeps its size in pixels. Errors as `vpr.models.loading.load_student`.
    """
    _, size, grid = split_run(folder)
    folder = resolve_run(folder)
    config = read_config(folder)
    if "model" not in config:
        raise VprError(
            f"{folder} holds a {config.get('command')} run, not a structural model",
            thing=folder,
            remedy="pass a vpr.distill run",
        )
    read_metrics(folder)
    settings = read_settings(ModelConfig, config["model"], folder)
    if not size:
        return settings
    resized = settings.resized(size, grid)
    if resized.grid > MOST_GRID:
        problem = f"{folder}: {size} pixels have a grid of {resized.grid}"
        raise VprError(problem, thing=folder, remedy=f"give a grid of at most {MOST_GRID}, as @{size}x{MOST_GRID}")
    return resized


def read_settings(stage: type[T], recorded: object, folder: Path) -> T:
    """The settings that a run recorded; raises VprError for invalid values."""
    try:
        return load_stage(stage, recorded)
    except ValueError as error:
        raise VprError(
            f"{folder / CONFIG} is damaged, or of another version of this software ({error})",
            thing=folder / CONFIG,
            remedy="train the run again",
        ) from error
