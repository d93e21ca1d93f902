"""The documentation holds: its paths exist, its links lead somewhere, its commands run."""

import configparser
import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import MODULES, evaluate, in_this_process, module_of
from photos import large_photo
from place_trees import make_guide_sets
from tiny import LABELS, SMALL, TEACHER, small_config
from tiny_packages import write_packages
from training_trees import make_cells, make_gsv, make_list, make_sides

import vpr.datasets.default_data
import vpr.datasets.street_world.config
from tools.photo_folder import write_side
from vpr.base.packages import DISTRIBUTION
from vpr.distill.settings import TEACHER_TRAIN

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TRAINING = {"vpr.distill": SMALL, "vpr.scratch": SMALL, "vpr.teacher": TEACHER}
TRAINING["vpr.retrieval"] = LABELS
TRAINING["vpr.serve"] = ["--port", "0"]
TRAINING["eval.table"] = ["--seeds", "1", "--training", "tiny.yaml"]
UNTESTED = {"vpr.locate": ["--threshold", "0", "--familiarity", "0"]}  # so that each photo gets a position
NEEDED = [
    "the Sinkhorn iteration, to read", "the Sinkhorn iteration, fast", "the 25 m rule", "the cache layout",
    "the format of prediction files and submissions", "the losses", "the miner", "the augmentation",
    "the student, its head", "the fusion", "the report",
]  # fmt: skip


def rows_of_where():
    """What and where, of the table "Where is ...?"."""
    text = (ROOT / "docs/architecture.md").read_text().split("## Where is ...?")[1].split("##")[0]
    return dict(line.strip("| ").split(" | ", 1) for line in text.splitlines() if line.startswith("| "))


def test_the_page_says_where_things_are_and_they_are_there():
    rows = rows_of_where()
    assert set(NEEDED) <= set(rows)
    for place in [*rows.values(), (ROOT / "docs/architecture.md").read_text()]:
        for path in re.findall(r"`((?:vpr|datasets|distill|eval|tests|benchmarks|tools)/[\w./]*)`", place):
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def commands_of(page):
    """Every ``python -m`` command of a page, words of its line, and where its output goes."""
    found = re.findall(r"(?:^ {4}|&& |`)(python -m [^`\n]*)", page.read_text(), re.MULTILINE)
    for line in found:
        for part in re.split(r" && ", re.sub(r"\s#.*", "", line)):
            words, _, output = part.partition(" > ")
            if not re.match(r"python -m ([\w.]+:|venv)", words):  # what a command printed, or Python's own
                yield shlex.split(words)[2:], output.strip()


