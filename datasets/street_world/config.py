"""The configuration of a rendered world: cities, streets, traverses, image size."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from vpr.datasets.errors import DatasetError

VERSION = 4  # rises whenever the same seed gives other bytes

SCALES = {"small": 1, "medium": 4, "large": 16}  # factor on the number of streets


@dataclass(frozen=True)
class CityPlan:
    """One city of the tree, and the streets that are driven."""

    name: str  # the official folder name
    part: str  # train_val or test
    streets: int  # streets that the database covers
    strays: int  # streets driven only by queries, which have no positive within 25 m
    queries: int  # query traverses of every street
    second_database: float  # share of the streets with another database traverse


@dataclass(frozen=True)
class MiniConfig:
    """A world. Equal configurations give equal bytes."""

    scale: str = "small"
    seed: int = 0
    cities: tuple[CityPlan, ...] = ()
    frames: int = 8  # frames of a traverse, 10 m apart
    size: int = 112  # image side, pixels
    supersample: int = 2  # rays a pixel side
    textures: str = ""  # folder of photographed textures; none for drawn surfaces only
    photographs: str = ""  # digest of these textures

    def identity(self) -> dict:
        """Everything that the bytes depend on: the fields and the version of the renderer. Textures count by digest."""
        fields = {**asdict(self), "cities": [asdict(city) for city in self.cities], "version": VERSION}
        del fields["textures"]
        if not self.photographs:
            del fields["photographs"]
        return fields


TRAIN_CITIES = ("trondheim", "london", "boston", "melbourne", "amsterdam")


def scale_config(scale: str = "small", seed: int = 0) -> MiniConfig:
    """The world of a named scale.

    Raises:
        DatasetError: the scale is unknown or the seed negative.
    """
    if scale not in SCALES:
        raise DatasetError(f"unknown scale {scale!r}; choose one of {', '.join(SCALES)}")
    if seed < 0:
        raise DatasetError(f"the seed must not be negative: {seed}")
    factor = SCALES[scale]
    cities = [CityPlan(name, "train_val", 20 * factor, 0, 3, 0.4) for name in TRAIN_CITIES]
    cities += [CityPlan(name, "train_val", 26 * factor, factor, 1, 0.35) for name in ("cph", "sf")]
    cities.append(CityPlan("miami", "test", 14 * factor, factor, 1, 0.3))
    return MiniConfig(scale, seed, tuple(cities))


def tiny_config(seed: int = 0) -> MiniConfig:
    """A world of about 150 small images for tests: every city, few streets, few frames."""
    cities = [CityPlan(name, "train_val", 1, 0, 2, 0.0) for name in TRAIN_CITIES]
    cities += [CityPlan(name, "train_val", 2, 1, 1, 0.5) for name in ("cph", "sf")]
    cities.append(CityPlan("miami", "test", 1, 1, 1, 0.0))
    return replace(MiniConfig("tiny", seed, tuple(cities)), frames=5, size=56, supersample=1)
