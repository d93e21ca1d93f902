"""``python -m tools.whiten RUN --photos DIR ... --photos DIR ... --out NEW``: whiten a run's patches again.

Each ``--photos`` names the folders of one kind of photos; at most 4,000 are taken, as many of each kind. The head is
composed with the whitening, and the pooling is fitted again; the trunk is kept. The new run is not calibrated.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from vpr.base.errors import VprError
from vpr.base.files import write_json
from vpr.base.run_folder import CONFIG, METRICS, WEIGHTS
from vpr.description.batches import BATCH
from vpr.description.describe import load_batches
from vpr.description.image_files import ImageFiles
from vpr.description.photos import find_photo_files
from vpr.distill.head_initialisation import POWER
from vpr.models.builtin import resolve_run
from vpr.models.loading import TEACHER, load_student
from vpr.models.structural import StructuralModel
from vpr.models.summary import fit_whitening
from vpr.models.weights import save_weights

IMAGES = 4000  # of all folders together


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--photos", type=Path, nargs="+", action="append", required=True, help="folders of one kind of photos"
    )
    parser.add_argument("--power", type=float, default=POWER, help="of whitening: 0 for none, 0.5 for equal variances")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new run")
    arguments = parser.parse_args()
    try:
        whiten(arguments.run, arguments.photos, arguments.power, arguments.out)
    except (VprError, OSError) as error:
        sys.exit(f"tools.whiten: error: {error}")
    print(arguments.out)


def whiten(run: Path, kinds: list[list[Path]], power: float, out: Path) -> None:
    """Write a run with whitened patches, and with the teacher of the other run.

    kinds: the folders of each kind of photos. Raises VprError if there is a run already.
    """
    if (out / METRICS).exists():  # written last
        raise VprError(f"{out} is a run already; name another --out")
    model = load_student(run, torch.device("cpu"))
    found = [[path for folder in folders for path in find_photo_files(folder)] for folders in kinds]
    raw = np.concatenate([_raw_patches(model, paths, IMAGES // len(kinds)) for paths in found])
    whiten_head(model, raw, power)
    folder = resolve_run(run)
    if (folder / TEACHER).is_dir():
        shutil.copytree(folder / TEACHER, out / TEACHER, dirs_exist_ok=True)
    save_weights(model, out / WEIGHTS)
    config = json.loads((folder / CONFIG).read_text())["run"]
    whitened = {"power": power, "photos": [[place.name for place in places] for places in kinds]}
    write_json(out / CONFIG, {"run": {**config, "whitened_again": whitened}})
    write_json(out / METRICS, {"losses": json.loads((folder / METRICS).read_text())["losses"]})


def whiten_head(model: StructuralModel, raw: np.ndarray, power: float) -> None:
    """Compose the head with a whitening of its outputs, and fit the pooling again.

    The outputs keep their origin. Without their mean, unadapted rendered streets lose 3 points of R@1.

    raw: unit features (N, P, D) of some images. power: variances are raised to minus this power.
    """
    head = model.head
    with torch.no_grad():
        _, components = fit_whitening(head(torch.from_numpy(raw)).numpy(), len(head.bias), power, 0)
        for part in (head.weight, head.bias):
            part.copy_(torch.from_numpy(components) @ part)
        if model.summary is not None:
            model.summary.fit(model.map_patches(torch.from_numpy(raw)).numpy(), POWER, 0)


def _raw_patches(model: StructuralModel, paths: list[Path], most: int) -> np.ndarray:
    """The inputs of the head (N, P, D) for at most so many of the photos, drawn at random."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(paths))[:most])
    images = ImageFiles.for_model(Path("/"), [str(paths[number].resolve()) for number in chosen], model)
    batches = [range(start, min(start + BATCH, len(images))) for start in range(0, len(images), BATCH)]
    with torch.no_grad():
        return np.concatenate([model.raw_patches(batch).numpy() for batch in load_batches(images, batches)])


if __name__ == "__main__":
    main()
