"""``python -m tools.box RUN --data DIR``: write a distilled run and its teacher into vpr/weights/builtin.

Weights are rounded to float16, and the run is calibrated again with these weights. The graphs of both networks for ONNX
Runtime are written beside them. ``python -m tools.box`` without a run writes only the graphs, for example of another
format.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save
from torch import nn

from vpr.base.files import cache_folder, write_bytes, write_json
from vpr.base.run_folder import CONFIG, METRICS, WEIGHTS
from vpr.datasets.held_out import held_out_cities
from vpr.eval.calibration.validator import Validator
from vpr.models.builtin import FOLDER, NAME
from vpr.models.loading import TEACHER, load_student, load_teacher
from vpr.models.onnx_graph import architecture_of, build_network

M = TypeVar("M", bound=nn.Module)
CPU = torch.device("cpu")


def main() -> None:
    """Write the built-in weights and graphs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", help="default: only the graphs are written")
    parser.add_argument("--data", type=Path, help="the tree that the run was trained on")
    parser.add_argument("--held-out", help="cities of it to calibrate on, with commas; default: those of the run")
    arguments = parser.parse_args()
    if (arguments.run is None) != (arguments.data is None):
        parser.error("give both a run and --data, or neither")
    if arguments.run is not None:
        write_box(arguments.run, arguments.data, arguments.held_out)
    write_graphs([load_student(Path(NAME), CPU), load_teacher(Path(NAME), CPU)])


def write_box(run: Path, data: Path, held_out: str | None = None) -> None:
    """Write the weights, the configuration and the calibration of a run and of its teacher.

    held_out: cities to calibrate on, joined by commas; None for those of the run.
    """
    config = json.loads((run / CONFIG).read_text())
    model = round_to_half(load_student(run, CPU))
    if held_out is None:
        held_out = config["run"]["data"]["held_out"]
    losses = json.loads((run / METRICS).read_text())["losses"]
    with tempfile.TemporaryDirectory() as folder:
        calibration = Validator(held_out_cities(data, held_out.split(",")), Path(folder), CPU).calibrate(model)
    write_run(FOLDER, model, config, {"losses": losses, **calibration})
    teacher = round_to_half(load_teacher(run, CPU))
    write_run(FOLDER / TEACHER, teacher, json.loads((run / TEACHER / CONFIG).read_text()), {})


def write_graphs(models: Sequence[nn.Module]) -> None:
    """Write the graphs of the networks in the box for ONNX Runtime, and remove all other graphs from it.

    `build_network` keeps a graph in the cache folder if the box lacks it, and that file is copied.
    """
    for path in FOLDER.glob("*.onnx"):
        path.unlink()
    for model in models:
        build_network(model)
        name = f"{architecture_of(model)}.onnx"
        write_bytes(FOLDER / name, (cache_folder("graphs") / name).read_bytes())


def round_to_half(model: M) -> M:
    """Round the weights of a model to float16; they stay float32."""
    model.load_state_dict({name: to_half(value).to(value.dtype) for name, value in model.state_dict().items()})
    return model


def to_half(value: torch.Tensor) -> torch.Tensor:
    """Floating-point numbers as float16; integers unchanged."""
    return value.half() if value.is_floating_point() else value


def write_run(folder: Path, model: nn.Module, config: dict[str, Any], metrics: dict[str, Any]) -> None:
    """Write a run folder with float16 weights."""
    write_bytes(
        folder / WEIGHTS, save({name: to_half(value).contiguous() for name, value in model.state_dict().items()})
    )
    write_json(folder / CONFIG, {"run": config["run"]})
    write_json(folder / METRICS, metrics)


if __name__ == "__main__":
    main()
