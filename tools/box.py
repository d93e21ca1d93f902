"""``python -m tools.box RUN --data DIR``: put a distilled run and its teacher into the box, vpr/weights/builtin.

Weights are rounded to float16, and what the held-out city fixes is fixed again with those.
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
    """Write the box."""
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
    write(FOLDER, model, config, {"losses": losses, **calibration})
    teacher = round_to_half(load_teacher(arguments.run, cpu))
    write(FOLDER / TEACHER, teacher, json.loads((arguments.run / TEACHER / CONFIG).read_text()), {})


def round_to_half(model: M) -> M:
    """Every weight as float16 holds it, in float32."""
    model.load_state_dict({name: halved(value).to(value.dtype) for name, value in model.state_dict().items()})
    return model


def halved(value: torch.Tensor) -> torch.Tensor:
    """Float32 as float16; whole numbers as they are."""
    return value.half() if value.is_floating_point() else value


def write(folder: Path, model: nn.Module, config: dict, metrics: dict) -> None:
    """A run folder with float16 weights."""
    write_bytes(
        folder / WEIGHTS, save({name: halved(value).contiguous() for name, value in model.state_dict().items()})
    )
    write_json(folder / CONFIG, {"run": config["run"]})
    write_json(folder / METRICS, metrics)


if __name__ == "__main__":
    main()
