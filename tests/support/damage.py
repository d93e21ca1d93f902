"""Ways to damage files, and what must hold of a command that meets one."""

import json
import os
import re
import zipfile
from pathlib import Path

import h5py
import numpy as np
from warm import Outcome

LONGEST = 300  # characters of a line, of which a path counts as one


def length_of(line: str) -> int:
    """Characters of a line, of which a path counts as one: how long it is depends on the machine."""
    return len(re.sub(r"[^\s'\"(]*/[^\s'\")]+", "/", line))


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, size and time of every file but logs and locks, by path."""
    found = {}
    for path in folder.rglob("*"):
        if path.name != "log.txt" and not path.name.endswith(".lock") and not path.is_dir():
            status = path.lstat()
            found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found


def fault_of(outcome: Outcome, may_pass: bool = False) -> str:
    """What is wrong with how a command took bad input; empty when nothing is."""
    line = outcome.complaint
    if "Traceback" in outcome.err:
        return f"traceback: {line}"
    if outcome.code == 0:
        return "" if may_pass else "taken without a word"
    if outcome.code not in (1, 2):
        return f"exit code {outcome.code}: {line}"
    if not line.startswith("python -m ") or ": error: " not in line or length_of(line) > LONGEST:
        return f"not one short line: {line}"
    return ""


def cut(path: Path, share: float) -> None:
    """Keep the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def scramble(path: Path, seed: int = 0) -> None:
    """Replace a tenth of a file's bytes at random, its first 16 among them."""
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for place in [*range(min(16, len(data))), *rng.integers(0, max(1, len(data)), len(data) // 10)]:
        data[place] = int(rng.integers(256))
    path.write_bytes(bytes(data))


def to_folder(path: Path) -> None:
    """Put a folder in a file's place."""
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    """Put a named pipe in a file's place."""
    path.unlink()
    os.mkfifo(path)


def edit_json(path: Path, keys: str, value: object) -> None:
    """Set a dotted key of a JSON file."""
    content = json.loads(path.read_text())
    *outer, last = keys.split(".")
    inner = content
    for key in outer:
        inner = inner[key]
    inner[last] = value
    path.write_text(json.dumps(content))


def edit_row(path: Path, column: str, value: str) -> None:
    """Set a column of the first row of a CSV."""
    header, row, *rest = path.read_text().splitlines()
    fields = row.split(",")
    fields[header.split(",").index(column)] = value
    path.write_text("\n".join([header, ",".join(fields), *rest]) + "\n")


def rename_key(side: Path, key: str) -> None:
    """Give the first image of a side another key, in all of its CSVs."""
    for name in ("seq_info.csv", "postprocessed.csv", "raw.csv", "subtask_index.csv"):
        edit_row(side / name, "key", key)


def fill_cache(path: Path, name: str, value: float) -> None:
    """Set a row of a cache's array to one value."""
    with h5py.File(path, "r+") as file:
        file[name][3] = value


def external_cache(path: Path) -> None:
    """A cache whose keys are the bytes of another file."""
    with h5py.File(path, "w") as file:
        file.attrs["fingerprint"], file.attrs["format"] = "x", 1
        file.create_dataset("keys", (1,), "S10", external=[(str(path.parent / "p.csv"), 0, 10)])


def to_features(path: Path) -> None:
    """Put a file of hloc's global features in a file's place."""
    with h5py.File(path, "w") as file:
        file.create_dataset("a/1.jpg/global_descriptor", data=[1.0, 0.0])


def zip_of(source: Path, target: Path, kind: str) -> None:
    """A zip of a prediction file: encrypted, of an unknown method, of a damaged stream, or far too large."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "bomb":
            with archive.open("a.csv", "w") as file:
                for _ in range(600):
                    file.write(bytes(1 << 20))
            return
        archive.writestr("a.csv", source.read_bytes())
    data = bytearray(target.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    if kind == "encrypted":
        data[6] |= 1
        data[directory + 8] |= 1
    elif kind == "method":
        data[8] = data[directory + 10] = 97
    else:
        data[60:90] = b"\xff" * 30
    target.write_bytes(bytes(data))


def repeated(path: Path, target: Path) -> None:
    """A prediction file whose first row names its first prediction twice."""
    first, *rest = path.read_text().splitlines()
    target.write_text("\n".join([" ".join([*first.split()[:-1], first.split()[1]]), *rest]) + "\n")
