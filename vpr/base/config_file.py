"""Checks of option files (``--config``), because the parser would accept repeated options."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml

MOST_BYTES = 1_000_000


def check_config(path: Path, options: Collection[str], paths: Collection[str] = ()) -> None:
    """Raise ValueError if a file is not a YAML mapping of options, or has an anchor, an empty path, or an option that
    is repeated or unknown.

    options: the names of the command's options. paths: of those that are paths. A missing file is left to the parser.
    """
    if not path.is_file():
        return
    problem = _problem(path, options, paths)
    if problem:
        raise ValueError(f"--config {path}: {problem}")


def _problem(path: Path, options: Collection[str], paths: Collection[str]) -> str:
    """The problem of a file, and the remedy; empty if there is none."""
    if path.stat().st_size > MOST_BYTES:
        return "more than 1 MB, too large for options; --print-config prints an example"
    try:
        text = path.read_text(encoding="utf-8-sig")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            return "anchors (*name) are not read; write the value out"
        root = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        return f"it cannot be read ({str(error.strerror).lower()}); check its permissions"
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" in line {mark.line + 1}"
        return f"not valid YAML{place}; write one option per line, as NAME: VALUE"
    if root is None:
        return ""
    if not isinstance(root, yaml.MappingNode):
        return "not a list of options; write one option per line, as NAME: VALUE"
    names = [str(key.value) for key, _ in root.value]
    for name, (_, value) in zip(names, root.value):
        if name in paths and value.tag.endswith(":str") and not value.value:
            return f"{name} is an empty path; give one, or leave the line out"
    for name in names:
        if name not in options:
            meant = name.lstrip("-").replace("-", "_")
            return f"{name} is not an option of this command; " + (
                f"write {meant}" if meant in options else "see --help"
            )
        if names.count(name) > 1:
            return f"{name} is given {names.count(name)} times; keep one"
    return ""
