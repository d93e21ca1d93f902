"""Errors carry the problem, the thing and the remedy; `str` of them is one line."""

import pickle

import pytest

from vpr.base.errors import VprError
from vpr.positions.errors import MapError


def test_the_message_is_the_problem_and_the_remedy():
    error = MapError("a is damaged", thing="a", remedy="remove it; add the photos again")
    assert str(error) == "a is damaged; remove it; add the photos again"
    assert (error.what, error.thing, error.remedy) == ("a is damaged", "a", "remove it; add the photos again")
    assert str(MapError("a is damaged", thing="a")) == "a is damaged"


@pytest.mark.parametrize(
    ("message", "what", "remedy"),
    [
        ("a is damaged; remove it", "a is damaged", "remove it"),
        ("a (b; c) is damaged; remove it", "a (b; c) is damaged", "remove it"),
        ("a is damaged", "a is damaged", ""),
        ("", "", ""),
    ],
)
def test_a_whole_line_is_split_at_its_last_semicolon(message, what, remedy):
    error = VprError(message)
    assert (str(error), error.what, error.remedy, error.thing) == (message, what, remedy, "")


def test_the_fields_survive_another_process():
    error = pickle.loads(pickle.dumps(MapError("a; b", thing="a", remedy="c; d")))
    assert type(error) is MapError and str(error) == "a; b; c; d"
    assert (error.what, error.thing, error.remedy) == ("a; b", "a", "c; d")
