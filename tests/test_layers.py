"""Imports go one way, importing does nothing, files and argument lists stay short."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vpr.__main__ import COMMANDS as NAMED

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("datasets", "distill", "eval")  # folders beside ``vpr``, and modules of it by way of links
CORE_COMMANDS = {
    "vpr.teacher",
    "vpr.scratch",
    "vpr.distill.__main__",
    "vpr.distill.classes",
    "vpr.export",
    "vpr.extract",
    "vpr.retrieval.__main__",
    "vpr.match",
    "vpr.map",
    "vpr.locate",
    "vpr.serve",
}
JOINING = {*CORE_COMMANDS, "vpr.training"}  # these import the rooms that stand on the core
COMMANDS = {module for module, _ in NAMED.values()}
# From the ground up: a module imports those of its own name and of names before it.
ORDER = {
    "vpr": [
        "base",
        "transport",
        "patch_codes",
        "cache",
        "similarity",
        "models",
        "description",
        "retrieval",
        "positions",
        "run",
        "maps",
        "cluster",
        "serving",
    ],
    "vpr.transport": [
        "errors",
        "arrays",
        "marginals",
        "problem",
        "bounds",
        "reference",
        "geometry_reference",
        "torch_backend",
        "cpu",
        "cuda",
    ],
    "vpr.datasets": [
        "errors",
        "ragged",
        "retrieval_set",
        "near",
        "object_arrays",
        "rendered_folder",
        "photographed",
        "street_world",
        "default_data",
        "msls",
    ],
    "vpr.distill": ["settings", "sampling", "losses", "training"],
    "vpr.eval": [
        "options",
        "metrics",
        "tables",
        "files",
        "descriptors",
        "ranking",
        "baselines",
        "confidence",
        "evaluator",
    ],
}  # modules that are not named stand above those that are
LONGEST, MOST_ARGUMENTS = 500, 8
HEAVY = ("torch", "torchvision", "timm", "lightning_fabric", "onnx", "faiss", "sklearn", "matplotlib")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("vpr", *parts) if parts[0] in ROOMS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for room in ("vpr", *ROOMS) for path in sorted((ROOT / room).rglob("*.py"))}


def imports(source, module, is_package=False):
    """Every module that the source imports at whatever depth, as absolute names; of ``from a import b`` both."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                stem = parts[: len(parts) - node.level + is_package]
                base = ".".join([*stem, base] if base else stem)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def is_in(name, packages):
    """Whether the module is one of the packages or inside one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


IMPORTS = {
    module: imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
    for module, path in FILES.items()
}


def offences(modules, forbidden):
    """Imports by the modules of what is forbidden to them."""
    return sorted(f"{module} imports {name}" for module in modules for name in IMPORTS[module] if forbidden(name))


def of_package(package):
    """Its modules without the commands; of the core, ``vpr``, without the rooms that stand on it."""
    above = [f"vpr.{room}" for room in ROOMS] if package == "vpr" else []
    inside = [module for module in IMPORTS if is_in(module, (package,)) and not is_in(module, above)]
    return [module for module in inside if module not in JOINING and module != "vpr"]  # the front door


def test_the_imports_are_read_right():
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n"
    assert imports(source, "p.q.m") == {"a.b", "c", "c.d", "p.q", "p.q.e", "p.g", "p.g.h"}
    assert imports("from .a import b", "p", True) == {"p.a", "p.a.b"}
    assert {"vpr.cache", "vpr.distill.training.trainer", "vpr.eval.msls", "vpr.datasets.msls"} <= set(IMPORTS)
    assert "vpr.base.errors" in IMPORTS["vpr.cache"] and "vpr.datasets.msls.options" in IMPORTS["vpr.extract"]


def test_datasets_imports_at_most_the_base_and_the_positions_of_photos():
    allowed = ("vpr.base", "vpr.positions", "vpr.datasets")
    foreign = offences(of_package("vpr.datasets"), lambda name: name.startswith("vpr.") and not is_in(name, allowed))
    assert foreign == []


def test_the_core_imports_none_of_those_that_stand_on_it():
    assert offences(of_package("vpr"), lambda name: is_in(name, [f"vpr.{room}" for room in ROOMS])) == []


def test_the_extraction_command_needs_nothing_of_training_and_evaluation():
    assert offences(["vpr.extract"], lambda name: is_in(name, ("vpr.eval", "vpr.distill"))) == []


def test_distill_and_eval_do_not_import_each_other():
    assert offences(of_package("vpr.distill"), lambda name: is_in(name, ("vpr.eval",))) == []
    assert offences(of_package("vpr.eval"), lambda name: is_in(name, ("vpr.distill",))) == []


def level(module, package):
    """How high the module stands in its package: its place in ORDER, above all places when it has none."""
    names = ORDER[package]
    first = module.removeprefix(package + ".").split(".")[0]
    return names.index(first) if first in names else len(names)


def climbs(modules, package):
    """Imports, among the modules of one package, of one that stands higher."""
    members = {module for module in IMPORTS if module.startswith(package + ".") and module not in COMMANDS}
    return sorted(
        f"{module} imports {name}"
        for module in members & set(modules)
        for name in IMPORTS[module] & members
        if level(name, package) > level(module, package)
    )


@pytest.mark.parametrize("package", ORDER)
def test_no_module_imports_one_that_stands_above_it(package):
    assert climbs(IMPORTS, package) == []
    unknown = [name for name in ORDER[package] if f"{package}.{name}" not in IMPORTS]
    assert unknown == []


def test_a_climb_would_be_seen(monkeypatch):
    monkeypatch.setitem(ORDER, "vpr", ORDER["vpr"][::-1])
    assert "vpr.cache imports vpr.base.errors" in climbs(IMPORTS, "vpr")


def test_the_core_has_few_files_outside_its_rooms():
    flat = {name for name in IMPORTS if name.startswith("vpr.") and name.count(".") == 1}
    files = {name for name in flat if FILES[name].name != "__init__.py"}
    commands = {name for name in CORE_COMMANDS if name.count(".") == 1}
    assert files == {
        "vpr.__main__",
        "vpr.cache",
        "vpr.patch_codes",
        "vpr.run",
        "vpr.similarity",
        "vpr.training",
        *commands,
    }


def test_nobody_imports_a_command():
    assert offences(IMPORTS, lambda name: name in COMMANDS) == []


def test_nobody_imports_the_tests_benchmarks_or_tools():
    assert offences(IMPORTS, lambda name: is_in(name, ("tests", "benchmarks", "tools"))) == []


def test_imports_make_no_circle():
    edges = {module: {name for name in names if name in IMPORTS} - {module} for module, names in IMPORTS.items()}
    done = set()
    while len(done) < len(edges):
        free = {module for module, names in edges.items() if module not in done and names <= done}
        assert free, f"a circle among {sorted(set(edges) - done)}"
        done |= free


def test_files_are_short():
    lengths = {str(path): path.read_text(encoding="utf-8").count("\n") for path in FILES.values()}
    tests = {str(path): path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "tests").rglob("*.py")}
    assert {name: length for name, length in {**lengths, **tests}.items() if length > LONGEST} == {}


def long_argument_lists(source):
    """Functions of many arguments with their number; compiled ones are left out, a call costs nothing there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            count = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)
            compiled = any("jit" in ast.unparse(by) or "intrinsic" in ast.unparse(by) for by in node.decorator_list)
            if count > MOST_ARGUMENTS and not compiled:
                yield node.name, count


