"""A command for the kill sweep: render a tiny labelled set into a folder, in this process."""

from dataclasses import replace
from pathlib import Path

from vpr.datasets.bird_world.config import tiny_birds
from vpr.datasets.bird_world.rendering import render


def main(argv):
    """Render it into the folder given."""
    render(replace(tiny_birds("sop"), classes=4, images=3), Path(argv[0]), workers=1)
    return 0
