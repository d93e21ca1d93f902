"""Headings of training photos: compass angles, courses of drives, and drives with several cameras."""

import logging
import math

import numpy as np
import pandas as pd
import pytest
from msls_tree import make_rows, write_city

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.metadata import VIEW_DIRECTIONS
from vpr.distill.msls_data import training_photos
from vpr.distill.sampling.headings import courses, known_headings, of_several_cameras
from vpr.distill.sampling.places import Guard, Places

FORWARD, BACKWARD, SIDEWAYS = (VIEW_DIRECTIONS.index(name) for name in ("Forward", "Backward", "Sideways"))


def scattered_drives(seed, count=120):
    """Photos of some drives, with short and long steps, standing cars and repeated points."""
    rng = np.random.default_rng(seed)
    drive = np.cumsum(rng.random(count) < 0.1).astype(np.int32)
    steps = rng.choice([0.0, 0.3, 1.5, 8.0, 60.0], count)[:, None] * rng.normal(0, 1, (count, 2))
    return np.cumsum(steps, 0), drive, rng.integers(0, len(VIEW_DIRECTIONS), count)


def naive_course(utm, drive, views, i):
    before = i - 1 if i and drive[i - 1] == drive[i] else i
    after = i + 1 if i + 1 < len(utm) and drive[i + 1] == drive[i] else i
    if max(math.dist(utm[before], utm[i]), math.dist(utm[i], utm[after])) > 50:
        return math.nan
    east, north = utm[after] - utm[before]
    if math.hypot(east, north) < 2 or views[i] not in (FORWARD, BACKWARD):
        return math.nan
    return (math.degrees(math.atan2(east, north)) + (180 if views[i] == BACKWARD else 0)) % 360


@pytest.mark.parametrize("seed", range(3))
def test_courses_and_cameras_against_loops(seed):
    utm, drive, views = scattered_drives(seed)
    expected = np.array([naive_course(utm, drive, views, i) for i in range(len(utm))])
    found = courses(utm, drive, views)
    assert np.isnan(found).any() and (~np.isnan(found)).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    apart = np.abs((found - expected + 180) % 360 - 180)
    assert np.nanmax(apart) < 1e-3
    several = []
    for i in range(len(utm)):
        own = np.flatnonzero(drive == drive[i])
        shared = [any(j != k and math.dist(utm[j], utm[k]) <= 1 for k in own) for j in own]
        several.append(np.mean(shared) > 0.5)
    assert of_several_cameras(utm, drive).tolist() == several and 0 < sum(several) < len(several)


def test_no_views_no_photos_and_placeholders():
    utm, drive, _ = scattered_drives(0)
    assert np.isnan(courses(utm, drive, None)).all()
    assert not len(courses(np.empty((0, 2)), np.empty(0, int), None))
    assert not len(of_several_cameras(np.empty((0, 2)), np.empty(0, int)))
    assert np.isnan(known_headings(np.zeros(20, np.float32), 20)).all() and np.isnan(known_headings(None, 2)).all()
    assert known_headings(np.float32([0, 90]), 2).tolist() == [0, 90]
    assert known_headings(np.full(19, 40, np.float32), 19).tolist() == [40] * 19


def rig(count, **columns):
    """Points 6 m apart, with four photos each: 0, 90, 180 and 270 degrees."""
    numbers = np.arange(4 * count)
    return make_rows(4 * count, "r", easting=500_000.0 + 6 * (numbers // 4), ca=90.0 * (numbers % 4), **columns)


def test_views_of_one_point_are_never_positives(tmp_path):
    write_city(tmp_path, "town", make_rows(3, "q"), rig(10))
    photos, _ = training_photos(tmp_path, ("town",))
    places = Places(photos, Guard())
    for anchor in places.anchors:
        assert (photos.heading[places.positives(anchor)] == photos.heading[anchor]).all()
    assert len(places.anchors) == 41  # and the query at the first point


def test_drives_in_opposite_directions_without_compass_are_no_positives(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    numbers = np.arange(20)
    east = 500_000.0 + 8 * numbers
    there = make_rows(20, "a", ca=np.nan, easting=east)
    back = make_rows(20, "b", ca=np.nan, easting=east[::-1], northing=6_000_003.0)
    write_city(tmp_path, "town", there, back)
    photos, _ = training_photos(tmp_path, ("town",))
    assert photos.heading.tolist() == [90] * 20 + [270] * 20
    places = Places(photos, Guard())
    for anchor in places.anchors:
        assert (places.positives(anchor) < 20).all() == (anchor < 20)
    assert "20 of 20 photos have no heading (ca in raw.csv), and 20 of these take the course" in caplog.text


def test_cameras_without_headings_are_left_out_or_refused(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    unknown = rig(10).assign(ca=np.nan)
    write_city(tmp_path, "rig", make_rows(3, "q"), unknown)
    with pytest.raises(DatasetError, match="train_val/rig/database: 40 of 40 photos stand at one point .* column ca"):
        training_photos(tmp_path, ("rig",))
    drive = make_rows(60, "d", ca=np.nan, easting=500_000.0 + 8 * np.arange(60))
    mixed = unknown.assign(key=[f"x{row}" for row in range(40)], sequence_key="rig")
    write_city(tmp_path, "mixed", make_rows(3, "q"), pd.concat([drive, mixed], ignore_index=True))
    photos, _ = training_photos(tmp_path, ("mixed",))
    assert len(photos.paths) == 63 and not any("/x" in path for path in photos.paths)
    assert "40 of several cameras at one point are left out" in caplog.text
