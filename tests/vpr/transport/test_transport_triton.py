"""The CUDA kernels: parity through Triton's interpreter in a process of its own, and compilation for a GPU."""

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]
FOLDER = Path(__file__).parent


SLOW = ("49", "any_epsilon", "0.97", "0.05", "softmax", "inverse", "relevancy")  # words of names


def test_parity_in_the_interpreter():
    """The parity, degenerate and similarity tests with the triton backend."""
    if os.environ.get("TRITON_INTERPRET"):
        pytest.skip("this is the interpreter's run")
    files = [FOLDER / f"test_transport_{name}.py" for name in ("solve", "degenerate", "similarity")]
    selection = "triton" + "".join(f" and not {word}" for word in SLOW)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files), "-k", selection]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and int(done.stdout.split(" passed")[0].split()[-1]) >= 26


TILED = """
import sys; sys.path.insert(0, {folder!r})
import torch
from problems import images
from vpr.similarity import structural_similarity
for half, kind in ((False, "complement"), (True, "softmax")):
    arrays = [torch.from_numpy(a.astype("f2" if half else "f4")) for a in images(2, 150, 140, 40)]
    exact = structural_similarity(*(a.double() for a in arrays), kind, backend="torch", tolerance=1e-9)
    found = structural_similarity(*arrays, kind, backend="triton")
    assert found.backend == "triton" and (found.score - exact.score).abs().max() < 5e-6, found
"""


def test_tiled_kernel_in_the_interpreter():
    """Grids that are too large for registers (150 x 140) against float64, in half precision too."""
    script = TILED.format(folder=str(FOLDER.parents[1] / "support"))
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vpr.transport.cuda.kernels import pair_kernel
from vpr.transport.cuda.tiled import tiled_kernel
from vpr.transport.marginals import COMPLEMENT
half, index = ("query", "database"), ("query_index", "database_index", "iterations")
single = ("query_global", "database_global", "given_similarity", "given_mu", "given_nu", "score", "marginal_error",
          "plan", "scratch", "vectors")
types = dict.fromkeys(half, "*bf16") | dict.fromkeys(index, "*i64") | dict.fromkeys(single, "*fp32")
types |= dict.fromkeys(("epsilon", "mass", "tolerance"), "fp32")
pair = {"KIND": COMPLEMENT, "FROM_PATCHES": True, "PARTIAL": False, "PLAN": False, "BP": 64, "BQ": 64, "BC": 32}
for kernel, constants in ((pair_kernel, pair), (tiled_kernel, {"KIND": COMPLEMENT, "BR": 32, "BQ": 256, "BC": 32})):
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(name),): value for name, value in constants.items()})
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4})
    assert "mma" in binary.asm["ptx"]
"""


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="ptxas comes with these wheels")
def test_compiles_for_a_gpu_that_is_not_here():
    """The interpreter is lenient about types; the compiler for compute capability 9.0 is not."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


TRIAL = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from vpr.transport.cuda import backend, trial
from vpr.transport.problem import convert_result
assert trial.kernels_agree("cpu")
solve, score = backend.solve, backend.score_candidates
backend.score_candidates = lambda *a: convert_result(score(*a), lambda field: field + 1)
trial.kernels_agree.cache_clear()
assert not trial.kernels_agree("cpu")
backend.score_candidates, backend.solve = score, lambda *a: 1 / 0
trial.kernels_agree.cache_clear()
assert not trial.kernels_agree("cpu") and not trial.kernels_agree("cpu")
"""


def test_kernels_that_fail_or_differ_are_not_used():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", TRIAL], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = done.stdout.splitlines()
    assert "differ from torch by" in first and "ZeroDivisionError" in second
