"""The official cities of MSLS (Warburg et al., CVPR 2020), in the order of the official loader."""

from __future__ import annotations

TRAIN_CITIES: tuple[str, ...] = (
    "trondheim", "london", "boston", "melbourne", "amsterdam", "helsinki", "tokyo", "toronto",
    "saopaulo", "moscow", "zurich", "paris", "bangkok", "budapest", "austin", "berlin", "ottawa",
    "phoenix", "goa", "amman", "nairobi", "manila",
)  # fmt: skip
VAL_CITIES: tuple[str, ...] = ("cph", "sf")
TEST_CITIES: tuple[str, ...] = ("miami", "athens", "buenosaires", "stockholm", "bengaluru", "kampala")

OFFICIAL_CITIES: dict[str, tuple[str, ...]] = {
    "train": TRAIN_CITIES,
    "val": VAL_CITIES,
    "test": TEST_CITIES,
}


def official_split(city: str) -> str | None:
    """``train``, ``val`` or ``test`` for an official city, None for any other name."""
    return next((split for split, cities in OFFICIAL_CITIES.items() if city in cities), None)
