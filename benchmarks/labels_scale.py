"""Image retrieval at the scale of Online Products: ``python -m benchmarks.labels_scale --out DIR [--images N]``.

60,502 images of 11,316 classes have synthetic descriptors, 128 numbers and 49 patches of 128. Prints the time of the
shortlists (1,000 deep), of re-ranking the first 100 of each and of the metrics, and the peak memory of the process. The
cache, 0.8 GB, is written into DIR first and stays there.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from vpr.cache import CacheSpec, DescriptorCache, create
from vpr.datasets.labels import LabelledImages
from vpr.eval.descriptors import DescribedSet
from vpr.eval.labels.label_metrics import evaluate_labels
from vpr.eval.ranking import find_shortlist, rerank
from vpr.retrieval.settings import RerankConfig

T = TypeVar("T")
SPEC = CacheSpec("synthetic", 49, 128)
BLOCK = 4096


def main() -> None:
    """Write the cache, run each stage, and print its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=60_502)
    arguments = parser.parse_args()
    count = max(2, arguments.images * 11_316 // 60_502)
    classes = np.sort(np.random.default_rng(0).integers(0, count, arguments.images))
    files = np.array([f"{number:06d}.jpg" for number in range(arguments.images)])
    images = LabelledImages(arguments.out, files, classes, [str(number) for number in range(classes.max() + 1)])
    path = arguments.out / f"{arguments.images}.h5"
    if not path.is_file():
        fill(path, files.tolist(), classes)
    data = images.retrieval_set()
    described = DescribedSet.from_cache(data, DescriptorCache(path))
    shortlist = time_stage("shortlists", lambda: find_shortlist(described, 100, 1000))
    config = RerankConfig()
    reranking = time_stage("re-ranking", lambda: rerank(described, shortlist, config, weight=5.0, fusion="similarity"))
    metrics = time_stage("metrics", lambda: evaluate_labels(shortlist.with_tail(reranking.ranked), data.answers))
    print(", ".join(f"{name} {100 * value:.1f}" for name, value in metrics.items()))
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory: {peak_gib:.2f} GiB, with the mapped cache")


def time_stage(name: str, work: Callable[[], T]) -> T:
    """Run a function, print its time, and return its result."""
    start = time.perf_counter()
    result = work()
    print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    return result


def fill(path: Path, files: list[str], classes: np.ndarray) -> None:
    """Write a cache in which images of a class are somewhat similar."""
    rng = np.random.default_rng(1)
    create(path, files, SPEC)
    cache = DescriptorCache(path, SPEC, writable=True)
    shared = rng.standard_normal((classes.max() + 1, 128), np.float32)
    for start in range(0, len(files), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(files)))
        patches = 2.5 * rng.standard_normal((len(rows), 49, 128), np.float32) + 0.25 * shared[classes[rows]][:, None]
        whole = patches.mean(1) + 0.9 * rng.standard_normal((len(rows), 128), np.float32)
        unit = [side / np.linalg.norm(side, axis=-1, keepdims=True) for side in (whole, patches)]
        cache.write(rows, unit[0], unit[1].astype(np.float16))


if __name__ == "__main__":
    main()
