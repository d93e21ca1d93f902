"""The log of a training's numbers: training.csv in the run folder, and TensorBoard files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from vpr.base.errors import VprError
from vpr.base.files import replace_file
from vpr.base.packages import install_extra

TABLE, TENSORBOARD = "training.csv", "tensorboard"  # in the run folder
LOG_EVERY = 10  # steps
LEARNING_RATE = "learning_rate"  # a column


def require_tensorboard() -> None:
    """Raise VprError if TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise VprError(
            "--tensorboard needs a package", thing="--tensorboard", remedy=install_extra("tensorboard")
        ) from error


class TrainingLog:
    """Numbers by step. A checkpoint contains them, so an interrupted training has the log of an uninterrupted one."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.writer: Any = None  # of TensorBoard

    def open_tensorboard(self, folder: Path, step: int) -> None:
        """Write TensorBoard files too. Events after this step, which a killed training left, are discarded."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add numbers of a step, by name. Values for the same step are merged."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1].update(values)
        else:
            self.rows.append({"step": step, **values})
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def write(self, folder: Path) -> None:
        """Write the table, and flush TensorBoard."""
        with replace_file(folder / TABLE) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """Close the TensorBoard files."""
        if self.writer is not None:
            self.writer.close()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the result of `state_dict`."""
        self.rows = list(state["rows"])
