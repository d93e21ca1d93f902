"""The choice of a setting on held-out queries: the one nearest a prior, of those that are as good as the best.

On some hundred queries the best setting is often best by chance, and another city pays for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr.base.noise import paired_error
from vpr.eval.calibration.criterion import Setting

# Standard errors within which a difference counts as noise. The best of 27 settings is compared with the 26 others, for
# which a level of 5 % is 3.1 standard errors (Bonferroni).
NOISE_ERRORS = 3.0


@dataclass(frozen=True)
class Choice:
    """A chosen setting, and how it compares with the best."""

    setting: Setting
    best: Setting
    difference: float  # mean value of the best minus that of the chosen one
    error: float  # standard error of the difference
    equal: tuple[Setting, ...]  # all settings that differ from the best by noise only, also the chosen one

    def summary(self) -> str:
        """One line for the log."""
        if len(self.equal) == 1:
            return "all other settings are worse beyond noise"
        weights, masses = self._ranges()
        best = f"w {self.best.weight:g}, mass {self.best.mass:g}"
        lead = f"by {100 * self.difference:.1f} +- {100 * NOISE_ERRORS * self.error:.1f} points"
        what = f"{len(self.equal)} settings differ by noise only, w {_span(weights)} and mass {_span(masses)}"
        return f"{what}; " + ("this one is the best" if self.best == self.setting else f"the best is {best}, {lead}")

    def record(self) -> dict[str, Any]:
        """The entry ``choice`` of the calibration in metrics.json."""
        weights, masses = self._ranges()
        return {
            "best": self.best._asdict(),
            "difference": self.difference,
            "error": self.error,
            "settings": len(self.equal),
            "weights": weights,
            "masses": masses,
        }

    def _ranges(self) -> tuple[list[float], list[float]]:
        """The least and the largest weight and mass of the settings that differ from the best by noise only."""
        columns = ([setting.weight for setting in self.equal], [setting.mass for setting in self.equal])
        weights, masses = ([min(column), max(column)] for column in columns)
        return weights, masses


def choose_setting(values: Mapping[Setting, np.ndarray], prior: Setting) -> Choice:
    """Choose among settings by the values (S,) of the same S queries.

    Settings within `NOISE_ERRORS` of the best, see `paired_error`, are equal, and the one nearest the prior is chosen;
    of equally near ones the larger mass, then the smaller weight.
    """
    best = max(values, key=lambda setting: (values[setting].mean(), *_order(setting, prior)))
    equal = [setting for setting, own in values.items() if _is_noise(values[best] - own)]
    chosen = max(equal, key=lambda setting: _order(setting, prior))
    differences = values[best] - values[chosen]
    return Choice(chosen, best, float(differences.mean()), paired_error(differences), tuple(equal))


def _order(setting: Setting, prior: Setting) -> tuple[float, float, float]:
    return -setting.distance(prior), setting.mass, -setting.weight


def _is_noise(differences: np.ndarray) -> bool:
    return bool(differences.mean() <= NOISE_ERRORS * paired_error(differences) + 1e-12)


def _span(values: list[float]) -> str:
    return " to ".join(f"{value:g}" for value in dict.fromkeys(values))
