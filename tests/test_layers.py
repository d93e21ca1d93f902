"""Imports go one way, and importing does nothing."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datasets", "vpr", "distill", "eval")
COMMANDS = {"vpr.teacher", "vpr.scratch", "vpr.distill", "vpr.extract", "vpr.demo"}  # join the packages


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


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


def within(name, packages):
    return name.split(".")[0] in packages


IMPORTS = {
    module: imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py")
    for module, path in FILES.items()
}


def offences(modules, forbidden):
    """Imports by the modules of what is forbidden to them."""
    return sorted(f"{module} imports {name}" for module in modules for name in IMPORTS[module] if forbidden(name))


def of_package(package):
    return [module for module in IMPORTS if within(module, (package,)) and module not in COMMANDS]


def test_the_imports_are_read_right():
    source = "import a.b\nfrom c import d\ndef f():\n    from . import e\n    from ..g import h\n"
    assert imports(source, "p.q.m") == {"a.b", "c", "c.d", "p.q", "p.q.e", "p.g", "p.g.h"}
    assert imports("from .a import b", "p", True) == {"p.a", "p.a.b"}
    assert {"vpr.cache", "distill.trainer", "eval.msls", "datasets.msls", "vpr.distill"} <= set(IMPORTS)
    assert "vpr.errors" in IMPORTS["vpr.cache"] and "eval.ranking" in IMPORTS["vpr.extract"]


def test_datasets_imports_nobody():
    assert offences(of_package("datasets"), lambda name: within(name, ("vpr", "distill", "eval"))) == []


def test_the_core_imports_none_of_those_that_stand_on_it():
    assert offences(of_package("vpr"), lambda name: within(name, ("datasets", "distill", "eval"))) == []


def test_distill_and_eval_do_not_import_each_other():
    assert offences(of_package("distill"), lambda name: within(name, ("eval",))) == []
    assert offences(of_package("eval"), lambda name: within(name, ("distill",))) == []


def test_nobody_imports_the_command_files():
    assert offences([module for module in IMPORTS if module != "vpr.demo"], lambda name: name in COMMANDS) == []


def test_nobody_imports_the_tests_or_benchmarks():
    assert offences(IMPORTS, lambda name: within(name, ("tests", "benchmarks"))) == []


def test_imports_make_no_circle():
    edges = {module: {name for name in names if name in IMPORTS} - {module} for module, names in IMPORTS.items()}
    done = set()
    while len(done) < len(edges):
        free = {module for module, names in edges.items() if module not in done and names <= done}
        assert free, f"a circle among {sorted(set(edges) - done)}"
        done |= free


@pytest.mark.parametrize("modules", ["vpr.cache, vpr.command", "datasets.msls, datasets.mini_msls", "eval.metrics"])
def test_light_modules_need_no_torch(modules):
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


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


def test_importing_does_nothing(tmp_path):
    modules = [module for module in IMPORTS if "triton" not in module and not module.endswith("__main__")]
    environment = dict(os.environ, PYTHONPATH=str(ROOT), VPR_CACHE_DIR=str(tmp_path / "cache"), HOME=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORT_ALL, json.dumps(modules)],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".nbi", ".nbc", ".pyc")]
    assert written == []
