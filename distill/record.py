"""The record of a training: training.csv in the run folder, and TensorBoard's files."""

from pathlib import Path
from typing import Any

import pandas as pd

from vpr.base.errors import VprError
from vpr.base.files import replacing
from vpr.base.packages import install_extra

TABLE, TENSORBOARD = "training.csv", "tensorboard"  # in the run folder
EVERY = 10  # steps a row
RATE = "learning_rate"


def require_tensorboard() -> None:
    """Raise VprError where TensorBoard is not installed."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise VprError(f"--tensorboard needs a package: {install_extra('tensorboard')}") from error


class Record:
    """Rows of numbers by step. They are in the checkpoint, so an interrupted training has the record of one that was
    not interrupted."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.writer: Any = None  # TensorBoard's

    def open_tensorboard(self, folder: Path, step: int) -> None:
        """Write events too; those after this step, of a training that was killed, no longer count."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1)

    def add(self, step: int, values: dict[str, float]) -> None:
        """Numbers of a step, by name; more may follow for the same step."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1].update(values)
        else:
            self.rows.append({"step": step, **values})
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def write(self, folder: Path) -> None:
        """Write the table, and hand the events to the system."""
        with replacing(folder / TABLE) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False)
        if self.writer is not None:
            self.writer.flush()

    def close(self) -> None:
        """End the events."""
        if self.writer is not None:
            self.writer.close()
