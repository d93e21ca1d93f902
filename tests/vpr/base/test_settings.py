"""Options: read from dataclasses, filled from the command line and from a file, refused in one line."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import yaml

from vpr import scratch, teacher
from vpr.base.recipes import RECIPES, recipes
from vpr.base.settings import (
    Names,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Share,
    make_parser,
    names_option,
    option,
    parse,
    positional,
    required,
)
from vpr.distill import __main__ as distill


@dataclass(frozen=True)
class Stage:
    """A stage."""

    size: PositiveInt = option(3, "how large, 100 % or more")
    name: str = option("", "what it is called")
    cities: Names = option(Names(), "where")
    fast: bool = option(False, "quickly")
    kind: Literal["a", "b"] = option("a", "which")
    margin: PositiveFloat = option(0.1**0.5, "how far")
    weight: NonNegativeFloat | None = option(None, "how much")
    mass: Share = option(1.0, "share")
    inner: float = 0.5  # not an option


@dataclass(frozen=True)
class Files:
    """Files."""

    runs: tuple[Path, ...] = positional("run folders", "RUN")
    cache: Path = required("where to write")


def filled(*arguments, stages=(Stage,)):
    values = parse(make_parser("x", "Does x.", stages), [str(argument) for argument in arguments], stages).stages
    return values[0] if len(values) == 1 else values


def test_options_are_read_from_the_dataclass_and_fill_it():
    assert filled() == Stage()
    found = filled("--size", 4, "--cities", "a, b,", "--fast", "--kind", "b", "--weight", 0, "--mass", 0.5)
    assert found == Stage(4, "", Names(("a", "b")), True, "b", weight=0.0, mass=0.5)
    assert type(found.size) is int and type(found.mass) is float
    stage, files = filled("r1", "r2", "--cache", "c.h5", stages=(Stage, Files))
    assert stage == Stage() and files == Files((Path("r1"), Path("r2")), Path("c.h5"))


def test_the_values_of_an_instance_are_the_defaults():
    stage = Stage(size=8, kind="b")
    assert filled(stages=(stage,)) == stage
    assert filled("--size", 9, stages=(stage,)) == Stage(size=9, kind="b")
    assert "(default: 8)" in make_parser("x", "Does x.", [stage]).format_help()


def test_the_help_says_kinds_and_short_defaults():
    text = make_parser("x", "Does x.", [Stage, Files]).format_help()
    assert text.startswith("usage: python -m x RUN ... [options]\n")
    for words in (
        "--size INT", "how large, 100 % or more (default: 3)", "what it is called\n", "--cities a,b",
        "--kind {a,b}", "(default: 0.316)", "--cache PATH", "where to write (required)", "--config FILE.yaml",
    ):  # fmt: skip
        assert words in text
    assert "--inner" not in text and "--no-" not in text and "None" not in text


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--size", "0"], "--size: 0 is out of range, give a value > 0"),
        (["--size", "x"], "--size: 'x' is not a valid INT"),
        (["--margin", "inf"], "--margin: inf is out of range, give a value > 0 and < inf"),
        (["--margin", "x"], "--margin: 'x' is not a valid NUMBER"),
        (["--mass", "1.5"], "--mass: 1.5 is out of range, give a value > 0 and <= 1"),
        (["--mass", "nan"], "--mass: nan is out of range, give a value > 0 and <= 1"),
        (["--weight", "-5"], "--weight: -5 is out of range, give a value >= 0 and < inf"),
        (["--weight", "nan"], "--weight: nan is out of range, give a value >= 0 and < inf"),
        (["--kind", "c"], "--kind: 'c' is not one of a, b"),
        (["--siz", "4"], "unrecognized arguments: --siz 4"),
        (["--inner", "1"], "unrecognized arguments: --inner 1"),
        (["--size"], "argument --size: expected one argument"),
        (["--config", "nowhere.yaml"], "--config: File does not exist"),
        ([""], "an argument is empty"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, line):
    with pytest.raises(ValueError) as caught:
        filled(*arguments)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_required_option_and_a_place_are_named():
    for given, missing in ((["r1"], "--cache"), (["--cache", "c.h5"], "RUN"), ([], "RUN, --cache")):
        with pytest.raises(ValueError, match=f"^{missing} must be given; see --help$"):
            filled(*given, stages=(Stage, Files))


def test_a_printed_config_is_read_back(tmp_path, capsys):
    stages, path = (Stage,), tmp_path / "recipe.yaml"
    given = ["--size", "4", "--cities", "a,b", "--fast", "--weight", "2.5"]
    with pytest.raises(SystemExit) as end:
        parse(make_parser("x", "Does x.", stages), [*given, "--print-config"], stages)
    path.write_text(capsys.readouterr().out)
    assert end.value.code in (0, None) and filled("--config", path) == filled(*given)
    assert filled("--config", path, "--size", 5).size == 5  # the command line wins


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("size: -3", "--size: -3 is out of range"),
        ("length: 3", "length is not an option of this command; see --help"),
        ("length: {}", "length is not an option of this command"),
        ("--size: 3", "--size is not an option of this command; write size"),
        ("{{", "not valid YAML in line 1"),
        ("cities: [a, 3", "not valid YAML in line 1"),
        ("size: 4\nname: a\nsize: 5", "size is given 2 times; keep one"),
        ("- size", "not a list of options"),
        ("size", "not a list of options"),
        ("size: null", "--size: null is not a valid INT; leave it out for the default"),
        ("size:\nname: a", "--size: null is not a valid INT"),
        ("fast: 'no'", "--fast: 'no' is not a valid True or False; write true or false"),
        ("cities: &a [x, x]\nname: *a", "anchors (*name) are not read"),
        ("size: \x00", "not valid YAML"),
        ("#" * 1_000_001, "more than 1 MB"),
    ],
)
def test_a_bad_config_is_refused_in_one_line(tmp_path, content, words):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(ValueError) as caught:
        filled("--config", tmp_path / "recipe.yaml")
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_names_may_be_a_list_in_a_config(tmp_path):
    (tmp_path / "recipe.yaml").write_text("cities: [oslo, rome]\n")
    assert filled("--config", tmp_path / "recipe.yaml").cities == ("oslo", "rome")


@pytest.mark.parametrize(
    ("main", "folder"), [(scratch.main, "student"), (distill.main, "student"), (teacher.main, "teacher")]
)
def test_recipes_are_options_of_their_commands(main, folder, capsys):
    assert {"lite", "mini"} <= set(recipes(folder))
    printed = []
    for arguments in ([], ["--recipe", "mini"], ["--recipe=lite"], ["--recipe", "lite", "--clusters", "8"]):
        assert main([*arguments, "--print-config"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[2] != printed[1]  # what the commands do without a recipe
    for arguments in (["--backbone", "resnet18"], ["--recipe", "mini", "--backbone=resnet18"]):
        assert main([*arguments, "--print-config"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[4] == printed[5]  # a network of one's own is not given another's weights
    assert "backbone: tf_efficientnet_lite0" in printed[2] and "clusters: 64" in printed[2]
    assert printed[3] == printed[2].replace("clusters: 64", "clusters: 8")  # later options win
    assert main(["--recipe", "../teacher/lite"]) == 2
    assert f"is not one of {', '.join(recipes(folder))}" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["student", "teacher"])
def test_every_key_of_a_recipe_is_an_option_of_some_command(folder):
    stages = {"student": distill.STAGES, "teacher": teacher.STAGES}[folder]
    known = {action.dest for action in make_parser("x", "Does x.", stages)._actions}
    for name in recipes(folder):
        assert set(yaml.safe_load((RECIPES / folder / f"{name}.yaml").read_text())) <= known


@dataclass(frozen=True)
class Many:
    """Many."""

    run: Names = names_option(Names(["a"]), "runs")
    steps: PositiveInt = option(3, "steps")


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], ["a"]),
        (["--run", "x"], ["x"]),
        (["--run", "x", "--steps", "2", "--run=y,z"], ["x", "y", "z"]),
        (["--run", ""], []),
        (["--config", "many.yaml"], ["p", "q"]),
        (["--config", "many.yaml", "--run", "x", "--run", "y"], ["x", "y"]),
        (["--run", "x", "--config", "many.yaml"], ["p", "q"]),
    ],
)
def test_a_repeated_option_gathers_its_values(tmp_path, monkeypatch, arguments, runs):
    monkeypatch.chdir(tmp_path)
    Path("many.yaml").write_text("run: [p, q]\n")
    assert list(filled(*arguments, stages=(Many,)).run) == runs


def test_a_file_of_nested_anchors_is_refused_at_once(tmp_path):
    levels = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join(10 * [f'*a{n - 1}'])}]" for n in range(1, 12))]
    (tmp_path / "recipe.yaml").write_text("\n".join(levels))
    start = time.process_time()
    with pytest.raises(ValueError, match="anchors"):
        filled("--config", tmp_path / "recipe.yaml")
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["r1", "--cache", ""], "--cache: the path is empty; give one, or leave the option out"),
        (["r1", "--cache="], "--cache: the path is empty"),
        (["", "--cache", "c.h5"], "an argument is empty"),
        (["r1", "--cache", "c.h5", ""], "an argument is empty"),
        (["r1", "--config", "recipe.yaml"], "cache is an empty path; give one, or leave the line out"),
    ],
)
def test_an_empty_path_is_not_the_working_folder(tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("cache: ''\nname: ''\n")
    with pytest.raises(ValueError, match=words):
        filled(*given, stages=(Stage, Files))
    assert filled("r1", "--cache", "c.h5", "--name", "", stages=(Stage, Files))[0].name == ""
