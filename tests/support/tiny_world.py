"""Renders a world of one street: what datasets.mini_msls does, small enough to be stopped at every moment."""

from dataclasses import replace
from pathlib import Path

from vpr.datasets.street_world.config import CityPlan, tiny_config
from vpr.datasets.street_world.rendering import render


def main(argv: list[str]) -> int:
    """The folder of the tree is the first argument."""
    city = CityPlan("cph", "train_val", 1, 0, 1, 0.0)
    render(replace(tiny_config(), cities=(city,), frames=2, size=16), Path(argv[0]), workers=1)
    return 0
