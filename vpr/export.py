"""``python -m vpr.export``: the network of a run as an ONNX file, to describe photos without this package."""

import sys
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import printable, run_command
from vpr.base.settings import option, output


@dataclass(frozen=True)
class ExportOptions:
    """Run and file."""

    run: Path = option(Path("runs/distill"), "run folder of the structural model, or 'builtin'")
    out: Path = output(Path("network.onnx"), "ONNX file to write", "onnx")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Writes the network of a run as an ONNX file: uint8 images in, global and patch descriptors out."
    return run_command("vpr.export", about, [ExportOptions], _work, argv)


def _work(options: ExportOptions) -> None:
    import torch

    from vpr.run import load

    run, out = load(options.run, torch.device("cpu"), engine="torch"), options.out
    difference = run.export(out)
    height, width = run.network.input_size
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    print(printable(f"{out}: images (N, 3, {height}, {width}) uint8 to unit vectors, {size}"))
    print(f"largest difference from the run for ten random images: {difference:.1e}")


if __name__ == "__main__":
    sys.exit(main())
