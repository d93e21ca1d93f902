"""Checks of the outputs of a command, before it works: no output may replace an input.

An output must not be an input, another output, or a file that a run, a map or a dataset consists of. It may replace a
file of an earlier command: an existing file is replaced only if it has the same form as the output.
"""

from __future__ import annotations

import codecs
import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vpr.base.errors import VprError
from vpr.base.files import is_writable_at
from vpr.base.photo_files import HEAD, format_of
from vpr.base.run_folder import INPUT_FORM

# The folders that our commands write: a file that marks the folder, and the paths inside that belong to it.
OWN_FILES = {
    "config.json": re.compile(
        r"(config|metrics)\.json|model\.safetensors|checkpoint\.pt|log\.txt|events\..*|"
        r"teacher(/.*)?|base/(config|metrics)\.json|base/.*\.(safetensors|pt)"
    ),
    "map.json": re.compile(r"map\.json|descriptors\.h5|frames/.*|(photos|globals|strangers|index|adaptation)-\d+\.\w+"),
    "train_val": re.compile(r"(train_val|test)(/.*)?"),
    "test": re.compile(r"(train_val|test)(/.*)?"),
}
KINDS = {"config.json": "run", "map.json": "map", "train_val": "dataset", "test": "dataset"}
DESCRIPTOR_ENDS = ("descriptors.npy", "images_paths.txt")
DESCRIPTORS = re.compile(r"(database|queries)_(descriptors\.npy|images_paths\.txt)")  # a folder of another model's
FORMS = {
    "json": "JSON file", "csv": "CSV file", "html": "HTML page", "figure": "figure", "curves": "figure",
    "cache": "HDF5 file", "onnx": "ONNX file", "predictions": "prediction file",
    "pairs": "list of pairs", "descriptors": "file of descriptors",
}  # fmt: skip
TEXTS_WITH_PATHS = (
    "run",
    "runs",
    "compare",
    "sources",
    "weights",
    "shortlist",
    "pair",
)  # options of text that may name a path
HDF5 = (".h5", ".hdf5")
LONGEST_PAIR = 10_000  # bytes of a line with two paths
ZIP_HEAD = 30  # bytes before the name of the first file; two of them, from the 27th on, have the length of the name
ROWS = 20  # of a prediction file that are looked at
LONGEST_ROW = 1 << 20  # bytes of a line with the predictions of a query
DEPTH = 6  # maximum number of folders above a file that belongs to a run, a map or a dataset


@dataclass(frozen=True)
class Output:
    """An output as the user gave it."""

    option: str  # or the name of an argument
    path: Path
    form: str

    @property
    def files(self) -> list[Path]:
        """The paths that are written."""
        if self.form == "curves":
            return curve_files(self.path)
        if self.form == "descriptors":
            return descriptor_files(self.path)
        return [self.path]


def curve_files(path: Path) -> list[Path]:
    """The files of a figure that is written as PNG and as PDF: the path with, or without, one of these suffixes.

    Raises VprError for a path without a name.

    >>> [str(file) for file in curve_files(Path("a/v1.2.pdf"))]
    ['a/v1.2.png', 'a/v1.2.pdf']
    """
    if not path.name.strip("."):
        raise VprError(f"{path} is a folder", thing=path, remedy="name a file for the curves")
    stem = path.with_suffix("") if path.suffix.lower() in (".png", ".pdf") else path
    return [stem.parent / f"{stem.name}{suffix}" for suffix in (".png", ".pdf")]


def descriptor_files(path: Path) -> list[Path]:
    """The files of descriptors for other tools: the path if it ends with .h5, or else those of a folder, each array
    followed by the list of its images.

    >>> [file.name for file in descriptor_files(Path("a"))][:2]
    ['database_descriptors.npy', 'database_images_paths.txt']
    """
    if path.suffix.lower() in HDF5:
        return [path]
    return [path / f"{part}_{end}" for part in ("database", "queries") for end in DESCRIPTOR_ENDS]


def check_outputs(filled: Sequence[Any], configs: Sequence[Path] = ()) -> None:
    """Raise VprError if an output of the filled stages would replace an input, or cannot be written.

    configs: the files that options were read from.
    """
    inputs = [*_inputs(filled), *map(Path, configs)]
    replaces_folders = any(getattr(stage, "overwrite", False) for stage in filled)
    seen: dict[str, Output] = {}
    for output in _outputs(filled):
        for path in output.files:
            real = os.path.realpath(path)
            if real in seen and not _is_device(path):
                problem = f"{seen[real].option} and {output.option} are the same path, {path}"
                raise VprError(problem, thing=path, remedy="name another one for one of them")
            seen[real] = output
        check_output(output, inputs)
        if output.form == "folder" and replaces_folders:
            _refuse_inputs_inside(output, inputs)


