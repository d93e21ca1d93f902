"""Digests of caches, rankings and scores, to check that a change of code keeps results equal.

    python -m tools.golden RUN --data DIR --out golden.json       before the change, and again after it

writes the SHA-256 of a descriptor cache and of a shortlist and its re-ranking, and the scores of 20 prediction files:
five kinds for each of the four tasks, most of them with unusual rows. Equal files mean equal numbers, to the last
digit.
"""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TASKS = {"im2im": 1, "im2seq": 3, "seq2im": 3, "seq2seq": 3}  # with the frames of a sequence
RERANKED = {"im2im": [], "seq2seq": ["--task", "seq2seq", "--seq-length", "3"], "teacher": ["--shortlist", "teacher"]}


def run_command(module: str, *arguments: object) -> str:
    """Run a command of the working folder; returns its standard output."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def panorama_keys(data: Path) -> list[str]:
    """Keys of the database panoramas of cph."""
    with (data / "train_val/cph/database/raw.csv").open(newline="") as file:
        return [row["key"] for row in csv.DictReader(file) if row["pano"] == "True"]


def odd_files(rows: list[list[str]], foreign: list[str]) -> dict[str, list[list[str]]]:
    """The rows of five files: the ranking as it is, and with rows that a reader has to check."""
    return {
        "plain": rows,
        "reversed": [[row[0], *row[:0:-1]] for row in rows[::-1]],
        "foreign": [
            [row[0], foreign[n % len(foreign)], *row[1:-1]] if n % 3 == 0 else row for n, row in enumerate(rows)
        ],
        "repeated": [[row[0], row[1], row[1], *row[2:-1]] if n % 4 == 0 else row for n, row in enumerate(rows)],
        "uneven": [[*row[: 2 + n % 7]] if n % 2 else row for n, row in enumerate(rows)],
    }


def prediction_scores(data: Path, model: Path, folder: Path) -> dict[str, dict]:
    """Counts and results of the prediction files, by task and kind."""
    found = {}
    for task, length in TASKS.items():
        common = ["--data", data, "--task", task, "--seq-length", length, "--json", folder / "scores.json"]
        base = folder / f"{task}.csv"
        run_command("eval.msls", *common, "--run", model, "--depth", 20, "--submission", base)
        rows = [line.split() for line in base.read_text().splitlines() if not line.startswith("#")]
        foreign = [*panorama_keys(data), rows[-1][1], rows[0][0], "no-such-key"]
        for kind, content in odd_files(rows, foreign).items():
            path = folder / f"{task}-{kind}.csv"
            path.write_text("# made by tools.golden\n" + "".join(" ".join(row) + "\n" for row in content))
            run_command("eval.msls", *common, "--predictions", path)
            record = json.loads((folder / "scores.json").read_text())
            found[f"{task} {kind}"] = {name: record[name] for name in ("counts", "results", "dataset")}
    return found


def ranking_digests(data: Path, model: Path, folder: Path) -> dict[str, dict]:
    """The digest of the first 20 ranks of all queries, and the metrics, before and after re-ranking."""
    found = {}
    for name, more in RERANKED.items():
        for stage in ([], ["--rerank"]):
            order, record = folder / "order.csv", folder / "order.json"
            run_command(
                "eval.msls", "--data", data, "--run", model, "--submission", order, "--json", record, *more, *stage
            )
            results = json.loads(record.read_text())["results"]
            found[" ".join([name, *stage])] = {"order": file_digest(order), "results": results}
    return found


def main() -> None:
    """Write the digests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of a distilled model")
    parser.add_argument("--data", type=Path, required=True, help="root of mini-MSLS")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    arguments = parser.parse_args()
    weights = {path.parent.name: file_digest(path) for path in sorted(arguments.run.rglob("model.safetensors"))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_command("vpr.extract", "--run", arguments.run, "--data", arguments.data, "--cache", folder / "cache.h5")
        digests = {
            "weights": weights,
            "cache": file_digest(folder / "cache.h5"),
            "rankings": ranking_digests(arguments.data, arguments.run, folder),
            "scores": prediction_scores(arguments.data, arguments.run, folder),
        }
    arguments.out.write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    main()
