"""Drives as hidden Markov chains: against a chain over all photos in plain loops, and what drives do."""

from dataclasses import replace

import numpy as np
import pytest

from vpr.maps.candidates import Candidates
from vpr.maps.drive_filter import (
    COMES_BACK,
    LEAVES,
    NOT_ON_MAP,
    SWITCH,
    TOGETHER,
    DriveFilter,
    LiveDrive,
    Progress,
    follow,
    smooth,
    smooth_both,
)
from vpr.maps.drives import BEST, MANNERS, OFF_MAP, SHARPNESS, SILENCE, UNKNOWN, Evidence, MapPlaces, read_evidence
from vpr.retrieval.confidence import Curve


def street(count=200, step=10.0, place_m=25.0):
    """Photos along a line."""
    return MapPlaces(np.stack([step * np.arange(count), np.zeros(count), np.zeros(count)], 1), place_m)


def naming(photos, *rows, share=0.9, off_map=1.0):
    """Evidence for some photos of a map, which fit with a share of the whole."""
    left = (1 - share) / (len(photos) - len(rows))
    rows = np.array(sorted(rows), np.int64)
    return Evidence(rows, np.full(len(rows), len(photos) * share / len(rows)), len(photos) * left, off_map)


def naive_chain(photos, evidence):
    """The chain over every manner and every photo, or no photo (None): forward and smoothed, (T, N) each.

    It multiplies the whole table of moves, and knows no state for other photos.
    """
    count, kinds = len(photos), len(MANNERS)
    states = [(manner, at) for manner in range(kinds) for at in [*range(count), None]]
    apart = np.linalg.norm(photos.places[:, None] - photos.places[None], axis=2)

    def move(before, after):
        (manner, at), (next_manner, to) = before, after
        change = (1 - SWITCH) * (manner == next_manner) + SWITCH / kinds
        if at is None:
            return change * (1 - COMES_BACK if to is None else COMES_BACK / count)
        if to is None:
            return change * LEAVES
        reachable = apart[at] <= MANNERS[manner].reach * photos.place_m
        near = (1 - MANNERS[manner].jump) * reachable[to] / reachable.sum()
        return change * (1 - LEAVES) * (near + MANNERS[manner].jump / count)

    def fit(one, manner, at):
        if at is None:
            return one.fit_off_map
        silent = 0 if one is evidence[0] else MANNERS[manner].silent
        return (1 - silent) * dict(zip(one.rows.tolist(), one.fit.tolist())).get(at, one.fit_elsewhere) + silent

    moves = np.array([[move(one, other) for other in states] for one in states])
    fits = [np.array([fit(one, *state) for state in states]) for one in evidence]
    start = np.array([NOT_ON_MAP if at is None else (1 - NOT_ON_MAP) / count for _, at in states])
    forward, backward = [start * fits[0]], [np.ones(len(states))]
    for one in fits[1:]:
        forward.append((forward[-1] @ moves) * one)
    for one in fits[:0:-1]:
        backward.append(moves @ (one * backward[-1]))
    smoothed = [ahead * back for ahead, back in zip(forward, backward[::-1])]
    return [
        np.array([(one / one.sum()).reshape(kinds, -1).sum(0)[:-1] for one in side]) for side in (forward, smoothed)
    ]


def test_probabilities_are_those_of_a_chain_over_all_photos():
    rng = np.random.default_rng(0)
    photos = MapPlaces(rng.uniform(0, 300, (9, 3)), 25.0)
    fits = rng.uniform(0, 2, (5, 9))
    evidence = [Evidence(np.arange(9), one / one.mean(), 0.0, off) for one, off in zip(fits, rng.uniform(0, 2, 5))]
    evidence[2] = SILENCE  # its states are the photos of the other frames
    live = DriveFilter(photos)
    for track, expected in zip(
        ([live.add(one) for one in evidence], smooth(photos, evidence)), naive_chain(photos, evidence)
    ):
        np.testing.assert_allclose([at.mass_of(np.arange(9)) for at in track], expected, atol=1e-12)
        for at, mass in zip(track, expected):
            near = np.linalg.norm(photos.places - photos.places[at.best], axis=1) <= photos.place_m
            assert at.probability == pytest.approx(mass[near].sum()) and at.off_map == pytest.approx(1 - mass.sum())


def test_other_photos_are_one_state():
    """Two candidates a frame, in a map of many photos: about as in a chain over all of them."""
    photos = street(40)
    evidence = [naming(photos, at, (17 * at + 11) % 40) for at in range(10, 20)]
    for at, (track, mass) in enumerate(zip(smooth(photos, evidence), naive_chain(photos, evidence)[1]), 10):
        near = np.abs(np.arange(40) - track.best) <= 2
        assert abs(track.best - at) <= 1 and track.probability == pytest.approx(mass[near].sum(), abs=0.05)


@pytest.mark.parametrize(
    "route",
    [range(20, 50), range(50, 20, -1), [20] * 30, range(0, 200, 11)],
    ids=["forward", "backward", "standing still", "111 m apart"],
)
def test_a_frame_that_is_led_astray_is_where_its_drive_is(route):
    photos = street(step=10.1)
    evidence = [naming(photos, at, share=0.9) for at in route]
    middle = len(evidence) // 2
    evidence[middle] = naming(photos, 150, route[middle], share=0.9)
    evidence[middle + 1] = naming(photos, 155)  # its own place is not even a candidate
    for track in (smooth(photos, evidence), [*map(DriveFilter(photos).add, evidence)]):
        assert abs(track[middle].best - route[middle]) <= 1
    at = smooth(photos, evidence)
    assert all(abs(one.best - place) <= 2 for one, place in zip(at, route) if one is not at[middle + 1])
    if len(evidence) == 30:  # where the frames before and after are dense, so is the drive between them
        assert abs(at[middle + 1].best - route[middle + 1]) <= 2


