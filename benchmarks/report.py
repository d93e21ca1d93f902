"""The cost of a report: ``python -m benchmarks.report --data DIR [--cities A,B] [--split train] [--queries N]``.

The built-in weights evaluate the dataset with re-ranking. Then the page is written, with N queries in its gallery, and
its time and size are printed. Its tables and figures are of all queries.
"""

import argparse
import tempfile
import time
from pathlib import Path

from vpr.base.machine import choose_device
from vpr.datasets.msls import Protocol, load
from vpr.eval.evaluator import Evaluator
from vpr.eval.options import RankingOptions, SourceOptions
from vpr.eval.report.page import write_report
from vpr.eval.report.subject import ReportOptions, Subject, answer_stages
from vpr.eval.report.tables import query_facets, subtask_table
from vpr.retrieval.settings import RerankOptions


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cities", default="")
    parser.add_argument("--split", default="val")
    parser.add_argument("--queries", type=int, default=740)
    arguments = parser.parse_args()
    cities = tuple(filter(None, arguments.cities.split(",")))
    dataset = load(arguments.data, Protocol(arguments.split, cities))
    data = dataset.retrieval_set
    evaluator = Evaluator(RankingOptions(), RerankOptions(), choose_device("auto"))
    answers = evaluator.answer(data, SourceOptions(Path("builtin"), rerank=True))
    results = answers.scores(data)

    start = time.perf_counter()
    stages = answer_stages(answers)
    table = subtask_table(dataset, stages)
    tables = () if table is None else (table,)
    subject = Subject("Report", (), data, stages, results, query_facets(dataset), tables, answers)
    with tempfile.TemporaryDirectory() as folder:
        message = write_report(Path(folder) / "a.html", subject, ReportOptions(report_queries=arguments.queries))
    print(
        f"{len(data.scored)} queries scored: {time.perf_counter() - start:.1f} s, {message.split('(')[1].rstrip(')')}"
    )


if __name__ == "__main__":
    main()
