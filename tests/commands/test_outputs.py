"""No output of a command replaces an input, or a file that a run, a map or a dataset consists of."""

import dataclasses
import importlib
import pkgutil
import shutil
import typing
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import module_of, refused
from damage import snapshot
from photos import a_model, add, write_photos

import vpr
from vpr.base.errors import VprError
from vpr.base.outputs import TEXTS_WITH_PATHS, check_outputs
from vpr.base.settings import Names, option, output, positional
from vpr.eval.files.prediction_file import write_predictions

# Options of a path that commands read. Every other option of a path is an output.
READ = {
    "data", "run", "start", "teacher", "map", "photos", "shortlist", "gpx", "query", "database", "predictions", "file",
    "test_classes", "training",
    "queries", "truth", "validation", "images", "settings", "textures", "packages",
}  # fmt: skip
RUN, DATA, CPU = ["--run", "run"], ["--data", "tree"], ["--device", "cpu"]
SIDES = ["--database", "photos", "--queries", "photos"]
PAIR = ["photos/000.jpg", "photos/001.jpg"]
COMMANDS = [
    ("eval.msls", [*RUN, *DATA, *CPU], ["--json", "--report", "--confidence", "--submission", "--cache", "--pairs"]),
    ("eval.msls", ["--predictions", "mine.csv", *DATA], ["--json", "--report", "--submission"]),
    ("eval.places", [*RUN, *SIDES, *CPU], ["--json", "--report", "--confidence", "--submission", "--cache", "--pairs"]),
    ("eval.retrieval", [*RUN, "--data", "set", *CPU], ["--json", "--report", "--cache"]),
    ("eval.compare", ["run", "other=mine.csv", *DATA, *CPU], ["--json", "--report", "--submission"]),
    ("vpr.extract", [*RUN, *DATA, *CPU], ["--cache"]),
    ("vpr.match", [*PAIR, *RUN, *CPU], ["--json", "--out"]),
    ("vpr.map", ["map", "check", "photos", *CPU], ["--json", "--report"]),
    ("vpr.map", ["map", "pairs"], ["--out"]),
    ("vpr.locate", ["map", "photos", *CPU], ["--json", "--geojson", "--csv", "--report"]),
    ("datasets.mini_msls", ["--out", "new"], ["--contact-sheet"]),
]
PRECIOUS = [
    "run/config.json", "run/metrics.json", "run/model.safetensors", "run/log.txt", "run/teacher/model.safetensors",
    "map/map.json", "map/descriptors.h5", "map/globals-1.npy", "map/photos-1.csv", "notes.bin",
]  # fmt: skip
OF_DATA = ["tree/train_val/cph/query/raw.csv", "tree/train_val/cph/query/images/new.csv", "tree/test/x.json"]
CASES = [(*case, target) for *case, targets in [(*one, PRECIOUS) for one in COMMANDS] for target in targets]
CASES += [(*one, target) for one in COMMANDS if "tree" in one[1] for target in OF_DATA]


@pytest.fixture(scope="module")
def house(tmp_path_factory, tiny_tree, distilled_run):
    """A folder with a run, a map, a dataset, photos and a prediction file."""
    house = tmp_path_factory.mktemp("house")
    shutil.copytree(distilled_run, house / "run")
    shutil.copytree(tiny_tree, house / "tree")
    write_photos(house / "photos", range(3))
    add(house / "map", a_model(), house / "photos")
    (house / "mine.csv").write_text("a b\n")
    for name in ("notes.bin", "notes.png"):
        (house / name).write_bytes(b"\x80\x04notes")
    np.save(house / "other.npy", np.zeros((2, 2)))
    (house / "other.txt").write_text("a.jpg\nb.jpg\n")
    (house / "vme").mkdir()
    (house / "vme/queries_images_paths.txt").write_text("a.jpg\n")
    return house


@pytest.mark.parametrize(("command", "given", "options", "target"), CASES)
def test_what_is_precious_is_not_replaced(house, monkeypatch, capsys, command, given, options, target):
    monkeypatch.chdir(house)
    before = snapshot(house)
    for name in options:
        line = refused(capsys, module_of(command).main, *given, name, target)
        assert name in line and target.partition(".")[0] in line and "name another" in line, line
    assert snapshot(house) == before


