"""Running the commands in this process."""

import importlib
import json
import re

import numpy as np
from safetensors.numpy import load_file, save_file

from vpr.__main__ import COMMANDS
from vpr.eval import msls

# What follows ``python -m`` for each command, in a checkout: ``vpr.distill``, ``eval.msls``.
MODULES = [re.sub(r"^vpr\.(?=datasets\.|eval\.)|\.__main__$", "", module) for module, _ in COMMANDS.values()]


def module_of(command):
    """The module of a command; some are the main module of a package."""
    name = f"vpr.{command}" if command.split(".")[0] in ("datasets", "eval") else command
    package = importlib.import_module(name)
    return importlib.import_module(f"{name}.__main__") if hasattr(package, "__path__") else package


def in_this_process(command, arguments):
    """What `vpr.eval.table.start_command` does, here, where everything is imported already."""
    return module_of(command).main(arguments)


def evaluate(tree, run, out, *more):
    """Run eval.msls, which must succeed; returns what --json wrote."""
    arguments = ["--data", tree, "--run", run, "--json", out / "a.json", "--device", "cpu", *more]
    assert msls.main([str(argument) for argument in arguments]) == 0
    return json.loads((out / "a.json").read_text())


def refused(capsys, main, *arguments, code=1):
    """The one line on stderr of a command that fails with this exit code, without a traceback."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if "error: " in line]
    assert len(errors) == 1 and captured.err.endswith(errors[0] + "\n") and "Traceback" not in captured.err
    assert errors[0].startswith("python -m ")
    return errors[0]


def other_model(run):
    """Change the run's weights a little."""
    weights = load_file(run / "model.safetensors")
    name = next(name for name, value in weights.items() if value.dtype == np.float32)
    save_file({**weights, name: weights[name] + 1}, run / "model.safetensors")
