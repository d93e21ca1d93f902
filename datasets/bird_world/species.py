"""Species: genera that differ in build and colours, and species of a genus that differ in a few traits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from vpr.datasets.street_world.seeds import rng_for

PATTERNS = ("plain", "bars", "streaks", "spots", "tip")
CRESTS = ("none", "spikes", "round", "long")
TAILS = ("square", "fork", "fan", "point")
COLOURS = (
    (58, 44, 36), (120, 86, 58), (186, 150, 104), (226, 212, 180), (240, 238, 230), (38, 40, 46), (96, 104, 112),
    (60, 92, 140), (112, 158, 196), (84, 120, 62), (168, 172, 74), (222, 190, 66), (206, 122, 48), (164, 56, 44),
)  # fmt: skip
SPECIES_OF_GENUS = 4
TRAITS_OF_SPECIES = 5  # traits in which a species differs from its genus


@dataclass(frozen=True)
class Species:
    """The looks of a bird from the side. Lengths are in body lengths, colours are indices of `COLOURS`."""

    body_height: float
    body_taper: float  # how much slimmer the rear is
    head_size: float
    neck: float  # distance of the head from the shoulder
    beak_length: float
    beak_height: float
    beak_bend: float  # downwards
    tail_length: float
    tail_width: float
    wing_length: float
    wing_width: float
    leg_length: float
    tail: str
    crest: str
    wing_pattern: str
    wing_marks: int  # bars, streaks or rows of spots
    breast_pattern: str
    breast_marks: int
    tail_pattern: str
    back: int
    belly: int
    wing: int
    mark: int  # of the wing's pattern
    breast_mark: int
    cap: int  # colour of the top of the head
    cheek: int
    eye_stripe: int  # 1 if the eye lies on a stripe
    beak: int
    legs: int


def draw_trait(name: str, rng: np.random.Generator) -> Any:
    """A value of one trait at random."""
    ranges = {
        "body_height": (0.42, 0.66), "body_taper": (0.1, 0.5), "head_size": (0.2, 0.32), "neck": (0.02, 0.2),
        "beak_length": (0.1, 0.5), "beak_height": (0.05, 0.14), "beak_bend": (-0.05, 0.25), "tail_length": (0.3, 1.0),
        "tail_width": (0.1, 0.34), "wing_length": (0.6, 1.05), "wing_width": (0.2, 0.36), "leg_length": (0.12, 0.55),
    }  # fmt: skip
    choices = {
        "tail": TAILS, "crest": CRESTS, "wing_pattern": PATTERNS, "breast_pattern": PATTERNS, "tail_pattern": PATTERNS,
    }  # fmt: skip
    if name in ranges:
        return float(rng.uniform(*ranges[name]))
    if name in choices:
        return str(rng.choice(choices[name]))
    if name.endswith("marks"):
        return int(rng.integers(2, 6))
    return int(rng.integers(0, 2)) if name == "eye_stripe" else int(rng.integers(0, len(COLOURS)))


def make_species(seed: int, number: int) -> Species:
    """The species of a number: the traits of its genus, except a few of its own."""
    names = [field.name for field in fields(Species)]
    genus = rng_for(seed, "genus", number // SPECIES_OF_GENUS)
    shared = Species(**{name: draw_trait(name, genus) for name in names})
    own = rng_for(seed, "species", number)
    chosen = own.choice(names, TRAITS_OF_SPECIES, replace=False)
    return replace(shared, **{str(name): draw_trait(str(name), own) for name in chosen})
