"""Faults that were found, one a line: what is damaged, which command meets it, and the words that name it."""

import shutil

import numpy as np
from damage import (
    cut,
    edit_json,
    edit_row,
    external_cache,
    fill_cache,
    rename_key,
    repeated,
    scramble,
    to_folder,
    to_pipe,
    zip_of,
)
from tiny import LABELS, SMALL

USUAL = ["--data", "tree", "--device", "cpu"]
EVALUATE = ["--run", "run", "--cache", "a.h5", "--rerank", *USUAL]
TEACHER = ["--run", "run", "--shortlist", "teacher", *USUAL]
SCORE = ["--data", "tree", "--predictions", "z.zip"]
TRAIN = ["--data", "tree", "--out", "new", *SMALL]
DISTILL = ["--data", "tree", "--teacher", "teacher", "--out", "run", "--grid", "3", *SMALL]
LABELLED = ["--run", "run", "--data", "set", "--device", "cpu"]
LEARN = ["--data", "set", "--out", "new", *LABELS]
UNROLLED = ["--run", "builtin", "--rerank", *USUAL]
METRIC = ["--structural-in", "metric"]
PRUNE = [*EVALUATE, "--prune", "5"]
MATCH = ["A.jpg", "B.jpg", "--run", "run", "--device", "cpu"]
PATCHES = ["--run", "run", *USUAL, "--images", "2", "--out", "new"]
PAIR = [*PATCHES, "--pair", "A.jpg,B.jpg"]
PLAIN = ["--model", "vit_mini_patch16_112", *PATCHES[2:]]  # no run
QUERY = "tree/train_val/cph/query"
PLACES = "tree/train_val/cph/database/postprocessed.csv"
ADD = ["new", "add", PLACES, "--run", "run", "--device", "cpu"]
UTM = [*ADD, "--crs", "EPSG:32631"]
LOCATE = ["map", QUERY, "--run", "run", "--device", "cpu"]
EXTRACT = ["--run", "run", "--data", "tree", "--cache", "new.h5", "--device", "cpu"]
FUSED = "not exact for ranks that are fused"


def nothing(case):
    """No damage: the options are the fault."""


def config(setting, value):
    """A recorded setting of the run's model."""
    return lambda case: edit_json(case / "run/config.json", f"run.model.{setting}", value)


def metrics(setting, value):
    """A part of the run's metrics."""
    return lambda case: edit_json(case / "run/metrics.json", setting, value)


def cached(name, value):
    """A row of the cache."""
    return lambda case: fill_cache(case / "a.h5", name, value)


def key(name):
    """The key of a query."""
    return lambda case: rename_key(case / QUERY, name)


def easting(value):
    """A coordinate of a query."""
    return lambda case: edit_row(case / QUERY / "postprocessed.csv", "easting", value)


def zipped(kind):
    """A zip of predictions."""
    return lambda case: zip_of(case / "p.csv", case / "z.zip", kind)


def on(name, damage, *more):
    """A damage done to one file."""
    return lambda case: damage(case / name, *more)


def photos(damage=nothing, *more):
    """Two photos, A.jpg and B.jpg, the second of which is damaged."""

    def made(case):
        for name, photo in zip(("A.jpg", "B.jpg"), sorted((case / QUERY / "images").iterdir())):
            shutil.copy(photo, case / name)
        if damage is not nothing:
            damage(case / "B.jpg", *more)

    return made


