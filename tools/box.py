"""``python -m tools.box RUN --data DIR``: write a distilled run and its teacher into vpr/weights/builtin.

Weights are rounded to float16, and the run is calibrated again with these weights.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save
from torch import nn

from vpr.base.files import write_bytes, write_json
from vpr.base.run_folder import CONFIG, METRICS, WEIGHTS
from vpr.eval.calibration.validator import Validator
from vpr.models.builtin import FOLDER
from vpr.models.loading import TEACHER, load_student, load_teacher

M = TypeVar("M", bound=nn.Module)


def main() -> None:
    """Write the built-in weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the tree that the run was trained on")
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    config = json.loads((arguments.run / CONFIG).read_text())
    model, held_out = round_to_half(load_student(arguments.run, cpu)), config["run"]["data"]["held_out"]
    losses = json.loads((arguments.run / METRICS).read_text())["losses"]
    with tempfile.TemporaryDirectory() as folder:
        calibration = Validator.load_city(arguments.data, held_out, Path(folder), cpu).calibrate(model)
    write_run(FOLDER, model, config, {"losses": losses, **calibration})
    teacher = round_to_half(load_teacher(arguments.run, cpu))
    write_run(FOLDER / TEACHER, teacher, json.loads((arguments.run / TEACHER / CONFIG).read_text()), {})


def round_to_half(model: M) -> M:
    """Round the weights of a model to float16; they stay float32."""
    model.load_state_dict({name: to_half(value).to(value.dtype) for name, value in model.state_dict().items()})
    return model


def to_half(value: torch.Tensor) -> torch.Tensor:
    """Floating-point numbers as float16; integers unchanged."""
    return value.half() if value.is_floating_point() else value


def write_run(folder: Path, model: nn.Module, config: dict, metrics: dict) -> None:
    """Write a run folder with float16 weights."""
    write_bytes(
        folder / WEIGHTS, save({name: to_half(value).contiguous() for name, value in model.state_dict().items()})
    )
    write_json(folder / CONFIG, {"run": config["run"]})
    write_json(folder / METRICS, metrics)


if __name__ == "__main__":
    main()
