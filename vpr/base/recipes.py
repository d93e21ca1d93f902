"""Recipes: YAML files of options in the box, a folder for each kind of command."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from vpr.base.settings import shown

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
DEFAULT_RECIPE, PLAIN_RECIPE = "lite", "mini"  # of commands that take recipes


def take_recipe(parser: ArgumentParser, argv: Sequence[str], folder: str) -> list[str]:
    """Make the values of ``--recipe NAME`` the parser's defaults; returns the other arguments.

    Without it that is `DEFAULT_RECIPE`, or `PLAIN_RECIPE` where ``--backbone`` is given: the weights of one network do
    not fit another.

    A recipe is a YAML file of the box, in a folder for each kind of command. Keys of options that the command lacks are
    left out, so that one recipe serves several commands. Raises ValueError for a name that is none.
    """
    found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chosen = any(argument.split("=")[0] == "--backbone" for argument in argv)
    found.add_argument("--recipe", default=PLAIN_RECIPE if chosen else DEFAULT_RECIPE)
    given, others = found.parse_known_args(list(argv))
    if given.recipe not in recipes(folder):
        raise ValueError(f"--recipe: {given.recipe!r} is none of {', '.join(recipes(folder))}")
    values = yaml.safe_load((RECIPES / folder / f"{given.recipe}.yaml").read_text(encoding="utf-8"))
    for action in parser._actions:
        if action.dest in values:
            before = shown(action.default)
            parser.set_defaults({action.dest: values[action.dest]})
            action.help = str(action.help).removesuffix(before) + shown(values[action.dest])
    return others


def recipes(folder: str) -> list[str]:
    """The names of the recipes in the box, for one kind of command."""
    return sorted(path.stem for path in (RECIPES / folder).glob("*.yaml"))
