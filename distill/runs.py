"""Run folders of trainings: what identifies a run, and whether it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from vpr.base.command import log_to
from vpr.base.run_folder import start_run
from vpr.distill.data import TrainingData
from vpr.distill.settings import StudentSettings, TeacherSettings, identity_of


def run_identity(
    command: str, settings: StudentSettings | TeacherSettings, data: TrainingData, **details: Any
) -> dict[str, Any]:
    """The entry ``run`` of config.json: two runs with the same identity have the same result.

    command: the module that trains. details: further entries.
    """
    identity = {"command": command, "data": data.identity, **identity_of(settings), **details}
    if settings.depends_on(data.held_out.name):
        return {**identity, "validated_on": data.held_out.identity}
    return identity


def open_run(fabric: Fabric, out: Path, identity: dict[str, Any], overwrite: bool, write_log: bool = True) -> bool:
    """Create or continue a run folder; returns whether the run is complete already.

    The first process does it, and the others wait. write_log: append the log to the folder's log.txt from here on.
    Errors as `start_run`.
    """
    complete = fabric.broadcast(fabric.is_global_zero and start_run(out, identity, overwrite))
    if write_log and fabric.is_global_zero and not complete:
        log_to(out)
    return complete
