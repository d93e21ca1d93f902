"""``python -m eval.table``: the paper's table, NetVLAD, scratch and distilled, each without and with structure.

It trains a scratch and a distilled model for each seed, evaluates them, and writes table.json, .txt, .csv and .png.
Given again it continues: runs that are complete are kept.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.msls.options import ProtocolOptions
from eval.options import RankingConfig, SourceConfig
from eval.tables import describe_counts, describe_protocol, show
from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.machine import choose_device
from vpr.base.settings import PositiveInt, option, recipes
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    import numpy as np

    from datasets.retrieval_set import RetrievalSet
    from eval.evaluation import Evaluator

log = logging.getLogger("vpr")


@dataclass(frozen=True)
class TableOptions:
    """Table."""

    seeds: PositiveInt = option(3, "trainings of each model, with the seeds 0, 1, ...")
    out: Path = option(Path("runs/table"), "folder of the runs and of the table")
    recipe: str = option("lite", "recipe of the students")
    training: Path | None = option(None, "YAML file of options that both training commands take, such as steps")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    stages = [TableOptions, ProtocolOptions, RankingConfig, RerankOptions]
    return run_command("eval.table", "The paper's table with intervals, over several seeds.", stages, _work, argv)


def _work(table: TableOptions, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions) -> None:
    from eval.evaluation import Evaluator
    from eval.results import Results, write_results

    check(table)
    dataset = options.load()
    if dataset.without_ground_truth:
        raise VprError(f"{', '.join(dataset.without_ground_truth)}: no true positions, so nothing can be compared")
    data = dataset.retrieval_set
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    trainings: list[dict[str, np.ndarray]] = []
    for seed in range(table.seeds):
        runs = {name: table.out / f"seed{seed}" / name for name in ("scratch", "distill")}
        for name, run in runs.items():
            train(name, run, seed, dataset.root, table)
        trainings.append(ranks_of(runs, data, evaluator))
        log.info("seed %d of %d is evaluated", seed + 1, table.seeds)
    results = Results(trainings, data)
    write_results(table.out, results, describe_protocol(dataset))
    show(describe_protocol(dataset), describe_counts(data), results.table(), *results.differences_told())
    show(f"written: {table.out}/table.json, .txt, .csv, .png")


def check(table: TableOptions) -> None:
    """Raise VprError for a recipe or a file that is not there, before anything is trained."""
    if table.recipe not in recipes("student"):
        raise VprError(f"--recipe: {table.recipe!r} is none of {', '.join(recipes('student'))}")
    if table.training is not None and not table.training.is_file():
        raise VprError(f"--training {table.training}: no such file")


def train(name: str, run: Path, seed: int, data: Path, table: TableOptions) -> None:
    """Train one model by its command, in a process of its own; a complete run is kept.

    Raises VprError when the command fails; what it said stands above.
    """
    arguments: list[Any] = ["--recipe", table.recipe, "--data", data, "--out", run, "--seed", seed]
    if table.training is not None:
        arguments += ["--config", table.training]
    command = [sys.executable, "-m", f"vpr.{name}", *map(str, arguments)]
    if subprocess.run(command, check=False).returncode:
        raise VprError(f"training {run} failed, as said above; mend that and give the command again")


def ranks_of(runs: dict[str, Path], data: RetrievalSet, evaluator: Evaluator) -> dict[str, np.ndarray]:
    """The rank of the first right answer of every scored query, (S,) from 0, by name of row."""
    from eval.results import first_right

    sources = {
        "NetVLAD": SourceConfig(runs["distill"], "teacher", rerank=True),
        "scratch": SourceConfig(runs["scratch"], rerank=True),
        "distilled": SourceConfig(runs["distill"], rerank=True),
    }
    ranks = {}
    for name, source in sources.items():
        stages = evaluator.answer(data, source).stages()
        ranks[name] = first_right(stages["shortlist"].ranked, data)
        ranks[f"{name} + structure"] = first_right(stages["rerank"].ranked, data)
    return ranks


if __name__ == "__main__":
    sys.exit(main())
