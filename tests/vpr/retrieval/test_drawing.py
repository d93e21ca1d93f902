"""Pictures of a match show what the match holds, where it is."""

import numpy as np
import pytest

from vpr.retrieval.drawing import colour_limits, draw_map, draw_match, patch_box, patch_point
from vpr.retrieval.matching import Match

PHOTOS = np.full((40, 60, 3), 90, np.uint8), np.full((80, 40, 3), 200, np.uint8)


def diagonal(mass):
    """A match of 2 x 2 patches with those in their place, which moves less of the last."""
    weights = np.full(4, 0.25, np.float32)
    plan = np.diag(weights)
    plan[3, 3] -= 1 - mass
    return Match(0.5, weights, weights, plan, np.eye(4))


@pytest.mark.parametrize(("mass", "axes"), [(1.0, 7), (0.8, 9)])
def test_what_took_no_part_is_shown_where_some_did_not(mass, axes):
    figure = draw_match(PHOTOS, diagonal(mass))
    assert len(figure.axes) == axes  # of two photos a row, and the colour bar
    if mass < 1:
        for part in figure.axes[-4:-2]:
            assert [bool(patch.get_hatch()) for patch in part.patches] == [False, False, False, True]


@pytest.mark.parametrize("lines", [1, 3, 9])
def test_lines_join_the_patches_that_correspond(lines):
    figure = draw_match(PHOTOS, diagonal(1.0), lines)
    drawn = [artist for artist in figure.get_children() if type(artist).__name__ == "ConnectionPatch"]
    assert len(drawn) == min(lines, 4)
    for line in drawn:
        patches = []
        for point, photo in zip((line.xy1, line.xy2), PHOTOS):
            inner = [patch_box(photo, number, 4) for number in range(4)]
            patches.append([x < point[0] < x + w and y < point[1] < y + h for x, y, w, h in inner])
        assert patches[0] == patches[1] and sum(patches[0]) == 1


def test_the_grid_is_drawn_where_the_map_places_it():
    """By a map that turns by a right angle and halves, the grid of the query fills the middle of the other image."""
    from matplotlib.figure import Figure

    axes = Figure().subplots(1, 2)
    for part, photo in zip(axes, PHOTOS):
        part.imshow(photo)
    draw_map(axes, PHOTOS, np.array([[0, -0.5, 0], [0.5, 0, 0]]), (4, 4))
    for part, photo, share in zip(axes, PHOTOS, (1.0, 0.5)):
        points = np.concatenate([line.get_xydata() for line in part.lines])
        size = np.array(photo.shape[1::-1])
        np.testing.assert_allclose(np.ptp(points, axis=0), share * size)
        np.testing.assert_allclose(points.mean(0), size / 2 - 0.5)
        assert len(part.lines) == 6
    corner = [line.get_xydata()[0] for line in (axes[0].lines[0], axes[1].lines[0])]
    np.testing.assert_allclose(corner, [(-0.5, -0.5), (29.5, 19.5)])


def test_patches_cover_the_photo():
    x, y, width, height = patch_box(PHOTOS[0], 8, 9)
    assert (x + width, y + height) == pytest.approx((59.5, 39.5))
    assert patch_point(PHOTOS[0], 4, 9) == pytest.approx((29.5, 19.5))


def test_equal_values_get_limits_around_them():
    assert colour_limits(np.ones(3)) == (0, 2) and colour_limits(np.array([1.0, 3.0])) == (1, 3)