def test_argument_lists_are_short():
    assert list(long_argument_lists("def f(a, b, c, d, e, f, *, g, h, i): pass")) == [("f", 9)]
    found = {module: list(long_argument_lists(path.read_text(encoding="utf-8"))) for module, path in FILES.items()}
    assert {module: functions for module, functions in found.items() if functions} == {}


@pytest.mark.parametrize(
    "modules",
    ["vpr", "vpr.maps.photo_map", "vpr.datasets.msls", "vpr.eval.metrics", ", ".join(sorted(COMMANDS))],
)
def test_light_modules_and_commands_import_nothing_heavy(modules):
    code = f"import sys, {modules}; sys.exit(', '.join(set({HEAVY}) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


IMPORT_ALL = """
import importlib, json, logging, sys
import numpy, torch
before = torch.get_num_threads(), torch.random.initial_seed(), torch.get_rng_state().sum().item()
state = numpy.random.get_state()[1][:9].tolist()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
after = torch.get_num_threads(), torch.random.initial_seed(), torch.get_rng_state().sum().item()
assert before == after and state == numpy.random.get_state()[1][:9].tolist(), "random state or threads changed"
assert not logging.getLogger().handlers, "logging configured"
assert not torch.cuda.is_initialized(), "a device was taken"
"""


@pytest.mark.slow
def test_importing_does_nothing(tmp_path):
    triton = ("vpr.transport.cuda.kernels", "vpr.transport.cuda.tiled")
    modules = [module for module in IMPORTS if module not in triton or importlib.util.find_spec("triton")]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), VPR_CACHE_DIR=str(tmp_path / "cache"), HOME=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, json.dumps(modules)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".nbi", ".nbc", ".pyc")]
    assert written == []