def _is_device(path: Path) -> bool:
    """Whether a path is neither a file nor a folder, such as /dev/null."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _refuse_inputs_inside(output: Output, inputs: Sequence[Path]) -> None:
    """Raise VprError if an input lies in an output folder that may be removed with all its files."""
    folder = Path(os.path.realpath(output.path))
    for given in inputs:
        if folder in Path(os.path.realpath(given)).parents and given.exists():
            problem = f"{given} lies in {output.option} {output.path}, which --overwrite may remove"
            raise VprError(problem, thing=given, remedy="copy it to another place, or name another folder")


def check_output(output: Output, inputs: Sequence[Path]) -> None:
    """Raise VprError if an output would replace an input or one of our files, or cannot be written."""
    for path in output.files:
        _check_file(output, path, inputs)


def _check_file(output: Output, path: Path, inputs: Sequence[Path]) -> None:
    replaced = _replacement_problem(path, inputs) or _form_problem(output, path)
    if replaced:
        raise VprError(f"{output.option} {path} {replaced}", thing=path, remedy="name another path")
    if output.form == "folder":
        return
    if path.is_dir():
        raise VprError(f"{output.option} {path} is a folder", thing=path, remedy="name a file")
    may_be_read_only = output.form == "cache" and path.exists()  # a complete cache is only read
    if not may_be_read_only and not is_writable_at(path):
        remedy = "check its folder and the permissions there, or name another file"
        raise VprError(f"{output.option} {path} cannot be written", thing=path, remedy=remedy)


def _outputs(filled: Sequence[Any]) -> Iterator[Output]:
    for stage in filled:
        for field in dataclasses.fields(stage):
            path = getattr(stage, field.name)
            if "output" in field.metadata and path is not None:
                yield Output("--" + field.name.replace("_", "-"), path, field.metadata["output"])


def _inputs(filled: Sequence[Any]) -> Iterator[Path]:
    """The files and folders that the other options name. A text of `TEXTS_WITH_PATHS` may be ``NAME=PATH``."""
    for stage in filled:
        for field in dataclasses.fields(stage):
            value = getattr(stage, field.name)
            if "output" in field.metadata or "help" not in field.metadata:
                continue
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, Path):
                    yield _run_folder(one)
                elif isinstance(one, str) and field.name in TEXTS_WITH_PATHS:
                    named = (_run_folder(Path(text)) for text in {one, one.partition("=")[2]} if text)
                    yield from (path for path in named if os.path.exists(path))


def _run_folder(path: Path) -> Path:
    """The folder that ``RUN@SIZExGRID`` means; any other path as it is."""
    bare = Path(INPUT_FORM.sub("", str(path)))
    return bare if not os.path.exists(path) and os.path.exists(bare) else path


def _replacement_problem(path: Path, inputs: Sequence[Path]) -> str:
    """The input or the file of ours that an output would replace, as the end of a sentence; empty if none."""
    real = Path(os.path.realpath(path))
    for given in inputs:
        own = Path(os.path.realpath(given))
        if real == own or (path.exists() and given.exists() and path.samefile(given)):
            return "is an input"
        is_list_of_names = own.suffix == ".npy" and real == own.with_suffix(".txt")
        if is_list_of_names or (real.parent == own and DESCRIPTORS.fullmatch(real.name)):
            return f"belongs to {given}"
    for folder in real.parents[:DEPTH]:
        inside = real.relative_to(folder).as_posix()
        for marker, own_files in OWN_FILES.items():
            if own_files.fullmatch(inside) and _is_marked(folder, marker) and (KINDS[marker] != "dataset" or any(
                folder == Path(os.path.realpath(given)) for given in inputs
            )):  # fmt: skip
                return f"belongs to the {KINDS[marker]} in {folder}"
    return ""


def _is_marked(folder: Path, marker: str) -> bool:
    """Whether a folder is one of ours, by the file or folder that marks it."""
    path = folder / marker
    if marker != "config.json" or not path.is_file():
        return path.exists()
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True  # of a run, if damaged
    return isinstance(content, dict) and "run" in content


def _form_problem(output: Output, path: Path) -> str:
    """The problem if an existing file has another form than the output, as the end of a sentence; else empty."""
    if output.form == "folder" or not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:  # the check of write access reports it
        return ""
    if not head or _has_form(output.form, path, head):
        return ""
    return f"exists and is no {FORMS[output.form]}, so no command of ours wrote it"


def _has_form(form: str, path: Path, head: bytes) -> bool:
    """Whether the first bytes of a file fit a form."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if form == "json":
        return start[:1] in (b"{", b"[")
    if form == "html":
        return start[:9].lower() == b"<!doctype"
    if form == "onnx":
        return head[:1] == b"\x08"
    if form == "cache":
        return head.startswith(b"\x89HDF")
    if form == "descriptors":
        kind = path.suffix.lower()
        return _is_text(head) if kind == ".txt" else head.startswith(b"\x93NUMPY" if kind == ".npy" else b"\x89HDF")
    if form == "predictions" and path.suffix.lower() == ".zip":
        return _holds_csv(path)
    if form == "pairs":
        with path.open("rb") as file:
            return _is_text(head) and len(file.readline(LONGEST_PAIR).split()) == 2
    if form in ("csv", "predictions"):
        is_text = _is_text(head) and start[:1] not in (b"{", b"<") and head[:2] != b"PK"
        return is_text and (form == "csv" or _has_predictions(path))
    return format_of(head) is not None or start.startswith((b"%PDF", b"<"))  # a figure


def _holds_csv(path: Path) -> bool:
    """Whether a file is a zip whose first file is a .csv at its root."""
    with path.open("rb") as file:
        head = file.read(ZIP_HEAD)
        name = file.read(int.from_bytes(head[26:28], "little"))
    return head.startswith(b"PK\x03\x04") and name.endswith(b".csv") and b"/" not in name


def _has_predictions(path: Path) -> bool:
    """Whether the first rows below the headers are as prediction files have them: names with one space between them.

    A comma at an end of a name is that of a table, which may have spaces behind its commas.
    """
    with path.open("rb") as file:
        lines = (
            line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
            for line in iter(partial(file.readline, LONGEST_ROW), b"")
        )
        rows = [line for line in itertools.islice(lines, ROWS) if line and not line.startswith(b"#")]
    parts = [row.split() for row in rows]
    fit = all(
        row == b" ".join(names) and all(name == name.strip(b",") for name in names) for row, names in zip(rows, parts)
    )
    return fit and any(len(names) > 1 for names in parts)  # a query without candidates stands alone


def _is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8; the last character may be cut."""
    try:
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