def test_a_drive_jumps_and_leaves_the_map():
    photos = street()
    there = [naming(photos, at) for at in range(20, 40)]
    jumped = smooth(photos, [*there, *(naming(photos, at) for at in range(150, 170))])
    assert [abs(at.best - row) <= 1 for at, row in zip(jumped, [*range(20, 40), *range(150, 170)])] == [True] * 40
    rng = np.random.default_rng(0)
    strange = [naming(photos, *rng.choice(200, 40, replace=False), share=0.5, off_map=2.0) for _ in range(20)]
    left = smooth(photos, [*there, *strange])
    assert max(at.off_map for at in left[:18]) < 0.1 and min(at.off_map for at in left[24:]) > 0.8
    assert max(at.probability for at in left[24:]) < 0.2


def test_photos_in_no_order_are_located_one_by_one():
    photos = street()
    rows = np.random.default_rng(0).permutation(200)[:40]
    assert [at.best for at in smooth(photos, [naming(photos, row) for row in rows])] == rows.tolist()


def test_the_scale_of_positions_has_no_effect():
    tracks = []
    for step in (2.0, 10.0, 30.0):
        photos = street(step=step, place_m=2.5 * step)
        tracks.append(smooth(photos, [naming(photos, at, (7 * at) % 200) for at in range(30)]))
    for track in tracks[1:]:
        assert [at.best for at in track] == [at.best for at in tracks[0]]
        np.testing.assert_allclose([at.probability for at in track], [at.probability for at in tracks[0]], atol=1e-9)


def test_evidence_is_1_on_average_over_the_map():
    rng = np.random.default_rng(0)
    structural = -np.sort(-rng.normal(size=(3, 12)), axis=1)
    structural[1, 8:] = -np.inf
    rows = np.array([rng.permutation(300)[:12] for _ in range(3)])
    rows[1, 8:] = -1
    places = np.where(rows[..., None] >= 0, street(300).places[rows], np.nan)
    places[2] = places[2, 0]
    found = Candidates(rows, structural, structural, structural, places)
    unknown = np.array([structural[0, 0] - 1, structural[0, 0] + 1])
    several = read_evidence(found, 300, Curve(2.0, 0.0), unknown, np.array([-0.8, np.nan, 3.0]))
    for one, row, scores, known in zip(several[:2], rows, structural, (12, 8)):
        assert one.fit.sum() + (300 - known) * one.fit_elsewhere == pytest.approx(300)
        assert one.rows.tolist() == sorted(row[:known].tolist()) and len(one.best) == min(known, BEST)
        assert one.best[0] == row[0]
        ratio = one.at(row[:1])[0] / one.at(row[1:2])[0]
        assert ratio == pytest.approx(np.exp(2 * SHARPNESS * (scores[0] - scores[1]) / scores[:known].std()))
    assert several[0].fit_off_map == pytest.approx(0.7 * 0.5**-0.3) and several[2] is SILENCE
    assert several[0].fit_unknown == pytest.approx(UNKNOWN * np.exp(0.8) ** OFF_MAP) and several[1].fit_unknown == 1


def test_the_second_chain_tells_whether_a_drive_is_on_the_map():
    """It does not change where the frames are, and a single frame is as likely on the map as its evidence says."""
    photos = street()
    evidence = [replace(naming(photos, at), fit_unknown=30.0) for at in range(20, 30)]
    live = LiveDrive(photos)
    for both, track in (
        (smooth_both(photos, evidence), smooth(photos, evidence)),
        ([live.add(one) for one in evidence], [*map(DriveFilter(photos).add, evidence)]),
    ):
        assert [one.best for one in both] == [one.best for one in track]
        assert [one.probability for one in both] == [one.probability for one in track]
        assert max(one.second_on_map for one in both) < 0.5 < min(one.on_map for one in track)
    alone = smooth_both(photos, [replace(evidence[0], fit_unknown=4.0)])[0]
    assert alone.second_on_map == pytest.approx(1 / (1 + 4**TOGETHER))


def test_a_drive_that_moves_on_is_told_from_one_that_stays():
    photos = street()
    moving = smooth(photos, [naming(photos, at) for at in range(20, 50)])
    staying = smooth(photos, [naming(photos, 20 + at % 5) for at in range(30)])
    familiar = [0.1, 0.2, None] * 10
    assert all(one.is_familiar(1.0) for one in follow(photos, moving, familiar))
    for one in follow(photos, staying, familiar):
        assert one.familiarity == pytest.approx(0.15) and one.is_familiar(0.07) and not one.is_familiar(0.08)
    progress = Progress(photos)
    live = [progress.add(at, 0.0).is_familiar(0.1) for at in moving]
    assert live == [False] * 11 + [True] * 19  # from 4 places of 25 m on
    both = smooth(photos, [naming(photos, at) for at in [*range(20, 50), *range(150, 155)]])
    stretches = follow(photos, both, [0.0] * 35)
    assert [one.is_familiar(0.1) for one in stretches] == [True] * 30 + [False] * 5
    unknown = follow(photos, both, [None] * 35)[-1]
    assert unknown.familiarity is None and unknown.is_familiar(0.9)
