"""Progress of long work, in a log: it begins, goes on, and is never silent for long."""

import logging
import time

import pytest

from vpr.base import progress as module
from vpr.base.progress import log_heartbeat, progress


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "vpr")
    return lambda: [record.getMessage() for record in caplog.records]


def test_without_a_terminal_the_log_says_what_starts_and_how_far_it_is(lines, monkeypatch):
    monkeypatch.setattr(module, "BAR_S", 0.1)
    for _ in progress(range(4), title="describing", unit="batch"):
        time.sleep(0.06)
    first, *later = lines()
    assert first == "describing: 0 of 4 batches, 00:00"
    assert later and all(line.startswith("describing: ") for line in later)
    with progress(title="locating", unit="query") as bar:
        bar.update(3)
    assert lines()[-1] == "locating: 0 queries, 00:00", "quick work has one line"


def test_a_bar_without_a_title_prints_nothing(lines, capsys):
    assert list(progress([1, 2], title=None, unit="photo")) == [1, 2]
    assert lines() == [] and capsys.readouterr().err == ""


def test_a_silent_step_is_named_again_and_again(lines):
    log = logging.getLogger("vpr")
    with log_heartbeat(every_s=0.1):
        log.info("compiling")
        time.sleep(0.35)
        log.info("done")
    assert lines()[0] == "compiling" and lines()[-1] == "done"
    between = lines()[1:-1]
    assert between and all(line.endswith("after: compiling") for line in between)
    time.sleep(0.2)
    assert lines()[-1] == "done", "it ends with the work"


def test_work_that_reports_is_not_interrupted(lines):
    log = logging.getLogger("vpr")
    with log_heartbeat(every_s=1.0):
        for number in range(15):
            log.info("step %d", number)
            time.sleep(0.1)
    assert lines() == [f"step {number}" for number in range(15)]
