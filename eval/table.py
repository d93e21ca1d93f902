"""``python -m eval.table``: the paper's tables over several seeds, with intervals.

NetVLAD, scratch and distilled, each without and with structure; or with ``--retrieval``, on class labels, the network
untrained, trained without and trained with the structural loss, each without and with structure. It trains what it
needs, evaluates, and writes table.json, .txt, .csv and .png. Given again it continues: complete runs are kept.
"""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr.base.command import run_command
from vpr.base.errors import VprError
from vpr.base.machine import choose_device
from vpr.base.recipes import recipes
from vpr.base.settings import Names, PositiveInt, option
from vpr.datasets.labels.layouts import Layout
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.options import RankingConfig, SourceConfig
from vpr.eval.tables import describe_counts, describe_protocol, show
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.evaluation import Evaluator
    from vpr.eval.results import Results, Values

log = logging.getLogger("vpr")


def start_command(command: str, arguments: list[str]) -> int:
    """Run one of our commands in a process of its own; returns its exit code."""
    module = command if command.startswith("vpr.") else f"vpr.{command}"  # installed, all lie under vpr
    return subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode


@dataclass(frozen=True)
class TableOptions:
    """Table."""

    seeds: PositiveInt = option(3, "trainings of each model, with the seeds 0, 1, ...")
    out: Path | None = option(None, "folder of the runs and of the table; runs/table, or runs/retrieval-table")
    recipe: Names = option(Names(["lite"]), "recipe of the students; with --retrieval several, each a method")
    training: Path | None = option(None, "YAML file of options that the training commands take, such as steps")
    retrieval: bool = option(False, "the table of image retrieval, on class labels")
    layout: Layout = option("folders", "with --retrieval: how the images of --data lie")


@dataclass(frozen=True)
class Trainings:
    """The trainings of a table."""

    table: TableOptions
    out: Path  # folder of the runs
    start: Callable[[str, list[str]], int]  # as `start_command`

    def train(self, command: str, run: Path, seed: int, options: list[Any]) -> None:
        """Train one model by its command; a complete run is kept.

        Raises VprError when the command fails; what it said stands above.
        """
        training = self.table.training
        arguments = [*options[:2], *(["--config", training] if training else []), *options[2:]]
        arguments += ["--out", run, "--seed", seed]
        if self.start(command, [str(argument) for argument in arguments]):
            raise VprError(f"training {run} failed, as said above; mend that and give the command again")


def main(argv: list[str] | None = None, start: Callable[[str, list[str]], int] = start_command) -> int:
    """The command; returns its exit code. start: how the training commands are run."""
    stages = [TableOptions, ProtocolOptions, RankingConfig, RerankOptions]
    about = "The paper's tables with intervals, over several seeds."
    return run_command("eval.table", about, stages, functools.partial(_work, start), argv)


def _work(
    start: Callable[[str, list[str]], int],
    table: TableOptions,
    options: ProtocolOptions,
    ranking: RankingConfig,
    rerank: RerankOptions,
) -> None:
    from vpr.eval.results import write_results

    check(table)
    out = table.out or Path("runs/retrieval-table" if table.retrieval else "runs/table")
    made = of_labels if table.retrieval else of_places
    results, said, more = made(Trainings(table, out, start), options, ranking, rerank)
    write_results(out, results, said)
    show(said, results.table(), *results.differences_told(), *more)
    show(f"written: {out}/table.json, .txt, .csv, .png")


def of_places(
    trainings: Trainings, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions
) -> tuple[Results, str, list[str]]:
    """The results on MSLS, what they are of, and what else is said."""
    from vpr.eval.evaluation import Evaluator
    from vpr.eval.results import Results

    dataset = options.load()
    if dataset.without_ground_truth:
        raise VprError(f"{', '.join(dataset.without_ground_truth)}: no true positions, so nothing can be compared")
    data = dataset.retrieval_set
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))
    table = trainings.table

    def trained(seed: int) -> dict[str, Values]:
        """The rows of one seed."""
        runs = {name: trainings.out / f"seed{seed}" / name for name in ("scratch", "distill")}
        for name, run in runs.items():
            trainings.train(f"vpr.{name}", run, seed, ["--recipe", table.recipe[0], "--data", dataset.root])
        return recalls_of(runs, data, evaluator)

    return Results(_by_seed(table, trained), data), describe_protocol(dataset), [describe_counts(data)]


