"""Faults that were found, one a line: what is damaged, which command meets it, and the words that name it."""

import numpy as np
import pytest
from damage import (
    cut,
    edit_json,
    edit_row,
    external_cache,
    fault_of,
    fill_cache,
    rename_key,
    repeated,
    scramble,
    snapshot,
    to_folder,
    to_pipe,
    zip_of,
)
from tiny import SMALL

EVALUATE = ["--run", "run", "--data", "tree", "--cache", "a.h5", "--rerank", "--device", "cpu"]
TEACHER = ["--data", "tree", "--run", "run", "--shortlist", "teacher", "--device", "cpu"]
SCORE = ["--data", "tree", "--predictions", "z.zip"]
TRAIN = ["--data", "tree", "--out", "new", *SMALL]
QUERY = "tree/train_val/cph/query"


def nothing(case):
    """No damage: the options are the fault."""


REFUSED = [
    # command, options, damage, words
    ("eval.msls", EVALUATE, lambda c: cut(c / "run/config.json", 0.5), "config.json is damaged"),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/config.json", "run.model.dim", -1), "-1 is out of range"),
    (
        "eval.msls",
        EVALUATE,
        lambda c: edit_json(c / "run/config.json", "run.model.grid", True),
        "grid: True is no",
    ),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/config.json", "run.model.backbone", None), "config.json"),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/config.json", "run.model.colour", 1), "colour is no setting"),
    ("eval.msls", TEACHER, lambda c: edit_json(c / "run/teacher/config.json", "run.teacher.dim", 0), "out of range"),
    ("eval.msls", TEACHER, lambda c: cut(c / "run/teacher/model.safetensors", 0.5), "not a readable weights file"),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/metrics.json", "calibration.weight", np.nan), "holds NaN"),
    (
        "eval.msls",
        EVALUATE,
        lambda c: edit_json(c / "run/metrics.json", "calibration.weight", None),
        "calibration is dam",
    ),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/metrics.json", "calibration.mass", 2), "2 is out of range"),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/metrics.json", "calibration", []), "calibration is damaged"),
    ("eval.msls", EVALUATE, lambda c: edit_json(c / "run/metrics.json", "calibration.confidence", 1), "is damaged"),
    ("eval.msls", EVALUATE, lambda c: (c / "run/metrics.json").write_text("[" * 10000), "metrics.json is damaged"),
    ("eval.msls", EVALUATE, lambda c: fill_cache(c / "a.h5", "global", np.nan), "descriptors that are no numbers"),
    ("eval.msls", EVALUATE, lambda c: fill_cache(c / "a.h5", "patches", np.nan), "descriptors that are no numbers"),
    ("eval.msls", EVALUATE, lambda c: to_pipe(c / "a.h5"), "a.h5 is no file"),
    ("eval.msls", EVALUATE, lambda c: to_folder(c / "a.h5"), "a.h5 is no file"),
    ("eval.msls", EVALUATE, lambda c: scramble(c / "a.h5"), "a.h5 is damaged"),
    ("eval.msls", EVALUATE, lambda c: external_cache(c / "a.h5"), "in other files, which are not opened"),
    ("eval.msls", EVALUATE, lambda c: rename_key(c / QUERY, "../../x"), "key '../../x' is no name of an image"),
    ("eval.msls", EVALUATE, lambda c: rename_key(c / QUERY, "a b"), "key 'a b' is no name of an image"),
    ("eval.msls", EVALUATE, lambda c: rename_key(c / QUERY, "#a"), "key '#a' is no name of an image"),
    (
        "eval.msls",
        EVALUATE,
        lambda c: edit_row(c / QUERY / "postprocessed.csv", "easting", "1e200"),
        "no coordinate|in metres",
    ),
    ("eval.msls", SCORE, lambda c: zip_of(c / "p.csv", c / "z.zip", "encrypted"), "z.zip: cannot be read"),
    ("eval.msls", SCORE, lambda c: zip_of(c / "p.csv", c / "z.zip", "method"), "z.zip: cannot be read"),
    ("eval.msls", SCORE, lambda c: zip_of(c / "p.csv", c / "z.zip", "stream"), "z.zip: cannot be read"),
    ("eval.msls", SCORE, lambda c: zip_of(c / "p.csv", c / "z.zip", "bomb"), "more than 512 MiB"),
    ("eval.msls", [*EVALUATE, "--radius", "0.001"], nothing, "no query has a positive"),
    (
        "eval.msls",
        [*EVALUATE, "--prune", "5", "--fusion", "reciprocal-rank"],
        nothing,
        "not exact for ranks that are fused",
    ),
    ("eval.msls", [*EVALUATE, "--prune", "5", "--shortlist", "p.csv"], nothing, "not exact for ranks that are fused"),
    (
        "eval.msls",
        [*EVALUATE, "--prune", "5", "--task", "seq2seq", "--seq-length", "3"],
        nothing,
        "not exact for sequences",
    ),
    ("eval.msls", ["--run", "r\x1b[31m" + "x" * 1000, "--data", "tree"], nothing, r"r\\x1b"),
    ("eval.submission", ["z.zip", "--data", "tree", "--split", "val", "--x"], nothing, "unrecognized arguments"),
    ("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "/proc/x/a.h5"], nothing, "/proc/x"),
    ("vpr.scratch", [*TRAIN, "--grid", "30"], nothing, "finer than the 7 x 7 features"),
    ("vpr.scratch", [*TRAIN, "--places", "1"], nothing, "1 is out of range, give a value >= 2"),
    ("vpr.scratch", [*TRAIN, "--images-per-place", "1"], nothing, "1 is out of range, give a value >= 2"),
    ("vpr.scratch", [*TRAIN, "--out", "p.csv"], nothing, "p.csv: file exists"),
    ("vpr.scratch", [*TRAIN, "--backbone", "vit_smal_patch16_224"], nothing, "near it: vit_small_patch16_224"),
    ("vpr.teacher", ["--data", "tree", "--out", "/dev/null/x", "--steps", "1"], nothing, "/dev/null"),
]


@pytest.mark.parametrize(("command", "options", "damage", "words"), REFUSED)
def test_it_is_one_line_that_names_thing_and_remedy(warm, case, command, options, damage, words):
    damage(case)
    before = snapshot(case)
    done = warm(command, options, cwd=case, seconds=30)
    assert not fault_of(done), fault_of(done)
    assert any(word in done.complaint for word in words.replace("\\\\", "\\").split("|")), done.complaint
    assert snapshot(case) == before


SAID = [
    ("eval.msls", [*EVALUATE, "--mass", "0.5"], nothing, "was fixed under mass"),
    (
        "eval.msls",
        [*EVALUATE, "--shortlist", "s.csv"],
        lambda c: repeated(c / "p.csv", c / "s.csv"),
        "repeated in its row",
    ),
    ("eval.msls", EVALUATE, lambda c: to_folder(c / "run/log.txt"), "no log in run"),
    ("eval.msls", EVALUATE, lambda c: cut(c / "a.h5", 0.9), "was cut short"),
    (
        "vpr.distill",
        ["--data", "tree", "--teacher", "teacher", "--out", "run", "--grid", "3", *SMALL],
        lambda c: edit_json(c / "run/config.json", "code", "older"),
        "pass --overwrite for a run of this code",
    ),
]


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


def test_several_processes_of_torchrun_are_refused(warm, case):
    done = warm("vpr.scratch", TRAIN, cwd=case, env={"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"})
    assert "torchrun started 2 processes" in done.complaint and not (case / "new").exists()
