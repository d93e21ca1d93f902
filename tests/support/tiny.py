"""Training that takes a second, in batches large enough that every loss is a number."""

from pathlib import Path

TEACHER = [
    "--recipe",
    "mini",
    "--steps",
    "4",
    "--places",
    "4",
    "--images-per-place",
    "2",
    "--dim",
    "16",
    "--augment",
    "light",
]
TEACHER += ["--device", "cpu"]
SMALL = [*TEACHER, "--structural-negatives", "3"]  # a student


def small_config(path: Path) -> Path:
    """Write the options of a small student, but its recipe, as a YAML file."""
    options = dict(zip(SMALL[::2], SMALL[1::2]))
    del options["--recipe"]
    lines = [f"{name.removeprefix('--').replace('-', '_')}: {value}" for name, value in options.items()]
    path.write_text("\n".join([*lines, "grid: 3"]))
    return path