def of_labels(
    trainings: Trainings, options: ProtocolOptions, ranking: RankingConfig, rerank: RerankOptions
) -> tuple[Results, str, list[str]]:
    """The results on the test half of a labelled set, what they are of, and the paper's figures for it."""
    from vpr.datasets.labels import load
    from vpr.datasets.labels.mini import labelled_root
    from vpr.eval.label_metrics import by_query
    from vpr.eval.labelled import label_evaluator, only_data
    from vpr.eval.paper import figures_of
    from vpr.eval.results import Results

    table = trainings.table
    root = labelled_root(only_data(options), table.layout)
    halves = load(table.layout, root)
    data = halves.testing.retrieval_set()

    def evaluated(run: Path) -> dict[str, Values]:
        evaluator = label_evaluator(run, data, halves, ranking, rerank)
        return evaluator.answer(data, SourceConfig(run, rerank=True)).by_stage(data, by_query)

    def trained(seed: int) -> dict[str, Values]:
        """The rows of one seed."""
        rows: dict[str, Values] = {}
        for recipe in table.recipe:
            folder = trainings.out / f"seed{seed}" / recipe
            usual = ["--recipe", recipe, "--layout", table.layout, "--data", root]
            no_steps = ["--steps", 0, "--struct-steps", 0]
            trainings.train("vpr.retrieval", folder / "untrained", seed, [*usual, *no_steps])
            trainings.train("vpr.retrieval", folder / "struct", seed, usual)
            runs = {"untrained": folder / "untrained", "base": folder / "struct" / "base", "struct": folder / "struct"}
            method = f"{recipe}: " if len(table.recipe) > 1 else ""
            for name, run in runs.items():
                stages = evaluated(run)
                rows |= {method + name: stages["shortlist"], f"{method}{name} + structure": stages["rerank"]}
        return rows

    said = f"{table.layout}: {len(data.queries)} images of {len(set(halves.testing.classes.tolist()))} unseen classes"
    same = table.layout if halves.remark() is None else None
    return Results(_by_seed(table, trained), data, "classes"), said, figures_of(same)


def _by_seed(table: TableOptions, trained: Callable[[int], dict[str, Values]]) -> list[dict[str, Values]]:
    """The rows of each seed."""
    trainings = []
    for seed in range(table.seeds):
        trainings.append(trained(seed))
        log.info("seed %d of %d is evaluated", seed + 1, table.seeds)
    return trainings


def check(table: TableOptions) -> None:
    """Raise VprError for a recipe or a file that is not there, before anything is trained."""
    known = recipes("retrieval" if table.retrieval else "student")
    for recipe in table.recipe:
        if recipe not in known:
            raise VprError(f"--recipe: {recipe!r} is none of {', '.join(known)}")
    if not table.recipe or (len(table.recipe) > 1 and not table.retrieval):
        raise VprError("--recipe: give one, or with --retrieval several")
    if table.training is not None and not table.training.is_file():
        raise VprError(f"--training {table.training}: no such file")


def recalls_of(runs: dict[str, Path], data: RetrievalSet, evaluator: Evaluator) -> dict[str, Values]:
    """Whether each scored query is answered among the first k, by name of row."""
    from vpr.eval.results import found_within

    sources = {
        "NetVLAD": SourceConfig(runs["distill"], "teacher", rerank=True),
        "scratch": SourceConfig(runs["scratch"], rerank=True),
        "distilled": SourceConfig(runs["distill"], rerank=True),
    }
    rows = {}
    for name, source in sources.items():
        stages = evaluator.answer(data, source).stages()
        rows[name] = found_within(stages["shortlist"].ranked, data)
        rows[f"{name} + structure"] = found_within(stages["rerank"].ranked, data)
    return rows


if __name__ == "__main__":
    sys.exit(main())
