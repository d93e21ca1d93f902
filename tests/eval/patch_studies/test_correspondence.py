"""Correspondences are what the plan says."""

import numpy as np
import pytest

from vpr.eval.patch_studies.correspondence import (
    correspondence,
    correspondences,
    draw_correspondences,
    heaviest_patches,
    on_other_grid,
)
from vpr.retrieval.matching import Match

PHOTO = np.full((30, 60, 3), 128, np.uint8)


def match_of(plan, stayed=0.0):
    """A match with this plan; ``stayed`` of each marginal was not moved."""
    plan = np.asarray(plan, np.float32)
    return Match(0.0, plan.sum(1) + stayed, plan.sum(0) + stayed, plan, plan)


def test_most_of_the_mass_goes_to_the_answer():
    plan = np.zeros((4, 9))
    plan[1, 5], plan[1, 7], plan[2, 0] = 0.3, 0.1, 0.6
    found = correspondence(match_of(plan, 0.1), (0, 1))
    assert found.answer == (1, 2) and found.moved == pytest.approx(0.8)
    assert found.shares[[5, 7]].tolist() == pytest.approx([0.75, 0.25]) and found.shares.sum() == pytest.approx(1)
    assert found.as_json() == {"patch": (0, 1), "answer": (1, 2), "share": found.shares.max(), "moved": found.moved}
    none = correspondence(match_of(plan, 0.1), (0, 0))
    assert none.answer is None and none.moved == 0 and not none.shares.any()


def test_the_weightiest_lie_apart():
    moved = np.array([[9, 8, 1, 7], [6, 1, 1, 1], [1, 1, 5, 1], [4, 1, 1, 1]]).reshape(16)
    assert heaviest_patches(match_of(np.diag(moved)), 3) == [(0, 0), (0, 3), (2, 2)]
    assert len(heaviest_patches(match_of(np.diag(moved)), 99)) == 4  # where no more lie apart


@pytest.mark.parametrize(("side", "other"), [(10, 7), (7, 10), (4, 4), (3, 1)])
def test_a_patch_is_found_on_another_grid(side, other):
    for row in range(side):
        found = on_other_grid((row, side - 1), side, other)
        assert found[0] / other <= (row + 0.5) / side <= (found[0] + 1) / other and found[1] == other - 1


def test_each_model_has_a_column_and_each_patch_a_row():
    matches = {"runs/" + "long" * 20: match_of(np.eye(4) / 4), "b": match_of(np.eye(9)[::-1] / 9)}
    found = correspondences(matches, [(0, 0), (1, 1)])
    assert [one.answer for one in found["b"]] == [(2, 2), (0, 0)]
    figure = draw_correspondences((PHOTO, PHOTO), matches, [(0, 0), (1, 1)])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 6 and titles[0] == "row 0, column 0" and titles[2] == "b: 100% in the outlined patch"
    assert titles[1].startswith("...onglong")