@pytest.mark.parametrize(
    ("command", "given", "words"),
    [
        ("eval.msls", [*RUN, *DATA, "--json", "new.x", "--report", "./new.x"], "are the same path"),
        ("eval.msls", [*RUN, *DATA, "--predictions", "mine.csv", "--submission", "mine.csv"], "mine.csv is an input"),
        ("eval.msls", [*RUN, *DATA, "--shortlist", "mine.csv", "--confidence", "mine.csv"], "mine.csv is an input"),
        ("eval.msls", [*RUN, *DATA, "--shortlist", "other.npy", "--confidence", "other.txt"], "belongs to other.npy"),
        (
            "eval.msls",
            [*RUN, *DATA, "--shortlist", "vme", "--confidence", "vme/queries_images_paths.txt"],
            "belongs to vme",
        ),
        ("eval.places", [*RUN, *SIDES, "--descriptors", "photos"], "belongs to photos"),
        ("datasets.mini_msls", ["--textures", "photos", "--out", "photos"], "--out photos is an input"),
        ("datasets.textures", ["--packages", "photos", "--out", "photos"], "--out photos is an input"),
        ("datasets.photo_views", ["--photos", "photos", "--out", "photos"], "--out photos is an input"),
        ("eval.compare", ["--settings", "options.yaml", "--json", "options.yaml"], "options.yaml is an input"),
        ("vpr.scratch", ["--validation", "tree", "--out", "tree"], "--out tree is an input"),
        ("eval.msls", [*RUN, *DATA, "--json", "link.json"], "link.json belongs to the run in"),
        ("eval.compare", ["run", "a=mine.csv", *DATA, "--submission", "mine.csv"], "mine.csv is an input"),
        ("eval.compare", ["run", *DATA, "--curves", "c.pdf", "--report", "c.png"], "are the same path"),
        ("eval.compare", ["run", *DATA, "--curves", "notes"], "--curves notes.png exists and is no figure"),
        ("eval.compare", ["run", *DATA, "--curves", "notes.PDF"], "--curves notes.png exists and is no figure"),
        ("eval.compare", ["run", "a=b=mine.csv", *DATA, "--submission", "b=mine.csv"], "b=mine.csv is an input"),
        ("vpr.distill", ["--teacher", "run/teacher", "--out", "run", "--overwrite"], "run/teacher lies in --out run,"),
        ("vpr.scratch", ["--config", "run/log.txt", "--out", "run", "--overwrite"], "lies in --out run"),
        ("vpr.match", [*PAIR, "--out", PAIR[1]], "001.jpg is an input"),
        ("vpr.match", [*PAIR, "--out", "photos/../photos/000.jpg"], "000.jpg is an input"),
        ("vpr.locate", ["map", "photos", "--csv", PAIR[0]], "exists and is no CSV file"),
        ("vpr.locate", ["map", "photos", "--csv", "photos"], "photos is an input"),
        ("vpr.distill", ["--teacher", "run", "--out", "run"], "--out run is an input"),
        ("vpr.scratch", ["--start", "run@64x4", "--out", "run", "--overwrite"], "--out run is an input"),
        ("eval.compare", ["a=run@64", *DATA, "--json", "run/other.json", "--submission", "run"], "run is an input"),
        ("eval.patches", ["--run", "run@64x4", "--out", "run"], "--out run is an input"),
        ("vpr.scratch", ["--data", "tree", "--out", "tree"], "--out tree is an input"),
        ("vpr.scratch", ["--config", "options.yaml", "--out", "options.yaml"], "--out options.yaml is an input"),
        ("eval.msls", [*RUN, *DATA, "--json", "map"], "--json map is a folder"),
        ("eval.msls", [*RUN, *DATA, "--json", "/proc/x/a.json"], "cannot be written; check its folder"),
    ],
)
def test_an_input_or_another_output_is_not_replaced(house, monkeypatch, capsys, command, given, words):
    monkeypatch.chdir(house)
    (house / "link.json").unlink(missing_ok=True)
    (house / "link.json").symlink_to("run/metrics.json")
    (house / "options.yaml").write_text("steps: 1\n")
    (house / "b=mine.csv").write_text("a b\n")
    (house / "run/log.txt").write_text("steps: 1\n")
    before = snapshot(house)
    line = refused(capsys, module_of(command).main, *given)
    assert words in line and "name " in line, line
    assert snapshot(house) == before


@dataclasses.dataclass(frozen=True)
class Stage:
    """Options."""

    photos: tuple[Path, ...] = positional("read", "PHOTO")
    json: Path | None = output(None, "written", "json")
    csv: Path | None = output(None, "written", "csv")
    page: Path | None = output(None, "written", "html")
    zip: Path | None = output(None, "written", "predictions")
    figure: Path | None = output(None, "written", "figure")
    cache: Path | None = output(None, "written", "cache")


