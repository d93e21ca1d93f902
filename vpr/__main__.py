"""The installed script ``vpr``, also ``python -m vpr``: every command by its name, ``vpr eval msls --rerank``."""

from __future__ import annotations

import difflib
import importlib
import sys

from vpr import __version__
from vpr.base.interrupt import MISUSED, program

# The words of each command, with its module and what it does.
COMMANDS = {
    "scratch": ("vpr.scratch", "train the structural model without a teacher"),
    "distill": ("vpr.distill.__main__", "train the structural model with a NetVLAD teacher"),
    "teacher": ("vpr.teacher", "fit a NetVLAD teacher"),
    "extract": ("vpr.extract", "write global and patch descriptors to an HDF5 file"),
    "export": ("vpr.export", "write the network as an ONNX file"),
    "match": ("vpr.match", "draw how the patches of two photos match"),
    "map": ("vpr.map", "make or change a map of your own photos"),
    "locate": ("vpr.locate", "find where photos were taken, with a map"),
    "serve": ("vpr.serve", "answer requests over HTTP with a map"),
    "retrieval": ("vpr.retrieval.__main__", "train on class labels, for image retrieval"),
    "eval msls": ("vpr.eval.msls", "evaluate by the MSLS protocol, or write a submission"),
    "eval places": ("vpr.eval.places", "evaluate on any set of places: file names, arrays, lists, EXIF, no labels"),
    "eval compare": ("vpr.eval.compare", "compare runs and prediction files, with intervals"),
    "eval table": ("vpr.eval.table", "train and evaluate for the paper's tables"),
    "eval submission": ("vpr.eval.submission", "check a submission file"),
    "eval retrieval": ("vpr.eval.retrieval", "evaluate image retrieval"),
    "eval partial": ("vpr.eval.partial", "recall by the share of mass that is transported"),
    "eval patches": ("vpr.eval.patches", "similarity of patches by depth, and correspondence"),
    "datasets mini-msls": ("vpr.datasets.mini_msls", "render mini-MSLS, a street world in the MSLS layout"),
    "datasets textures": ("vpr.datasets.textures", "make photographed surfaces for mini-MSLS from Debian packages"),
    "datasets photo-views": ("vpr.datasets.photo_views", "make a city of altered views of photographs"),
    "datasets mini-retrieval": ("vpr.datasets.mini_retrieval", "render mini-retrieval, a set of labelled images"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command of the first words; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["--version"]:
        print(f"vpr {__version__}")
        return 0
    for count in (1, 2):
        name = " ".join(words[:count]).replace("_", "-")
        if name in COMMANDS:
            return int(importlib.import_module(COMMANDS[name][0]).main(words[count:]))
    group = [
        name for name in COMMANDS if words and name.startswith(f"{words[0]} ")
    ]  # for example the commands of ``vpr eval``
    rest = words[1:] if group else words
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(_help(group or list(COMMANDS)))
        return 0
    print(f"{program()}: error: there is no command {' '.join(words[:2])!r}; {_hint(words, group)}", file=sys.stderr)
    return MISUSED


def _hint(words: list[str], group: list[str]) -> str:
    """A hint for words that are not a command."""
    if group:
        return f"give one of {', '.join(group)}"
    firsts = sorted({name.split()[0] for name in COMMANDS})
    near = difflib.get_close_matches(" ".join(words[:2]).lower(), COMMANDS, 1)
    near = near or difflib.get_close_matches(words[0].lower(), firsts, 1)
    return f"did you mean {near[0]!r}?" if near else f"{program()} --help lists the commands"


def _help(names: list[str]) -> str:
    """The help text: these commands, one per line."""
    width = max(map(len, names))
    lines = [f"  {name:{width}}  {COMMANDS[name][1]}" for name in names]
    usage = [
        f"usage: {program()} COMMAND [options]",
        "",
        "Visual place recognition, re-ranked by optimal transport.",
        "",
    ]
    return "\n".join([*usage, "commands:", *lines, "", f"{program()} COMMAND --help lists its options."])


if __name__ == "__main__":
    sys.exit(main())
