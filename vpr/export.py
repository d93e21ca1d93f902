"""``python -m vpr.export``: the network of a run as an ONNX file, to describe photos without this package."""

import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import printable, run_command
from vpr.base.errors import VprError
from vpr.base.settings import option, output
from vpr.models.model_name import TIMM, is_model_name
from vpr.models.settings import RUN


@dataclass(frozen=True)
class ExportOptions:
    """Run and file."""

    run: Path = option(Path("runs/distill"), RUN)
    out: Path = output(Path("network.onnx"), "ONNX file to write", "onnx")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Writes the network of a run as an ONNX file: uint8 images in, global and patch descriptors out."
    return run_command("vpr.export", about, [ExportOptions], _work, argv)


def _work(options: ExportOptions) -> None:
    import torch

    from vpr.run import load

    if is_model_name(options.run) and not str(options.run).startswith(TIMM):  # before its code runs
        remedy = "export it by its own code, or pass a run folder or timm:NAME"
        raise VprError(f"{options.run} is code of others", thing=options.run, remedy=remedy)
    run, out = load(options.run, torch.device("cpu"), engine="torch"), options.out
    difference = run.export(out)
    height, width = run.network.input_size
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    print(printable(f"{out}: images (N, 3, {height}, {width}) uint8 to unit vectors, {size}"))
    print(f"largest difference from the run for ten random images: {difference:.1e}")


if __name__ == "__main__":
    sys.exit(main())
