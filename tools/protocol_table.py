"""``python -m tools.protocol_table RUN``: writes counts and scores by task, subtask and radius into docs/notes."""

import argparse
import dataclasses
from pathlib import Path

import torch
from tqdm import tqdm

from vpr.datasets.default_data import data_root
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import DEFAULT_SEQ_LENGTH, MSLS, Protocol, load
from vpr.eval.evaluator import Answers, Evaluator
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.retrieval.settings import RerankOptions

TASKS = ("im2im", "im2seq", "seq2im", "seq2seq")
SUBTASKS = ("all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d")
RADII_M = (25.0, 10.0)
DEPTH = 30
HEADER = "| task | subtask | radius | queries | without positives | database | R@1 | R@5 | R@10 | R@1 re-ranked |"
BEGIN, END = "<!-- counts: begin -->", "<!-- counts: end -->"


def main() -> None:
    """Write the table between the markers of docs/notes/protocol.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    root = data_root(arguments.data)
    lines = [HEADER, "|" + "---|" * HEADER.count(" | ") + "---|"]
    for task in tqdm(TASKS, "tasks"):
        for subtask in SUBTASKS:
            length = 1 if task == "im2im" else DEFAULT_SEQ_LENGTH
            lines += table_rows(root, Protocol(task=task, subtask=subtask, seq_length=length), arguments.run)
    page = Path("docs/notes/protocol.md")
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1], encoding="utf-8")


def table_rows(root: Path, protocol: Protocol, run: Path) -> list[str]:
    """The rows of one task and subtask: ranked once, scored for each radius."""
    try:
        dataset = load(root, protocol)
    except DatasetError:
        return [f"| {protocol.task} | {protocol.subtask} | | 0 | | | | | | |"]
    evaluator = Evaluator(RankingOptions(depth=DEPTH), RerankOptions(), torch.device("cpu"))
    answers = evaluator.answer(dataset.retrieval_set, SourceOptions(run, rerank=True))
    return [table_row(load(root, dataclasses.replace(protocol, radius_m=radius)), answers) for radius in RADII_M]


def table_row(dataset: MSLS, answers: Answers) -> str:
    """One line of the table."""
    protocol, data = dataset.protocol, dataset.retrieval_set
    scores = answers.scores(data)
    shares = [scores["shortlist"][f"recall@{k}"] for k in (1, 5, 10)] + [scores["rerank"]["recall@1"]]
    cells = [protocol.task, protocol.subtask, f"{protocol.radius_m:g} m", *data.counts().values()]
    return "| " + " | ".join(map(str, [*cells, *(f"{100 * share:.1f}" for share in shares)])) + " |"


if __name__ == "__main__":
    main()
