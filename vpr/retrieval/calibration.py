"""What a run's calibration fixed, as the run folder records it."""

from pathlib import Path
from typing import Any

from vpr.base.errors import VprError
from vpr.base.run_folder import METRICS, read_metrics
from vpr.base.settings import checked
from vpr.models.builtin import run_of
from vpr.retrieval.confidence import Curves
from vpr.retrieval.settings import PROBLEM, Fixed


def calibration_of(run: Path) -> Fixed:
    """What the run's calibration fixed; defaults without a held-out city.

    Raises VprError for values that no calibration gives.
    """
    recorded = recorded_calibration(run)
    try:
        return checked(Fixed, {name: recorded[name] for name in ("weight", *PROBLEM) if name in recorded})
    except ValueError as error:
        raise _damaged(run, error) from error


def curves_of(run: Path) -> Curves:
    """The curves from separations to probabilities that the run's calibration fixed; errors as `calibration_of`."""
    try:
        return Curves.of(recorded_calibration(run).get("confidence", {}))
    except (TypeError, ValueError, AttributeError) as error:
        raise _damaged(run, error) from error


def recorded_calibration(run: Path) -> dict[str, Any]:
    """The table as it is recorded; empty without a held-out city. Raises VprError for what is no table."""
    recorded = read_metrics(run_of(run)).get("calibration", {})
    if not isinstance(recorded, dict):
        raise _damaged(run, "no table")
    return recorded


def _damaged(run: Path, reason: object) -> VprError:
    remedy = "give the command that made the run again, with --overwrite"
    return VprError(f"{run_of(run) / METRICS}: its calibration is damaged ({reason}); {remedy}")