# fmt: off
REFUSED = [
    # command, options, damage, words
    ("eval.msls", EVALUATE, on("run/config.json", cut, 0.5), "config.json is damaged"),
    ("eval.msls", EVALUATE, config("dim", -1), "-1 is out of range"),
    ("eval.msls", EVALUATE, config("grid", True), "grid: True is no INT"),
    ("eval.msls", EVALUATE, config("grid", 3.0), "grid: 3.0 is no INT"),
    ("eval.msls", EVALUATE, config("backbone", None), "backbone: None is no TEXT"),
    ("eval.msls", EVALUATE, config("crop", "middle"), "'middle' is none of resize, centre"),
    ("eval.msls", EVALUATE, config("colour", 1), "colour is no setting"),
    ("eval.msls", TEACHER, lambda c: edit_json(c / "run/teacher/config.json", "run.teacher.dim", 0), "out of range"),
    ("eval.msls", TEACHER, on("run/teacher/model.safetensors", cut, 0.5), "not a readable weights file"),
    ("eval.msls", EVALUATE, metrics("calibration.weight", np.nan), "holds NaN"),
    ("eval.msls", EVALUATE, metrics("calibration.weight", None), "calibration is damaged"),
    ("eval.msls", EVALUATE, metrics("calibration.mass", 2), "2 is out of range"),
    ("eval.msls", EVALUATE, metrics("calibration", []), "calibration is damaged"),
    ("eval.msls", EVALUATE, metrics("calibration.confidence", 1), "calibration is damaged"),
    ("eval.msls", EVALUATE, lambda c: (c / "run/metrics.json").write_text("[" * 10000), "metrics.json is damaged"),
    ("eval.msls", EVALUATE, cached("global", np.nan), "descriptors that are no numbers"),
    ("eval.msls", EVALUATE, cached("patches", np.nan), "descriptors that are no numbers"),
    ("eval.msls", EVALUATE, on("a.h5", to_pipe), "a.h5 is no file"),
    ("eval.msls", EVALUATE, on("a.h5", to_folder), "a.h5 is no file"),
    ("eval.msls", EVALUATE, on("a.h5", scramble), "a.h5 is damaged"),
    ("eval.msls", EVALUATE, on("a.h5", external_cache), "in other files, which are not opened"),
    ("eval.msls", EVALUATE, key("../../x"), "key '../../x' is no name of an image"),
    ("eval.msls", EVALUATE, key("a b"), "key 'a b' is no name of an image"),
    ("eval.msls", EVALUATE, key("#a"), "key '#a' is no name of an image"),
    ("eval.msls", EVALUATE, easting("1e200"), "easting '1e200' is not a coordinate in metres"),
    ("eval.msls", SCORE, zipped("encrypted"), "z.zip: cannot be read"),
    ("eval.msls", SCORE, zipped("method"), "z.zip: cannot be read"),
    ("eval.msls", SCORE, zipped("stream"), "z.zip: cannot be read"),
    ("eval.msls", SCORE, zipped("bomb"), "more than 512 MiB"),
    ("eval.msls", [*EVALUATE, "--radius", "0.001"], nothing, "no query has a positive"),
    ("eval.msls", [*EVALUATE, "--marginals", "rollout"], nothing, "has no weights of patches, which rollout marginals"),
    ("eval.msls", [*EVALUATE, "--marginals", "rolled"], nothing, "is none of uniform, relevancy"),
    ("eval.msls", [*UNROLLED, "--marginals", "rollout"], nothing, "lite0 has no attention rollout"),
    ("vpr.extract", ["--run", "builtin", "--data", "tree", "--cache", "b.h5", "--rollout"], nothing, "has no attent"),
    ("eval.msls", [*PRUNE, "--fusion", "reciprocal-rank"], nothing, FUSED),
    ("eval.msls", [*PRUNE, "--shortlist", "p.csv"], nothing, FUSED),
    ("eval.msls", [*PRUNE, "--task", "seq2seq", "--seq-length", "3"], nothing, "not exact for sequences"),
    ("eval.msls", ["--run", "r\x1b[31m" + "x" * 1000, "--data", "tree"], nothing, r"r\x1b"),
    ("eval.msls", [*EVALUATE, "--report", "tree"], nothing, "tree: is a directory"),
    ("eval.msls", [*EVALUATE, "--report", "p.csv/a.html"], nothing, "p.csv"),
    ("eval.msls", [*EVALUATE, "--report", "a.html", "--report-queries", "0"], nothing, "0 is out of range"),
    ("eval.compare", ["run", "--curves", "tree/none/a", "--task", "all", *USUAL], nothing, "are of one protocol"),
    ("eval.compare", ["x=p.csv", "x=run", *USUAL], nothing, "x names a file and something else"),
    ("eval.compare", ["none.csv", *USUAL], nothing, "none.csv: no such file of predictions"),
    ("eval.compare", ["none", *USUAL], nothing, "none"),
    ("eval.compare", ["run", "--format", "word", *USUAL], nothing, "word"),
    ("eval.compare", ["p.csv", *USUAL], on("p.csv", cut, 0.001), "p.csv"),
    ("eval.submission", ["z.zip", "--x"], nothing, "unrecognized arguments"),
    ("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "/proc/x/a.h5"], nothing, "/proc/x"),
    ("eval.retrieval", [*LABELLED, "--layout", "cub"], nothing, "no folder set/images"),
    ("eval.retrieval", [*LABELLED, "--layout", "sop"], nothing, "no set/Ebay_train.txt"),
    ("eval.retrieval", [*LABELLED, "--test-classes", "p.csv"], nothing, "which is no class"),
    ("eval.retrieval", [*LABELLED, "--test-classes", "a.h5"], nothing, "is no text in UTF-8"),
    ("eval.retrieval", [*LABELLED, "--run", "teacher"], nothing, "not a structural model"),
    ("eval.partial", [*USUAL, "--run", "run", "--masses", "1,x"], nothing, "--masses: 'x' is no number"),
    ("eval.partial", [*USUAL, "--run", "run", "--masses", "0"], nothing, "0 is out of range"),
    ("eval.partial", [*USUAL, "--run", "run", "--masses", ""], nothing, "--masses: give at least one"),
    ("eval.partial", [*USUAL, "--run", "run", "--mass", "0.5"], nothing, "give the shares by --masses"),
    ("eval.partial", [*LABELLED, "--retrieval", "--split", "test"], nothing, "leave the options of the MSLS protocol"),
    ("vpr.match", MATCH, nothing, "no photo A.jpg; check the path"),
    ("vpr.match", MATCH, photos(to_folder), "no photo B.jpg; check the path"),
    ("vpr.match", MATCH, photos(to_pipe), "no photo B.jpg; check the path"),
    ("vpr.match", MATCH, photos(cut, 0.5), "B.jpg cannot be decoded (image file is truncated"),
    ("vpr.match", MATCH, photos(scramble), "B.jpg cannot be decoded (no image)"),
    ("vpr.match", [MATCH[0], *MATCH[2:]], photos(), "B.jpg must be given"),
    ("vpr.match", [*MATCH, "--run", "nowhere"], photos(), "nowhere"),
    ("vpr.match", [*MATCH, "--run", "teacher"], photos(), "not a structural model"),
    ("vpr.match", [*MATCH, "--mass", "0"], photos(), "--mass: 0 is out of range"),
    ("vpr.match", [*MATCH, "--out", "m.jpg"], photos(), "is written as .png, .pdf or .svg"),
    ("vpr.match", [*MATCH, "--out", "/proc/x/m.png"], photos(), "/proc/x"),
    ("vpr.match", [*MATCH, "--json", "A.jpg"], photos(), "names one of the photos"),
    ("vpr.match", [*MATCH, "--out", "m.png", "--json", "m.png"], photos(), "are the same file"),
    ("eval.patches", [*PATCHES, "--run", "nowhere"], nothing, "nowhere"),
    ("eval.patches", [*PATCHES, "--run", "teacher"], nothing, "not a structural model"),
    ("eval.patches", [*PATCHES, "--model", "resnet"], nothing, "near it: "),
    ("eval.patches", [*PLAIN, "--weights", "w.pth"], nothing, "no weights at w.pth"),
    ("eval.patches", [*PATCHES, "--photos", "tree"], nothing, "--photos and --data: give one"),
    ("eval.patches", ["--run", "run", "--photos", "nowhere", "--out", "new"], nothing, "nowhere holds no photos"),
    ("eval.patches", ["--run", "run", "--photos", "B.jpg", "--out", "new"], photos(cut, 0.5), "cannot be decoded"),
    ("eval.patches", PAIR, nothing, "no photo A.jpg; check the path"),
    ("eval.patches", PAIR, photos(scramble), "B.jpg cannot be decoded (no image)"),
    ("eval.patches", [*PATCHES, "--pair", "A.jpg"], photos(), "give two photos"),
    ("eval.patches", [*PLAIN, "--pair", "A.jpg,B.jpg"], photos(), "pass --run"),
    ("eval.patches", [*PAIR, "--patch", "3,0"], photos(), "rows and columns of run go from 0 to 2"),
    ("eval.patches", [*PAIR, "--patch", "1"], photos(), "is no ROW,COLUMN"),
    ("eval.patches", [*PATCHES, "--patch", "1,1"], nothing, "pass --pair A.jpg,B.jpg too"),
    ("eval.patches", [*PAIR, "--out", "/proc/x"], photos(), "/proc/x"),
    ("eval.patches", [*PAIR, "--out", "p.csv"], photos(), "p.csv"),
    ("vpr.map", ["map"], nothing, "{add,remove,info}"),
    ("vpr.map", ["map", "find"], nothing, "'find' is none of add, remove, info"),
    ("vpr.map", ["map", "info", "tree"], nothing, "info takes a map alone"),
    ("vpr.map", ["new", "info"], nothing, "no map at new"),
    ("vpr.map", ["new", "remove", "a.jpg"], nothing, "no map at new"),
    ("vpr.map", ["map", "remove"], nothing, "remove what?"),
    ("vpr.map", ["map", "remove", "a.jpg", "--device", "cpu"], nothing, "no photo of map lies at a.jpg"),
    ("vpr.map", ["new", "add", "nowhere", "--device", "cpu"], nothing, "no folder or file nowhere"),
    ("vpr.map", ["new", "add", "run", "--device", "cpu"], nothing, "run holds no photos"),
    ("vpr.map", ["new", "add", "tree", "--device", "cpu"], nothing, "photos has a position"),
    ("vpr.map", ["new", "add", "p.csv", "--device", "cpu"], nothing, "wanted: a file, key or name"),
    ("vpr.map", ["new", "add", "a.mp4"], nothing, "give both: add VIDEO.mp4 --gpx TRACK.gpx"),
    ("vpr.map", ["new", "add", "a.mp4", "--gpx", "p.csv", "--device", "cpu"], nothing, "p.csv is no GPX track"),
    ("vpr.map", ADD, nothing, "pass --crs EPSG:"),
    ("vpr.map", [*ADD, "--crs", "EPSG:0"], nothing, "unknown crs 'EPSG:0'"),
    ("vpr.map", UTM, on(PLACES, edit_row, "easting", "1e200"), "row 2: 1e200, "),
    ("vpr.map", UTM, on(PLACES, edit_row, "northing", "x"), "is no position on Earth"),
    ("vpr.map", UTM, on(PLACES, edit_row, "key", "../../x"), "lies outside of the list's folder"),
    ("vpr.map", UTM, on(PLACES, scramble), "is no CSV in UTF-8"),
    ("vpr.map", [*UTM, "--run", "nowhere"], nothing, "no run at nowhere"),
    ("vpr.map", ["tree", *UTM[1:]], nothing, "tree is not empty and no map"),
    ("vpr.map", ["a.h5", *UTM[1:]], nothing, "a.h5 is no folder"),
    ("vpr.map", ["map", *UTM[1:], "--run", "builtin"], nothing, "was made by another model"),
    ("vpr.map", ["map", *UTM[1:]], on("map/map.json", cut, 0.5), "map.json is damaged"),
    ("vpr.map", ["map", "info"], lambda c: edit_json(c / "map/map.json", "photos", -1), "map.json is damaged"),
    ("vpr.locate", ["map"], nothing, "PHOTO|FOLDER must be given"),
    ("vpr.locate", ["new", QUERY], nothing, "no map at new; make it with: python -m vpr.map new add"),
    ("vpr.locate", ["map", "nowhere"], nothing, "nowhere holds no photos"),
    ("vpr.locate", ["map", "B.jpg", *LOCATE[2:]], photos(cut, 0.5), "B.jpg cannot be decoded"),
    ("vpr.locate", [*LOCATE, "--run", "builtin"], nothing, "was made by another model"),
    ("vpr.locate", [*LOCATE, "--threshold", "-1"], nothing, "--threshold: -1 is out of range"),
    ("vpr.locate", [*LOCATE, "--json", "/proc/x/a.json"], nothing, "/proc/x"),
    ("vpr.locate", [*LOCATE, "--json", "a.x", "--csv", "a.x"], nothing, "are the same file"),
    ("vpr.locate", ["map", "B.jpg", *LOCATE[2:], "--csv", "B.jpg"], photos(), "names one of the photos"),
    ("vpr.locate", LOCATE, on("map/map.json", scramble), "map.json is damaged"),
    ("vpr.locate", LOCATE, on("map/map.json", to_folder), "no map at map"),
    ("vpr.locate", LOCATE, on("map/photos-1.csv", cut, 0.5), "photos-1.csv is damaged"),
    ("vpr.locate", LOCATE, on("map/globals-1.npy", scramble), "globals-1.npy is damaged"),
    ("vpr.locate", LOCATE, on("map/globals-1.npy", to_pipe), "globals-1.npy is damaged"),
    ("vpr.locate", LOCATE, on("map/descriptors.h5", cut, 0.5), "descriptors.h5 is missing, damaged"),
    ("vpr.locate", LOCATE, lambda c: fill_cache(c / "map/descriptors.h5", "patches", np.nan), "that are no numbers"),
    ("vpr.locate", [*LOCATE, "--shards", "2"], nothing, "pass --cluster local or HOST:PORT too"),
    ("vpr.locate", [*LOCATE, "--cluster", "nowhere"], nothing, "--cluster nowhere is no address"),
    ("vpr.locate", [*LOCATE, "--cluster", "127.0.0.1:1"], nothing, "no Ray answers there (connection refused)"),
    ("vpr.locate", [*LOCATE, "--cluster", "nowhere.invalid:1"], nothing, "no Ray answers there"),
    ("vpr.map", [*UTM, "--cluster", "ray://127.0.0.1:1"], nothing, "give HOST:PORT of the head of a cluster, or local"),
    ("vpr.map", ["map", "info", "--cluster", "local"], nothing, "info works on this machine alone"),
    ("vpr.extract", [*EXTRACT, "--cluster", "127.0.0.1:1"], nothing, "start it with: ray start --head"),
    ("eval.msls", [*EVALUATE, "--cluster", "127.0.0.1:1"], nothing, "no Ray answers there"),
    ("eval.msls", [*EVALUATE, "--cluster", "local", "--shards", "0"], nothing, "--shards: 0 is out of range"),
    ("eval.msls", [*SCORE[:3], "p.csv", "--cluster", "local"], nothing, "is scored on this machine alone"),
    ("vpr.retrieval", LEARN, on("set", shutil.rmtree), "no folder set; pass --data"),
    ("vpr.retrieval", [*LEARN, "--held-out", "0.9"], nothing, "leaves fewer than two"),
    ("vpr.retrieval", [*LEARN, *METRIC, "--memory", "9"], nothing, "--structural-in metric does not go with --memory"),
    ("vpr.retrieval", [*LEARN, *METRIC, "--miner", "angular"], nothing, "does not go with --miner angular"),
    ("vpr.retrieval", [*LEARN, "--structural-in", "loss"], nothing, "'loss' is none of own, metric"),
    ("vpr.retrieval", [*LEARN, "--out", "run"], nothing, "holds a run with other settings"),
    ("vpr.scratch", [*TRAIN, "--crop", "middle"], nothing, "--crop: 'middle' is none of resize, centre"),
    ("vpr.scratch", [*TRAIN, "--grid", "30"], nothing, "finer than the 7 x 7 features"),
    ("vpr.scratch", [*TRAIN, "--validate-every", "2", "--held-out", ""], nothing, "pass --held-out"),
    ("vpr.teacher", [*TRAIN[:4], "--patience", "2", "--dim", "16"], nothing, "--patience goes by validations"),
    ("vpr.scratch", [*TRAIN, "--schedule", "plateau"], nothing, "--schedule plateau goes by validations"),
    ("vpr.scratch", [*TRAIN, "--plateau-factor", "0"], nothing, "0 is out of range"),
    ("vpr.scratch", [*TRAIN, "--places", "1"], nothing, "1 is out of range, give a value >= 2"),
    ("vpr.scratch", [*TRAIN, "--images-per-place", "1"], nothing, "1 is out of range, give a value >= 2"),
    ("vpr.scratch", [*TRAIN, "--out", "p.csv"], nothing, "p.csv: file exists"),
    ("vpr.scratch", [*TRAIN, "--backbone", "vit_smal_patch16_224"], nothing, "near it: vit_small_patch16_224"),
    ("vpr.teacher", ["--data", "tree", "--out", "/dev/null/x", "--steps", "1", "--dim", "16"], nothing, "/dev/null"),
]

SAID = [
    ("eval.msls", [*EVALUATE, "--mass", "0.5"], nothing, "was fixed under mass"),
    ("eval.msls", [*EVALUATE, "--shortlist", "s.csv"], lambda c: repeated(c / "p.csv", c / "s.csv"), "repeated in its"),
    ("eval.msls", EVALUATE, on("run/log.txt", to_folder), "no log in run"),
    ("eval.msls", EVALUATE, on("a.h5", cut, 0.9), "was cut short"),
    ("eval.msls", EVALUATE, lambda c: (c / "run/metrics.json").write_text("{}"), "no city was held out"),
    ("vpr.distill", DISTILL, lambda c: edit_json(c / "run/config.json", "code", "older"), "by other training code"),
    ("vpr.map", UTM, on(PLACES, edit_row, "key", "x"), "1 photos of a list are not there and are left out: x"),
    ("vpr.map", ["map", *UTM[1:]], on("map/descriptors.h5", cut, 0.95), "was cut short"),
]
# fmt: on
