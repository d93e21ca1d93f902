"""Files of options and settings in YAML: their checks, because a YAML reader would accept repeated names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 1_000_000


def check_config(path: Path, options: Collection[str], paths: Collection[str] = ()) -> None:
    """Raise ValueError if a file is not a YAML mapping of options, or has an anchor, an empty path, or an option that
    is repeated or unknown.

    options: the names of the command's options. paths: of those that are paths. A missing file is left to the parser.
    """
    if not path.is_file():
        return
    try:
        problem = _problem(_compose(path), options, paths)
    except ValueError as error:
        problem = str(error)
    if problem:
        raise ValueError(f"--config {path}: {problem}")


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a YAML file of settings in settings; the names are text, also those that look like numbers.

    Raises ValueError, one line with the remedy, if the file cannot be read, is no mapping, or has an anchor or a
    repeated name.
    """
    root = _compose(path)
    if root is None:
        return {}
    return dict(_plain(root))


def _plain(node: yaml.Node) -> Any:
    """The value of a node; raises ValueError for a repeated name."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if not isinstance(node, yaml.MappingNode):
        return yaml.SafeLoader("").construct_document(node)
    values: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"a name in line {key.start_mark.line + 1} is not text; write NAME: VALUE")
        if key.value in values:
            raise ValueError(f"{key.value} is given twice, again in line {key.start_mark.line + 1}; keep one")
        values[key.value] = _plain(value)
    return values


def _compose(path: Path) -> yaml.MappingNode | None:
    """The mapping that a file has; None if it is empty. Raises ValueError with the problem and the remedy."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("more than 1 MB, too large for options; --print-config prints an example")
        text = path.read_text(encoding="utf-8-sig")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("anchors (*name) are not read; write the value out")
        root = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ValueError(f"it cannot be read ({str(error.strerror).lower()}); check its permissions") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" in line {mark.line + 1}"
        raise ValueError(f"not valid YAML{place}; write one option per line, as NAME: VALUE") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ValueError("not a list of options; write one option per line, as NAME: VALUE")
    return root


def _problem(root: yaml.MappingNode | None, options: Collection[str], paths: Collection[str]) -> str:
    """The problem of the options of a file, and the remedy; empty if there is none."""
    if root is None:
        return ""
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
