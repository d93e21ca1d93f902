"""A campaign of generated bad input: every option of every command, every recorded setting, every file a command reads.

Each is tried in a child of the warm process. The faults are collected, so that one run names them all.
"""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import MODULES
from damage import cut, fault_of, scramble, snapshot, to_folder
from warm import ROOT

pytestmark = pytest.mark.slow

BAD = {
    "INT": ("x", "-1", "1.5", ""),
    "NUMBER": ("nan", "-1", "inf", "x"),
    "CHOICE": ("nonsense", "", "--"),
    "SWITCH": ("7",),
}
NEEDED = {"vpr.extract": ["--cache", "a.h5"], "eval.compare": ["run"], "eval.submission": ["p.csv"]}
NEEDED["datasets.mini_msls"] = ["--out", "world"]
NEEDED["datasets.photo_views"] = ["--photos", "set", "--out", "tree", "--city", "cph"]
NEEDED["vpr.match"] = ["A.jpg", "B.jpg"]
NEEDED["vpr.map"], NEEDED["vpr.locate"] = ["new", "add", "tree"], ["map", "tree"]
NEEDED["vpr.serve"] = ["map"]
EVALUATE = ["--run", "run", "--data", "tree", "--cache", "a.h5", "--device", "cpu"]
TEACHER = ["--run", "run", "--data", "tree", "--shortlist", "teacher", "--device", "cpu"]
JSONS = {"run/config.json": EVALUATE, "run/metrics.json": EVALUATE, "run/teacher/config.json": TEACHER}
USED = ("run.model", "run.teacher", "calibration.weight", "calibration.mass", "calibration.epsilon")
USED += ("calibration.marginals", "calibration.confidence")  # what evaluation goes by
WRONG = ("x", -1, float("nan"), None, 1e308)
ALLOWED = [("run.model.weights", "x"), ("run.teacher.weights", "x"), ("calibration.weight", 1e308)]
ALLOWED += [("calibration.epsilon", 1e308), ("calibration.confidence.shortlist", None)]
ALLOWED += [("calibration.confidence.rerank", None), ("calibration.confidence", {})]
ALLOWED += [("calibration.confidence.geometry", None)]
ALLOWED += [
    (f"calibration.confidence.{stage}.{name}", -1)
    for stage in ("shortlist", "rerank", "geometry") for name in ("slope", "intercept")
]  # fmt: skip
FILES = {
    "run/config.json": EVALUATE, "run/metrics.json": EVALUATE, "run/model.safetensors": EVALUATE, "a.h5": EVALUATE,
    "run/teacher/model.safetensors": TEACHER, "tree/train_val/cph/query/seq_info.csv": EVALUATE,
    "tree/train_val/cph/database/raw.csv": EVALUATE, "tree/train_val/sf/query/postprocessed.csv": EVALUATE,
    "tree/train_val/sf/database/subtask_index.csv": EVALUATE,
    "p.csv": ["--data", "tree", "--predictions", "p.csv", "--strict"],
}  # fmt: skip


def options_of(warm, command: str) -> Iterator[tuple[str, str]]:
    """The options of a command with the kind of value that they take, out of its help."""
    for name, value in re.findall(r"^  (--[a-z-]+)(?: (\S+))?", warm(command, ["--help"]).out, re.MULTILINE):
        kind = "CHOICE" if value.startswith("{") else value if value in BAD else "" if value else "SWITCH"
        if kind and name not in ("--help", "--print-config"):
            yield name, kind


def test_every_option_of_every_command(warm, whole):
    before, tried, faults = snapshot(whole), 0, []
    for command in MODULES:
        seen = set[str]()
        for name, kind in options_of(warm, command):
            values = BAD[kind] if kind not in seen else BAD[kind][:2]  # the types are the same everywhere
            seen.add(kind)
            calls = [[*NEEDED.get(command, []), f"{name}={value}"] for value in values]
            answers = warm.each(command, calls, cwd=whole)
            for value, done in zip(values, answers):
                fault = fault_of(done) or ("" if name in done.complaint else f"names no option: {done.complaint}")
                faults += [f"{command} {name}={value}: {fault}"] if fault else []
                tried += 1
            if len(answers) < len(calls):
                faults.append(f"{command} {name}={values[len(answers)]}: the process ended or took too long")
    assert not faults, "\n".join(faults)
    assert tried >= 400 and snapshot(whole) == before


def leaves(content: object, path: str = "") -> Iterator[str]:
    """The dotted names of all entries of a JSON file."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield f"{path}{key}"
            yield from leaves(value, f"{path}{key}.")


def test_every_recorded_setting(warm, case):
    tried, faults = 0, []
    for name, options in JSONS.items():
        whole = json.loads((case / name).read_text())
        for path in leaves(whole):
            if not path.startswith(USED):
                continue
            for value in WRONG:
                content = copy.deepcopy(whole)
                *outer, last = path.split(".")
                inner = content
                for key in outer:
                    inner = inner[key]
                inner[last] = value
                (case / name).write_text(json.dumps(content))
                done = warm("eval.msls", [*options, "--rerank"], cwd=case)
                may_pass = any(path == key and value == other for key, other in ALLOWED)
                if fault := fault_of(done, may_pass):
                    faults.append(f"{name} {path}={value!r}: {fault}")
                tried += 1
        (case / name).write_text(json.dumps(whole))
    assert not faults, "\n".join(faults)
    assert tried >= 100


def test_every_file_that_evaluation_reads(warm, case):
    faults = []
    for name, options in FILES.items():
        path, data = case / name, (case / name).read_bytes()
        for kind in ("empty", "cut", "scrambled", "zeros", "text", "folder", "link", "gone"):
            if kind in ("empty", "cut"):
                cut(path, 0 if kind == "empty" else 0.4)
            elif kind == "scrambled":
                scramble(path)
            elif kind == "zeros":
                path.write_bytes(bytes(len(data)))
            elif kind == "text":
                path.write_text("nothing of the kind\n")
            elif kind == "folder":
                to_folder(path)
            else:
                path.unlink()
            if kind == "link":
                path.symlink_to("nowhere")
            done = warm("eval.msls", [*options, "--rerank"], cwd=case)
            made_again = name == "a.h5" and kind in ("cut", "link", "gone")
            if fault := fault_of(done, made_again):
                faults.append(f"{name} {kind}: {fault}")
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.write_bytes(data)
    assert not faults, "\n".join(faults)


def test_a_sample_through_the_interpreter(whole: Path):
    for command, arguments in (
        ("eval.msls", ["--depth", "0"]),
        ("vpr.extract", ["--cache", "a.h5", "--run", "nowhere"]),
    ):
        done = subprocess.run([sys.executable, "-m", command, *arguments], cwd=ROOT, capture_output=True, text=True)
        line = done.stderr.splitlines()[-1]
        assert done.returncode in (1, 2) and line.startswith(f"python -m {command}: error: ") and len(line) <= 300
