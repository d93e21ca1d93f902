"""``python -m benchmarks.box RUN --data DIR``: put a distilled run and its teacher into the box, vpr/weights/builtin.

Weights are rounded to float16. The student is taken at another input size and grid than it was trained at: VLAD is
fitted again to the training photos at that size, and the weight and mass are fixed again on the held-out city.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save_file
from torch import nn

from distill.data import load_images, training_data
from distill.head import start_summary
from distill.settings import RunConfig
from eval.calibration import validation
from vpr.base.files import replacing, write_json
from vpr.base.run_folder import CONFIG, METRICS, WEIGHTS
from vpr.base.settings import Names
from vpr.models.builtin import FOLDER
from vpr.models.loading import TEACHER, load_student, load_teacher
from vpr.models.structural import StructuralModel

M = TypeVar("M", bound=nn.Module)


def main() -> None:
    """Write the box."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the tree that the run was trained on")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--grid", type=int, default=10)
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    config = json.loads((arguments.run / CONFIG).read_text())
    model = resized(load_student(arguments.run, cpu), arguments.image_size, arguments.grid)
    config["run"]["model"] |= {"image_size": arguments.image_size, "grid": arguments.grid}
    cities, held_out = config["run"]["data"]["cities"], config["run"]["data"]["held_out"]
    data = training_data(RunConfig(arguments.data, Names(cities), held_out))
    start_summary(model, load_images(data, model.input_size), cpu, config["run"]["train"]["seed"])
    round_to_half(model)
    losses = json.loads((arguments.run / METRICS).read_text())["losses"]
    with tempfile.TemporaryDirectory() as folder:
        calibration = validation(data.root, held_out, Path(folder), cpu)(model)
    write(FOLDER, model, config, {"losses": losses, **calibration})
    teacher = round_to_half(load_teacher(arguments.run, cpu))
    write(FOLDER / TEACHER, teacher, json.loads((arguments.run / TEACHER / CONFIG).read_text()), {})


def resized(model: StructuralModel, image_size: int, grid: int) -> StructuralModel:
    """The same weights at another input size and grid."""
    config = dataclasses.replace(model.config, image_size=image_size, grid=grid)
    other = StructuralModel(config, fill=False)
    other.load_state_dict(model.state_dict())
    return round_to_half(other.eval())


def round_to_half(model: M) -> M:
    """Every weight as float16 holds it, in float32."""
    model.load_state_dict({name: halved(value).to(value.dtype) for name, value in model.state_dict().items()})
    return model


def halved(value: torch.Tensor) -> torch.Tensor:
    """Float32 as float16; whole numbers as they are."""
    return value.half() if value.is_floating_point() else value


def write(folder: Path, model: nn.Module, config: dict, metrics: dict) -> None:
    """A run folder with float16 weights."""
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: halved(value).contiguous() for name, value in model.state_dict().items()}, temporary)
    write_json(folder / CONFIG, {"run": config["run"]})
    write_json(folder / METRICS, metrics)


if __name__ == "__main__":
    main()
