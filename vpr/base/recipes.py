"""Recipes: built-in YAML files of options, one folder for each kind of command."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from vpr.base.settings import default_text

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
DEFAULT_RECIPE, PLAIN_RECIPE = "lite", "mini"  # without --recipe; the second if --backbone is given


def apply_recipe(parser: ArgumentParser, argv: Sequence[str], folder: str) -> list[str]:
    """Set the parser's defaults to the values of ``--recipe NAME``; returns the other arguments.

    Without ``--recipe`` it is `default_recipe`. Keys that are not options of the command are ignored, so that several
    commands can share a recipe. Raises ValueError for an unknown name.
    """
    found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    chosen = any(argument.split("=")[0] == "--backbone" for argument in argv)
    found.add_argument("--recipe", default=default_recipe(chosen))
    given, others = found.parse_known_args(list(argv))
    values = read_recipe(folder, given.recipe)
    for action in parser._actions:
        if action.dest in values:
            before = default_text(action.default)
            parser.set_defaults({action.dest: values[action.dest]})
            action.help = str(action.help).removesuffix(before) + default_text(values[action.dest])
    return others


def default_recipe(has_backbone: bool) -> str:
    """The recipe if none is named. has_backbone: whether a backbone is named; the weights of one do not fit another."""
    return PLAIN_RECIPE if has_backbone else DEFAULT_RECIPE


def read_recipe(folder: str, name: str) -> dict[str, Any]:
    """The options of a recipe by field name; raises ValueError for an unknown name."""
    if name not in recipes(folder):
        raise ValueError(f"--recipe: {name!r} is not one of {', '.join(recipes(folder))}")
    values: dict[str, Any] = yaml.safe_load((RECIPES / folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return values


def recipes(folder: str) -> list[str]:
    """The names of the built-in recipes for one kind of command."""
    return sorted(path.stem for path in (RECIPES / folder).glob("*.yaml"))