@pytest.mark.parametrize(
    ("field", "name", "content"),
    [
        ("json", "a.json", b'{"a": 1}'), ("json", "b.json", b"\n[]"), ("json", "empty.json", b""),
        ("csv", "a.csv", "\ufeffphoto,é\n".encode()), ("page", "a.html", b"<!doctype html>"),
        ("zip", "a.csv", b"a b\n"), ("zip", "b.csv", "# head\n\nk1,k2 é,k3 k4".encode()),
        ("figure", "a.png", b"\x89PNG\r\n\x1a\n"), ("figure", "a.pdf", b"%PDF-1.4"),
        ("figure", "a.svg", b"<?xml"), ("cache", "a.h5", b"\x89HDF\r\n\x1a\n"),
    ],
)  # fmt: skip
def test_an_earlier_output_is_replaced(tmp_path, field, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    check_outputs([Stage((tmp_path / "photos",), **{field: path})])
    others = [other for other in ("json", "page", "cache") if other != field] if content else []
    for other in others:
        with pytest.raises(VprError, match="exists and is no"):
            check_outputs([Stage((), **{other: path})])


@pytest.mark.parametrize(
    "content",
    [
        b"photo,latitude,longitude\na.jpg,55.1,12.2\n", b"photo, latitude, longitude\n", b"photo\tlatitude\n",
        b"# only a header\n", b'{"a": 1}', b"\x80 \x81",
    ],
)  # fmt: skip
def test_a_table_is_not_replaced_by_predictions(tmp_path, content):
    path = tmp_path / "positions.csv"
    path.write_bytes(content)
    with pytest.raises(VprError, match=r"positions\.csv exists and is no prediction file, .*; name another path"):
        check_outputs([Stage((), zip=path)])


def test_predictions_replace_earlier_ones_but_no_other_archive(tmp_path):
    earlier, other = tmp_path / f"{'a' * 200}.zip", tmp_path / "b.zip"
    write_predictions(earlier, ["a"], [["b", "c"]])
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("photos/a.csv", "a b\n")
    check_outputs([Stage((), zip=earlier)])
    with pytest.raises(VprError, match="exists and is no prediction file"):
        check_outputs([Stage((), zip=other)])


def test_results_may_lie_in_a_run_and_beside_photos(tmp_path):
    for name in ("run/config.json", "photos/a.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("{}")
    stage = Stage((tmp_path / "photos",), tmp_path / "run/results.json", tmp_path / "photos/places.csv")
    check_outputs([dataclasses.replace(stage, cache=tmp_path / "run/cache/a.h5", page=tmp_path / "new/a.html")])
    assert not (tmp_path / "new").exists()


@dataclasses.dataclass(frozen=True)
class Texts:
    """Options."""

    cities: Names = option(Names(), "cities")
    shortlist: str = option("", "a file or a word")
    out: Path = output(Path("out"), "run folder", "folder")


def test_a_text_that_names_no_path_is_no_input(tmp_path, monkeypatch):
    """A city and a run folder may have one name, also when the folder exists."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tokyo").mkdir()
    check_outputs([Texts(Names(["tokyo"]), out=Path("tokyo"))])
    with pytest.raises(VprError, match="tokyo is an input"):
        check_outputs([Texts(shortlist="tokyo", out=Path("tokyo"))])


def test_other_programs_config_json_marks_no_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model": "bert"}')
    check_outputs([Stage((), tmp_path / "metrics.json")])
    for content in ('{"run": {}}', "{"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(VprError, match="belongs to the run in"):
            check_outputs([Stage((), tmp_path / "metrics.json")])


def test_several_outputs_may_be_thrown_away():
    null = Path("/dev/null")
    check_outputs([Stage((), null, null)])


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_curves_need_a_name(path):
    @dataclasses.dataclass(frozen=True)
    class Curves:
        """Options."""

        curves: Path = output(Path(path), "written", "curves")

    with pytest.raises(VprError, match="is a folder; name a file for the curves"):
        check_outputs([Curves()])


def options_of_commands():
    """The fields of all dataclasses that are options, with their types."""
    for module in pkgutil.walk_packages(vpr.__path__, "vpr."):
        if "cuda" in module.name:
            continue
        for stage in vars(importlib.import_module(module.name)).values():
            if isinstance(stage, type) and dataclasses.is_dataclass(stage):
                fields = [field for field in dataclasses.fields(stage) if "help" in field.metadata]
                hints = typing.get_type_hints(stage) if fields else {}
                yield from ((field, hints[field.name]) for field in fields)


def test_every_option_of_text_that_may_name_a_path_is_known():
    words = ("run folder", ".safetensors", ".jpg", ".csv")
    texts = {
        field.name
        for field, hint in options_of_commands()
        if (hint in (str, Names) or "tuple[str" in str(hint)) and any(word in field.metadata["help"] for word in words)
    }
    assert texts <= {*TEXTS_WITH_PATHS} and len(texts) >= 4


def test_every_option_of_a_path_is_known_to_be_read_or_written():
    paths = [field for field, hint in options_of_commands() if "Path" in str(hint)]
    read = {field.name for field in paths if "output" not in field.metadata}
    written = {field.name for field in paths} - read
    assert read == READ and {"json", "cache", "out", "report", "submission"} <= written
