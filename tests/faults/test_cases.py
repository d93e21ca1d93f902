"""Commands that meet a fault: one line names the thing and the remedy, and nothing is lost."""

import pytest
from damage import fault_of, snapshot
from fault_tables import QUERY, REFUSED, SAID, TRAIN, UTM

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("command", "options", "damage", "words"), REFUSED)
def test_it_is_one_line_that_names_thing_and_remedy(warm, case, command, options, damage, words):
    damage(case)
    before = snapshot(case)
    done = warm(command, options, cwd=case, seconds=30)
    assert not fault_of(done), fault_of(done)
    assert words in done.complaint, done.complaint
    assert snapshot(case) == before


@pytest.mark.parametrize(("command", "options", "damage", "words"), SAID)
def test_it_is_said_and_the_work_goes_on(warm, case, command, options, damage, words):
    damage(case)
    done = warm(command, options, cwd=case)
    assert done.code == 0 and words in done.err, done.err


@pytest.mark.parametrize(
    ("command", "options", "limit"),
    [
        ("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "new.h5"], 20_000),
        ("vpr.scratch", TRAIN, 20_000),
        (
            "vpr.teacher",
            ["--data", "tree", "--out", "new", "--recipe", "mini", "--steps", "1", "--clusters", "4", "--dim", "16"],
            20_000,
        ),
        ("vpr.map", UTM, 9_000),
        ("datasets.mini_msls", ["--out", "new"], 900),
    ],
)
def test_a_full_disk_is_named_and_room_lets_the_work_go_on(warm, case, command, options, limit):
    before = snapshot(case)
    done = warm(command, options, cwd=case, limit_bytes=limit)
    assert not fault_of(done), done.err
    assert "no space is left for " in done.complaint and "new" in done.complaint
    after = snapshot(case)
    assert {name: after[name] for name in before} == before
    if command != "datasets.mini_msls":  # a minute
        assert warm(command, options, cwd=case).code == 0
        assert not list(case.rglob("*.tmp"))


def test_a_missing_photo_is_found_before_a_cache_is_replaced(warm, case):
    next((case / QUERY / "images").iterdir()).unlink()
    before = (case / "a.h5").read_bytes()
    done = warm("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "a.h5", "--overwrite"], cwd=case)
    assert "is missing" in done.complaint and (case / "a.h5").read_bytes() == before


def test_several_processes_of_torchrun_are_refused_where_one_writes(warm, case):
    env = {"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}
    done = warm("eval.msls", ["--run", "run", "--data", "tree", "--json", "new/a.json"], cwd=case, env=env)
    assert "torchrun started 2 processes" in done.complaint and not (case / "new").exists()
    done = warm("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "new/a.h5"], cwd=case, env=env)
    assert "WORLD_SIZE is 2, but RANK is not set" in done.complaint and not (case / "new").exists()
