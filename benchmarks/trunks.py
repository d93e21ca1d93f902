"""``python -m benchmarks.trunks --data DIR``: accuracy and cost of ImageNet trunks without training, and of summaries.

The patches of each trunk, input size and grid are whitened on the training photos, without labels. Prints a Markdown
table of Recall@1 on the held-out city, before and after re-ranking, and of milliseconds an image on one core, with
decoding. ``--poolings`` compares the global descriptors of one trunk instead.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vpr.base.machine import choose_device
from vpr.datasets.msls import Protocol, load
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.image_files import ImageFiles
from vpr.distill.data import load_images, training_data
from vpr.distill.head_initialisation import initialise_whitening
from vpr.distill.settings import RunOptions
from vpr.eval.descriptors import describe
from vpr.eval.metrics import evaluate
from vpr.eval.options import RankingOptions
from vpr.eval.ranking import find_shortlist, rerank
from vpr.models.settings import ModelConfig
from vpr.models.structural import StructuralModel
from vpr.retrieval.settings import RerankConfig

TRUNKS = (
    ("tf_efficientnet_lite0", 112, 112, 7), ("tf_efficientnet_lite0", 112, 160, 10),
    ("tf_efficientnet_lite0", 112, 224, 7), ("tf_efficientnet_lite0", 112, 224, 14),
    ("tf_efficientnet_lite2", 120, 112, 7), ("tf_efficientnet_lite2", 120, 160, 10),
    ("tf_efficientnet_lite2", 120, 224, 14),
)  # fmt: skip  # name, dimensions of a patch, pixels, grid
UNTRAINED_TRUNKS = (("vit_mini_patch16_112", 112, 7), ("resnet50", 224, 14))  # their time only, with random weights
POOLINGS = ("avg", "gem", "vlad", "layout")
WEIGHT, MASS = 20.0, 0.7


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--held-out", default="amsterdam")
    parser.add_argument("--poolings", action="store_true", help="compare global descriptors instead of trunks")
    arguments = parser.parse_args()
    choose_device("cpu")
    data = load(arguments.data, Protocol(split="val", cities=(arguments.held_out,))).retrieval_set
    lite = {"backbone": "tf_efficientnet_lite0", "weights": "imagenet", "head": "whitening", "dim": 112}
    if arguments.poolings:
        print("| global descriptor | R@1 | re-ranked |\n|---|---|---|")
        for pooling in POOLINGS:
            config = ModelConfig(**{**lite, "pooling": pooling})
            print(
                "| {} | {:.1f} | {:.1f} |".format(pooling, *accuracy(make_model(config, arguments), data)), flush=True
            )
        return
    print("| trunk | pixels | grid | parameters | ms an image | R@1 | re-ranked |\n|---|---|---|---|---|---|---|")
    for backbone, dim, pixels, grid in TRUNKS:
        changes = {"backbone": backbone, "dim": dim, "image_size": pixels, "grid": grid, "pooling": "vlad"}
        model = make_model(ModelConfig(**{**lite, **changes}), arguments)
        size = sum(parameter.numel() for parameter in model.backbone.parameters()) / 1e6
        figures = (milliseconds(model, data), *accuracy(model, data))
        print(f"| {backbone} | {pixels} | {grid} x {grid} | {size:.2f} M | ", end="")
        print("{:.1f} | {:.1f} | {:.1f} |".format(*figures), flush=True)
    for backbone, pixels, grid in UNTRAINED_TRUNKS:
        model = StructuralModel(ModelConfig(backbone, image_size=pixels, grid=grid)).eval()
        size = sum(parameter.numel() for parameter in model.backbone.parameters()) / 1e6
        print(f"| {backbone} | {pixels} | {grid} x {grid} | {size:.2f} M | {milliseconds(model, data):.1f} | | |")


def make_model(config: ModelConfig, arguments: argparse.Namespace) -> StructuralModel:
    """The untrained model, whitened on the training photos."""
    torch.manual_seed(0)
    training = training_data(RunOptions(arguments.data, held_out=arguments.held_out))
    model = StructuralModel(config).to(memory_format=torch.channels_last)
    initialise_whitening(model, load_images(training, model), torch.device("cpu"), 0)
    return model.eval()


def accuracy(model: StructuralModel, data: RetrievalSet) -> tuple[float, float]:
    """Recall@1 before and after re-ranking, in per cent; nothing is fitted to the city."""
    with tempfile.TemporaryDirectory() as folder:
        config = RankingOptions(adapt=False)
        described = describe(model, data, Path(folder) / "cache.h5", torch.device("cpu"), config)
        shortlist = find_shortlist(described, 100)
        reranked = rerank(described, shortlist, RerankConfig(mass=MASS), weight=WEIGHT, fusion="similarity").ranked
        before, after = (evaluate(ranked, data.answers)["recall@1"] for ranked in (shortlist.ranked, reranked))
        return 100 * before, 100 * after


def milliseconds(model: StructuralModel, data: RetrievalSet, batch: int = 32, rounds: int = 7) -> float:
    """Milliseconds an image on one core, from the file to its descriptors; the median over batches."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images, times = ImageFiles.for_model(data.root, data.database.images[:, 0], model), []
    for number in range(rounds):
        start = time.perf_counter()
        rows = np.arange(number * batch, (number + 1) * batch) % len(images)
        stacked = torch.stack([images[row] for row in rows.tolist()]).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            model(stacked)
        times.append(1000 * (time.perf_counter() - start) / batch)
    torch.set_num_threads(threads)
    return statistics.median(times)


if __name__ == "__main__":
    main()
