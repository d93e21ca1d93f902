"""``python -m eval.table``: the tables of the paper over several seeds, with intervals.

The rows are NetVLAD, scratch and distilled, each without and with structure. With ``--retrieval``, on class labels,
they are the network untrained, trained without the structural loss, and trained with it. The command trains the models,
evaluates them, and writes table.json, .txt, .csv and .png. An interrupted command continues: complete runs are kept.
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
from vpr.base.settings import Names, PositiveInt, option, output
from vpr.datasets.labels.layouts import Layout
from vpr.datasets.msls.options import ProtocolOptions
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.tables import describe_counts, describe_protocol, show
from vpr.retrieval.settings import RerankOptions

if TYPE_CHECKING:
    from vpr.datasets.retrieval_set import RetrievalSet
    from vpr.eval.comparison.seed_results import Results, Values
    from vpr.eval.evaluator import Evaluator

log = logging.getLogger("vpr")


def start_command(command: str, arguments: list[str]) -> int:
    """Run a command of this package in its own process; returns its exit code."""
    return subprocess.run([sys.executable, "-m", command, *arguments], check=False).returncode


@dataclass(frozen=True)
class TableOptions:
    """Table."""

    seeds: PositiveInt = option(3, "number of trainings of each model, with the seeds 0, 1, ...")
    out: Path | None = output(
        None,
        "folder for the runs and the table; default: runs/table, or runs/retrieval-table with --retrieval",
        "folder",
    )
    recipe: Names = option(Names(["lite"]), "recipe of the students; several with --retrieval, each a method")
    training: Path | None = option(None, "YAML file with options for the training commands, such as steps")
    retrieval: bool = option(False, "make the table of image retrieval, on class labels")
    layout: Layout = option("folders", "layout of the labelled images in --data, with --retrieval")


@dataclass(frozen=True)
class Trainings:
    """The trainings of a table."""

    table: TableOptions
    out: Path  # folder of the runs
    start: Callable[[str, list[str]], int]  # as `start_command`

    def train(self, command: str, recipe: str, run: Path, seed: int, options: list[Any]) -> None:
        """Train one model by its command; a complete run is kept.

        options: of the command. They override the options of ``--training``, which override the recipe. Raises VprError
        if the command fails, after its own message.
        """
        config = [] if self.table.training is None else ["--config", self.table.training]
        arguments = ["--recipe", recipe, *config, *options, "--out", run, "--seed", seed]
        if self.start(command, [str(argument) for argument in arguments]):
            raise VprError(f"training {run} failed, see the message above; correct that and run the command again")

    def train_seeds(self, train: Callable[[int], dict[str, Values]]) -> list[dict[str, Values]]:
        """The rows of each seed, by a function that trains and evaluates one seed."""
        rows = []
        for seed in range(self.table.seeds):
            rows.append(train(seed))
            log.info("seed %d of %d is evaluated", seed + 1, self.table.seeds)
        return rows


@dataclass(frozen=True, eq=False)
class SeedTable:
    """A table with the lines that are printed around it."""

    results: Results
    title: str  # protocol or data set
    notes: list[str]  # below the table


def main(argv: list[str] | None = None, start: Callable[[str, list[str]], int] = start_command) -> int:
    """The command; returns its exit code. start: runs a training command, and returns its exit code."""
    stages = [TableOptions, ProtocolOptions, RankingOptions, RerankOptions]
    about = "Train and evaluate for the tables of the paper, over several seeds, with intervals."
    return run_command("eval.table", about, stages, functools.partial(_work, start), argv)


def _work(
    start: Callable[[str, list[str]], int],
    table: TableOptions,
    options: ProtocolOptions,
    ranking: RankingOptions,
    rerank: RerankOptions,
) -> None:
    from vpr.eval.comparison.seed_results import write_results

    check(table)
    out = table.out or Path("runs/retrieval-table" if table.retrieval else "runs/table")
    make = make_label_table if table.retrieval else make_place_table
    made = make(Trainings(table, out, start), options, ranking, rerank)
    write_results(out, made.results, made.title)
    show(made.title, made.results.table(), *made.results.difference_lines(), *made.notes)
    show(f"written: {out}/table.json, .txt, .csv, .png")


def make_place_table(
    trainings: Trainings, options: ProtocolOptions, ranking: RankingOptions, rerank: RerankOptions
) -> SeedTable:
    """Train and evaluate on MSLS."""
    from vpr.eval.comparison.seed_results import Results
    from vpr.eval.evaluator import Evaluator, require_positions

    dataset = options.load()
    require_positions(dataset)
    data = dataset.retrieval_set
    evaluator = Evaluator(ranking, rerank, choose_device(ranking.device))

    def train(seed: int) -> dict[str, Values]:
        runs = {name: trainings.out / f"seed{seed}" / name for name in ("scratch", "distill")}
        for name, run in runs.items():
            trainings.train(f"vpr.{name}", trainings.table.recipe[0], run, seed, ["--data", dataset.root])
        return place_recalls(runs, data, evaluator)

    results = Results(trainings.train_seeds(train), data)
    return SeedTable(results, describe_protocol(dataset), [describe_counts(data)])


def make_label_table(
    trainings: Trainings, options: ProtocolOptions, ranking: RankingOptions, rerank: RerankOptions
) -> SeedTable:
    """Train and evaluate on a labelled set; the notes are the published results on it."""
    from vpr.datasets.labels.options import LabelOptions
    from vpr.eval.comparison.published_results import published_lines
    from vpr.eval.comparison.seed_results import Results
    from vpr.eval.labels.label_evaluator import label_evaluator, labelled_folder
    from vpr.eval.labels.label_metrics import metrics_per_query

    table = trainings.table
    split = LabelOptions(table.layout, labelled_folder(options)).load()
    data = split.testing.retrieval_set()

    def evaluate(run: Path) -> dict[str, Values]:
        evaluator = label_evaluator(run, data, split, ranking, rerank)
        return evaluator.answer(data, SourceOptions(run, rerank=True)).per_stage(data, metrics_per_query)

    def train(seed: int) -> dict[str, Values]:
        rows: dict[str, Values] = {}
        for recipe in table.recipe:
            folder = trainings.out / f"seed{seed}" / recipe
            usual = ["--layout", table.layout, "--data", data.root, "--average-with-start", 1]
            no_steps = ["--steps", 0, "--struct-steps", 0]
            trainings.train("vpr.retrieval", recipe, folder / "untrained", seed, [*usual, *no_steps])
            trainings.train("vpr.retrieval", recipe, folder / "struct", seed, usual)
            runs = {"untrained": folder / "untrained", "base": folder / "struct" / "base", "struct": folder / "struct"}
            method = f"{recipe}: " if len(table.recipe) > 1 else ""
            for name, run in runs.items():
                stages = evaluate(run)
                rows |= {method + name: stages["shortlist"], f"{method}{name} + structure": stages["rerank"]}
        return rows

    title = f"{table.layout}: {len(data.queries)} images of {len(set(split.testing.classes.tolist()))} unseen classes"
    published = published_lines(table.layout if split.size_remark() is None else None)
    return SeedTable(Results(trainings.train_seeds(train), data, group_title="classes"), title, published)


def check(table: TableOptions) -> None:
    """Raise VprError for a recipe or a file that is missing, before anything is trained."""
    known = recipes("retrieval" if table.retrieval else "student")
    for recipe in table.recipe:
        if recipe not in known:
            raise VprError(f"--recipe: {recipe!r} is not one of {', '.join(known)}")
    if not table.recipe or (len(table.recipe) > 1 and not table.retrieval):
        raise VprError("--recipe: give one recipe; with --retrieval several are possible")
    if table.training is not None and not table.training.is_file():
        raise VprError(f"--training {table.training}: no such file")


def place_recalls(runs: dict[str, Path], data: RetrievalSet, evaluator: Evaluator) -> dict[str, Values]:
    """The recall hits of each scored query, for each row of the table."""
    from vpr.eval.comparison.seed_results import recall_hits

    sources = {
        "NetVLAD": SourceOptions(runs["distill"], "teacher", rerank=True),
        "scratch": SourceOptions(runs["scratch"], rerank=True),
        "distilled": SourceOptions(runs["distill"], rerank=True),
    }
    rows = {}
    for name, source in sources.items():
        stages = evaluator.answer(data, source).stages()
        rows[name] = recall_hits(stages["shortlist"].ranked, data)
        rows[f"{name} + structure"] = recall_hits(stages["rerank"].ranked, data)
    return rows


if __name__ == "__main__":
    sys.exit(main())
