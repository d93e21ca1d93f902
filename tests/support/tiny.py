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


LABELS = ["--recipe", "mini", "--steps", "3", "--places", "2", "--images-per-place", "3", "--dim", "16", "--grid", "3"]
LABELS += ["--structural-negatives", "2", "--held-out", "0", "--device", "cpu"]  # on class labels


def small_config(path: Path) -> Path:
    """Write options that make the recipe `lite` train for a second, as a YAML file."""
    options = {"steps": 2, "places": 4, "images_per_place": 2, "structural_negatives": 3, "device": "cpu"}
    options |= {"image_size": 64, "train_size": 0, "grid": 3, "dim": 16, "global_dim": 20, "clusters": 4}
    path.write_text("".join(f"{name}: {value}\n" for name, value in options.items()))
    return path
