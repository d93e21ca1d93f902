"""A comparison of losses and miners: ``python -m benchmarks.losses --out DIR [--data DIR] [--steps N] [--seeds N]``.

Trains models of the recipe `lite` at 112 pixels from scratch, with equal steps and seeds. Prints a Markdown table of
Recall@1 on the validation cities before and after re-ranking: mean and range over the seeds. Complete runs are not
trained again.
"""

import argparse
from pathlib import Path

import numpy as np

from vpr import scratch
from vpr.base.errors import VprError
from vpr.base.machine import choose_device
from vpr.datasets.default_data import data_root
from vpr.datasets.msls import Protocol, load
from vpr.distill.losses.miners import MINERS
from vpr.distill.settings import Loss
from vpr.eval.evaluator import Evaluator
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.retrieval.settings import RerankOptions

SMALLER = ["--image-size", 112, "--train-size", 0, "--grid", 7]


def main() -> None:
    """Train and evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    data = load(data_root(arguments.data), Protocol())
    evaluator = Evaluator(RankingOptions(), RerankOptions(), choose_device("auto"))
    methods = {loss: ["--loss", loss] for loss in Loss.__args__}  # type: ignore[attr-defined]
    methods |= {f"triplet, {miner}": ["--loss", "triplet", "--miner", miner] for miner in MINERS}
    methods["infonce, memory of 1,024"] = ["--memory", "1024"]
    print(f"| loss, miner | R@1, shortlist | re-ranked |\n|---|---|---|\n| {arguments.steps} steps | | |")
    for name, options in methods.items():
        recalls = []
        for seed in range(arguments.seeds):
            run = arguments.out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            common = ["--data", data.root, "--out", run, "--steps", arguments.steps, "--seed", seed, *SMALLER]
            if scratch.main([*map(str, common), *options]):
                raise VprError(f"the training of {run} failed")
            scores = evaluator.answer(data.retrieval_set, SourceOptions(run, rerank=True)).scores(data.retrieval_set)
            recalls.append([100 * scores[stage]["recall@1"] for stage in ("shortlist", "rerank")])
        columns = [f"{np.mean(side):.1f} ({min(side):.1f} to {max(side):.1f})" for side in zip(*recalls)]
        print(f"| {name} | {columns[0]} | {columns[1]} |", flush=True)


if __name__ == "__main__":
    main()
