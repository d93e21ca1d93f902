"""Hour, season, weather and light of a traverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr.datasets.street_world import columns as c

# name: (month range, hour range, sun strength, cloud, fog per metre, snow, wet, night)
CONDITIONS = {
    "day": ((5, 8), (9, 16), 1.0, (0.0, 0.45), 0.0008, 0, 0, 0),
    "low_sun": ((4, 9), (6, 8), 0.9, (0.0, 0.4), 0.0015, 0, 0, 0),
    "overcast": ((4, 9), (9, 17), 0.0, (0.75, 1.0), 0.0015, 0, 0, 0),
    "autumn": ((10, 11), (10, 15), 0.8, (0.1, 0.6), 0.0015, 0, 0, 0),
    "rain": ((9, 11), (9, 16), 0.0, (0.9, 1.0), 0.005, 0, 1, 0),
    "winter": ((12, 14), (10, 14), 0.3, (0.4, 1.0), 0.0025, 1, 0, 0),
    "bare": ((12, 15), (9, 15), 0.7, (0.1, 0.9), 0.0015, 0, 0.2, 0),
    "fog": ((10, 14), (7, 11), 0.0, (1.0, 1.0), 0.022, 0, 0.3, 0),
    "dusk": ((4, 10), (19, 20), 0.12, (0.2, 0.7), 0.002, 0, 0, 0),
    "night": ((1, 12), (21, 23), 0.0, (0.0, 0.8), 0.002, 0, 0, 1),
    "wet_night": ((9, 12), (20, 23), 0.0, (0.6, 1.0), 0.005, 0, 1, 1),
}
DATABASE_FIRST = {"day": 0.5, "overcast": 0.2, "low_sun": 0.1, "autumn": 0.1, "bare": 0.1}
DATABASE_SECOND = {"winter": 0.35, "night": 0.2, "autumn": 0.2, "overcast": 0.15, "dusk": 0.1}
QUERY = {
    "day": 0.10,
    "low_sun": 0.09,
    "overcast": 0.1,
    "autumn": 0.12,
    "rain": 0.09,
    "winter": 0.15,
    "bare": 0.09,
    "fog": 0.06,
    "dusk": 0.07,
    "night": 0.09,
    "wet_night": 0.04,
}


@dataclass(frozen=True)
class Weather:
    """The condition of one traverse."""

    name: str
    year: int
    month: int  # 1..12
    day: int
    hour: int
    night: bool
    light: np.ndarray  # (LIGHT_WIDTH,)


def draw_weather(name: str, rng: np.random.Generator) -> Weather:
    """Draw date and light for a condition of CONDITIONS."""
    months, hours, sun, cloud, fog, snow, wet, night = CONDITIONS[name]
    month = (int(rng.integers(months[0], months[1] + 1)) - 1) % 12 + 1
    hour = int(rng.integers(hours[0], hours[1] + 1))
    light = np.zeros(c.LIGHT_WIDTH)
    light[c.L_SEED] = rng.uniform(0, 500)
    light[c.L_FOG] = fog * rng.uniform(0.6, 1.7)
    light[c.L_SNOW] = snow * rng.uniform(0.55, 1.0)
    light[c.L_WET] = wet * rng.uniform(0.6, 1.0)
    light[c.L_CLOUD] = rng.uniform(*cloud)
    set_season(light, month, rng)
    set_sky(light, name, sun, rng)
    if night or name == "dusk":
        light[c.L_LAMP] = rng.uniform(0.7, 1.3) * (1.0 if night else 0.35)
        light[c.L_HEAD] = rng.uniform(0.1, 0.6) * (1.0 if night else 0.3)
        light[c.L_LIT] = rng.uniform(0.15, 0.5)
    return Weather(name, int(rng.integers(2011, 2020)), month, int(rng.integers(1, 29)), hour, bool(night), light)


def set_season(light: np.ndarray, month: int, rng: np.random.Generator) -> None:
    """Set leaves and grass by the month."""
    winter = month in (12, 1, 2, 3)
    light[c.L_LEAF] = rng.uniform(0.0, 0.15) if winter else (rng.uniform(0.45, 0.9) if month in (10, 11) else 1.0)
    light[c.L_AUTUMN] = rng.uniform(0.6, 1.0) if month in (10, 11) else (rng.uniform(0.1, 0.4) if month == 9 else 0.0)
    light[c.L_DRY] = rng.uniform(0.5, 1.0) if winter else rng.uniform(0.0, 0.6)


def set_sky(light: np.ndarray, name: str, sun: float, rng: np.random.Generator) -> None:
    """Set sun, sky and fog colours."""
    azimuth = rng.uniform(0, 2 * np.pi)
    low = {"low_sun": (0.12, 0.35), "dusk": (0.03, 0.1)}.get(name, (0.35, 1.05))
    elevation = rng.uniform(*low)
    warm = np.clip(1.0 - elevation / 0.6, 0, 1)
    power = sun * rng.uniform(0.9, 1.5) * (1.0 - 0.6 * light[c.L_CLOUD])
    light[c.L_SUN_R : c.L_SUN_B + 1] = power * np.array([1.0, 0.93 - 0.25 * warm, 0.82 - 0.45 * warm])
    light[c.L_SUN_X : c.L_SUN_Z + 1] = (
        np.cos(azimuth) * np.cos(elevation),
        np.sin(azimuth) * np.cos(elevation),
        np.sin(elevation),
    )
    blue, grey = np.array([0.30, 0.42, 0.62]), np.array([0.52, 0.55, 0.58])
    mix = light[c.L_CLOUD]
    ambient = (blue * (1 - mix) + grey * mix) * rng.uniform(0.8, 1.3)
    zenith = np.array([0.16, 0.32, 0.68]) * (1 - mix) + 0.8 * np.array([0.78, 0.82, 0.86]) * mix
    horizon = np.array([0.75, 0.83, 0.92]) * (1 - mix) + 0.95 * np.array([0.85, 0.86, 0.88]) * mix
    if name in ("low_sun", "dusk"):
        horizon = horizon * np.array([1.05, 0.78, 0.58])
    factor = {"night": 0.02, "wet_night": 0.03, "dusk": 0.22}.get(name, 1.0) * rng.uniform(0.85, 1.15)
    glow = np.array([1.15, 0.85, 0.6]) if "night" in name else np.ones(3)
    light[c.L_AMB_R : c.L_AMB_B + 1] = ambient * factor * 1.1 * glow
    light[c.L_ZEN_R : c.L_ZEN_B + 1] = zenith * factor
    light[c.L_HOR_R : c.L_HOR_B + 1] = horizon * factor * glow
    light[c.L_FOG_R : c.L_FOG_B + 1] = (0.6 * horizon + 0.4 * zenith) * factor * glow


def indoor_light(weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """The light inside a roofed passage: lamps of some colour, no weather."""
    light = weather.light.copy()
    for column in (c.L_SUN_R, c.L_SUN_G, c.L_SUN_B, c.L_SNOW, c.L_WET, c.L_LAMP, c.L_HEAD):
        light[column] = 0.0
    level = rng.uniform(0.12, 0.35) if weather.night else rng.uniform(0.3, 0.8)
    light[c.L_AMB_R : c.L_AMB_B + 1] = level * np.array([1.0, rng.uniform(0.82, 1.0), rng.uniform(0.6, 1.05)])
    light[c.L_FOG], light[c.L_LIT] = 0.001, rng.uniform(0.2, 0.7)
    return light
