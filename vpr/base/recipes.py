"""Recipes: built-in YAML files of options, one folder for each kind of command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from vpr.base.settings import default_text

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
DEFAULT_RECIPE, PLAIN_RECIPE = "lite", "mini"  # without --recipe; the second if --backbone is given


def apply_recipe(parser: ArgumentParser, argv: Sequence[str], folder: str) -> list[str]:
    """Set the parser's defaults to the values of ``--recipe NAME``; returns the other arguments.

    Without ``--recipe`` it is `DEFAULT_RECIPE`, or `PLAIN_RECIPE` if ``--backbone`` is given, because the weights of
    one network do not fit another. Keys that are not options of the command are ignored, so that several commands can
    share a recipe. Raises ValueError for an unknown name.
    """
    found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chosen = any(argument.split("=")[0] == "--backbone" for argument in argv)
    found.add_argument("--recipe", default=PLAIN_RECIPE if chosen else DEFAULT_RECIPE)
    given, others = found.parse_known_args(list(argv))
    if given.recipe not in recipes(folder):
        raise ValueError(f"--recipe: {given.recipe!r} is not one of {', '.join(recipes(folder))}")
    values = yaml.safe_load((RECIPES / folder / f"{given.recipe}.yaml").read_text(encoding="utf-8"))
    for action in parser._actions:
        if action.dest in values:
            before = default_text(action.default)
            parser.set_defaults({action.dest: values[action.dest]})
            action.help = str(action.help).removesuffix(before) + default_text(values[action.dest])
    return others


def recipes(folder: str) -> list[str]:
    """The names of the built-in recipes for one kind of command."""
    return sorted(path.stem for path in (RECIPES / folder).glob("*.yaml"))