@pytest.mark.slow
def test_the_readmes_commands_run(tiny_tree, tiny_set, distilled_run, tmp_path, monkeypatch, capsys):
    """On a tiny tree, in their order, training cut to a few steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vpr.datasets.default_data, "ensure_mini_msls", lambda **rest: tiny_tree)
    monkeypatch.setattr("vpr.datasets.labels.default_data.ensure_mini_retrieval", lambda **rest: tiny_set)
    Path("MSLS").symlink_to(tiny_tree)
    Path("docs").symlink_to(ROOT / "docs")
    for name, photo in zip(("A.jpg", "B.jpg"), sorted(tiny_tree.rglob("*.jpg"))):
        shutil.copy(photo, name)
    write_side(tiny_tree, "cph", "database", Path("PHOTOS"))
    write_side(tiny_tree, "cph", "query", Path("KNOWN"))
    Path("WALK").mkdir()
    for number, photo in enumerate(sorted(tiny_tree.rglob("*.jpg"))[:3]):
        shutil.copy(photo, f"WALK/{number}.jpg")
    small_config(Path("tiny.yaml"))
    monkeypatch.setattr("vpr.distill.settings.TEACHER_TRAIN", dataclasses.replace(TEACHER_TRAIN, steps=4))
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: None)  # it would go on without end
    evaluate(tiny_tree, distilled_run, tmp_path, "--submission", "FILE.csv")
    evaluate(tiny_tree, distilled_run, tmp_path, "--split", "test", "--submission", "FILE.zip")
    seen = set()
    for (module, *arguments), output in commands_of(ROOT / "README.md"):
        if arguments == ["RUN", "RUN"]:
            arguments = ["runs/scratch", "runs/distill"]
        if module == "eval.submission":
            arguments[0] = "FILE.zip"
        if module == "datasets.mini_msls":
            shutil.copytree(tiny_tree, "DIR")
            monkeypatch.setattr("vpr.datasets.mini_msls.ensure_mini_msls", lambda out, *rest, **more: out)
        if module == "datasets.textures":
            write_packages(Path("DEBS"))
        if module == "datasets.photo_views":
            large_photo(Path("PHOTOS/large.jpg"), 0)
        if module == "datasets.mini_retrieval":
            monkeypatch.setattr("vpr.datasets.mini_retrieval.ensure_mini_retrieval", lambda *rest: tiny_set)
        capsys.readouterr()
        extra = [] if "--config" in arguments and "--print-config" in arguments else TRAINING.get(module, [])
        start = {"start": in_this_process} if module == "eval.table" else {}
        assert module_of(module).main([*arguments, *extra], **start) == 0, (module, arguments)
        if output:
            Path(output).write_text(capsys.readouterr().out)
        seen.add(module)
    assert seen == set(MODULES)


@pytest.mark.slow
def test_the_guide_to_maps_without_positions_runs(tiny_tree, tmp_path, monkeypatch, capsys):
    """Every command in its order, on photos that stand for those of the page; each map answers in its own way."""
    monkeypatch.chdir(tmp_path)
    photos = sorted(tiny_tree.rglob("*.jpg"))[:44]
    assert len(photos) == 44
    folders = {"WALK": photos[:20], "SECOND": photos[24:27], "five": photos[:5]}
    folders |= {f"ROOMS/{name}": photos[at : at + 3] for at, name in ((0, "hall"), (3, "bath"), (6, "kitchen"))}
    folders |= {f"KNOWN/{name}": photos[at : at + 2] for at, name in ((30, "hall"), (32, "attic"))}
    for folder, files in folders.items():
        Path(folder).mkdir(parents=True)
        for number, photo in enumerate(files):
            shutil.copy(photo, f"{folder}/{number}.jpg")
    shutil.copy(photos[40], "photo.jpg")
    shutil.copy(photos[41], "room.jpg")
    for name, header, row in (
        ("walk.csv", "file,frame", "WALK/{0}.jpg,{1}"), ("shelves.csv", "file,place", "WALK/{0}.jpg,shelf {0}"),
        ("plan.csv", "file,x,y", "WALK/{0}.jpg,{1},3"), ("five.csv", "file,place", "five/{0}.jpg,room {0}"),
    ):  # fmt: skip
        Path(name).write_text("\n".join([header, *(row.format(number, 2 * number) for number in range(5))]))
    said = {}
    for (module, *arguments), _ in commands_of(ROOT / "docs/guides/maps_without_positions.md"):
        assert module_of(module).main([*arguments, "--device", "cpu", *UNTESTED.get(module, [])]) == 0, arguments
        output = capsys.readouterr()
        said[" ".join([module, *arguments[:2]])] = output.out + output.err
    assert len(said) == 14 and "frames 0 to 19" in said["vpr.map WALKED info"]
    assert re.search(r"photo.jpg: frame \d+, within", said["vpr.locate WALKED photo.jpg"])
    assert re.search(r"room.jpg: (hall|bath|kitchen)\b", said["vpr.locate HOME room.jpg"])
    assert "(the map has their place), 2 strangers" in said["vpr.map HOME check"]
    assert re.search(r"photo.jpg: x [\d.]+ m, y 3.00 m, within", said["vpr.locate HALL photo.jpg"])
    five = said["vpr.locate FIVE room.jpg"]
    assert "FIVE has fewer than 20 photos" in five and re.search(r"room.jpg: room \d\n", five)
    assert json.loads(Path("where.json").read_text())["kind"] == "names" and "<svg" in Path("where.html").read_text()


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_options_of_every_page_exist(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("long.yaml").write_text("steps: 3\n")
    for (module, *arguments), _ in commands_of(page):
        if module in MODULES and "..." not in arguments:
            missing = ["--cache", "a.h5"] if module == "vpr.extract" and "--cache" not in arguments else []
            places = {"eval.compare": ["RUN"], "eval.submission": ["FILE"], "vpr.match": ["A", "B"]}.get(module, [])
            given = places if not any(not word.startswith("-") for word in arguments[:1]) else []
            code = module_of(module).main([*given, *arguments, *missing, "--print-config"])
            assert code == 0, (module, arguments, capsys.readouterr().err)


def save_as_methods_evaluation(test: Path, folder: Path) -> None:
    """Made-up descriptors of a set, as VPR-methods-evaluation saves them: by sorted path, without lists."""
    folder.mkdir()
    for part in ("database", "queries"):
        count = len(list((test / part).iterdir()))
        np.save(folder / f"{part}_descriptors.npy", np.random.default_rng(count).normal(size=(count, 8)).astype("f4"))


@pytest.mark.slow
def test_the_commands_of_the_guides_to_own_data_and_to_tables_run(tiny_tree, tmp_path, monkeypatch, capsys):
    """On small sets of each layout; the first one prints what the page says."""
    monkeypatch.chdir(tmp_path)
    make_guide_sets(Path())
    page, table = (ROOT / f"docs/guides/{name}.md" for name in ("own_data", "table_over_sets"))
    Path("paper.yaml").write_text(re.findall(r"```yaml\n(.*?)```", table.read_text(), re.DOTALL)[0])
    Path("MSLS").symlink_to(tiny_tree)
    others: dict = {}
    printed: dict = {}
    for (module, *arguments), _ in [*commands_of(page), *commands_of(table)]:
        if module in ("vpr.distill", "eval.msls"):  # named in passing; they have guides of their own
            continue
        if "descriptors" in arguments and not Path("descriptors").exists():
            save_as_methods_evaluation(Path("pitts30k/images/test"), Path("descriptors"))
        assert module_of(module).main([*arguments, "--device", "cpu"]) == 0, (module, arguments)
        (printed if module == "eval.places" else others)[" ".join(arguments)] = capsys.readouterr().out
    assert len(printed) == 19 and all("R@1" in text or "no score" in text for text in printed.values())
    latex = others["--settings paper.yaml --format latex"]
    assert r"\multicolumn{3}{c}{Pitts30k}" in latex and "re-ranked & $" in latex and "theirs & $" in latex
    assert json.loads(Path("table.json").read_text())["results"]["theirs"].keys() == {"Pitts30k"}
    assert len(Path("pairs.txt").read_text().splitlines()) == 12 * 10
    assert len(Path("map_pairs.txt").read_text().splitlines()) >= 4
    with h5py.File("hloc.h5") as file:
        assert file["0.jpg"]["global_descriptor"].ndim == 1
    first = printed["--data pitts30k --run builtin --rerank"].splitlines()[:2]
    assert "".join(f"    {line}\n" for line in first) in page.read_text()
    assert Path("answers.html").stat().st_size > 10_000 and len(Path("ranked.csv").read_text().splitlines()) == 3
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    assert names["data"].counts() == {"queries": 12, "queries_without_positives": 1, "database": 30}


@pytest.mark.slow
def test_the_commands_that_train_on_the_fields_sets_run(tiny_tree, tmp_path, monkeypatch):
    """On small sets of each layout, in a few steps."""
    monkeypatch.chdir(tmp_path)
    make_gsv(Path("gsv-cities"), places=8)
    make_cells(Path("sf_xl"), places=16, photos=10)  # one group has four squares, as many as a batch places
    make_sides(Path("pitts30k"))
    make_list(Path("mine"))
    Path("MSLS").symlink_to(tiny_tree)
    small = [*SMALL, "--image-size", "32", "--grid", "2", "--steps", "2", "--images-per-place", "3"]
    section = (ROOT / "docs/guides/train.md").read_text().split("## Train on the field's sets")[1].split("\n## ")[0]
    Path("section.md").write_text(section)
    commands = [words for words, _ in commands_of(Path("section.md"))]
    assert len(commands) == 6
    for number, (module, *arguments) in enumerate(commands):
        more = ["--distillation", "relational"] if module == "vpr.distill" else []
        run = f"runs/{number}"
        assert module_of(module).main([*arguments, *small, *more, "--out", run]) == 0, arguments
        assert json.loads(Path(run, "config.json").read_text())["run"]["data"]["layout"] in ("GSV-Cities", "positions")


@pytest.mark.slow
def test_the_readmes_python_runs(monkeypatch, capsys):
    """The lines that describe, rank and match photos; they are in the order of the page."""
    monkeypatch.chdir(ROOT)
    text = (ROOT / "README.md").read_text()
    code = re.search(r"(?m)^    import vpr\n    from pathlib import Path\n(?:(?:    .*)?\n)+", text)
    names: dict = {}
    exec(textwrap.dedent(code[0]), names)  # the page says so
    assert capsys.readouterr().out.startswith("docs/example/photos/36.jpg ")
    assert names["ranking"].numbers.shape == (1, 48) and names["match"].plan.shape == (100, 100)


def test_what_the_pages_import_is_there():
    """Every import of a Python block, on whatever page."""
    seen = 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for line in re.findall(r"(?m)^\s*((?:from vpr|import vpr)\b.*)$", page.read_text()):
            exec(line.split("  #")[0], {})
            seen += 1
    assert seen >= 10


def test_packages_are_installed_under_our_name():
    """The name ``vpr`` on the registry belongs to others."""
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["name"] == DISTRIBUTION != "vpr"
    extras, seen = set(setup["options.extras_require"]), 0
    for name in files:
        if name.endswith((".py", ".md", ".cfg", ".toml", ".ipynb", ".html")):
            text = (ROOT / name).read_text()
            assert not re.search(r"pip install (-\S+ )*['\"]?vpr(?![\w-])", text), name
            for extra in re.findall(rf"{DISTRIBUTION}\[([\w,]+)\]|install_extra\(.(\w+).\)", text):
                assert set("".join(extra).split(",")) <= {*extras, "NAME"}, (name, extra)
                seen += 1
    assert seen >= 15


def test_the_makefile_has_what_the_readme_names():
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^ {4}|`)make ([\w-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= set(targets)
