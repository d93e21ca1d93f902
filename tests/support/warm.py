"""One process that has imported every command, and that forks a child for each call.

A call costs tenths of a second where a new interpreter costs several, and a child may be killed or starved of file
size without harm to the others. ``python tests/support/warm.py`` is the process, `Warm` talks to it.
"""

import functools
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EACH = "TEST_EACH_CALL"  # set: each argument of a call is a list of arguments
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}


@dataclass(frozen=True)
class Outcome:
    """What a call left behind."""

    code: int  # exit code; -9 for a killed process
    out: str
    err: str
    writes: int  # file operations in the working folder that change something

    @property
    def complaint(self) -> str:
        """The last line on standard error."""
        return (self.err.splitlines() or [""])[-1]


class Warm:
    """The caller's side; calls run one after another."""

    def __init__(self, scratch: Path, env: dict[str, str] | None = None) -> None:
        """scratch: a folder for the outputs. env: variables of the process beside the caller's."""
        self.scratch = scratch
        variables = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=variables,
        )

    def __call__(
        self,
        command: str,
        arguments: Sequence[object],
        cwd: Path | None = None,
        stop_before: int = 0,
        limit_bytes: int = 0,
        env: dict[str, str] | None = None,
        seconds: float = 180,
    ) -> Outcome:
        """Run ``python -m COMMAND ARGUMENTS``.

        stop_before: kill the process before its n-th file operation, from 1. limit_bytes: the largest file it may
        write. seconds: it is killed after them.
        """
        files = [str(self.scratch / name) for name in ("out.txt", "err.txt", "count.txt")]
        Path(files[-1]).write_text("")  # of a call that is killed
        call = {
            "command": command, "arguments": [str(argument) for argument in arguments], "files": files,
            "cwd": str(cwd or self.scratch), "stop_before": stop_before, "limit_bytes": limit_bytes,
            "env": env or {}, "seconds": seconds,
        }  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        out, err, count = (Path(file).read_text(errors="replace") for file in files)
        return Outcome(code, out, err, int(count or 0))

    def each(self, command: str, calls: Sequence[Sequence[str]], cwd: Path, seconds: float = 20) -> list[Outcome]:
        """The same command with one list of arguments after another, in one child: for calls that end before any work.

        The calls from the one that is killed or ends the process on are missing.
        """
        done = self(command, [json.dumps(arguments) for arguments in calls], cwd, env={EACH: "1"}, seconds=seconds)
        return [Outcome(**json.loads(line)) for line in done.out.splitlines() if line.startswith('{"code"')]

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def _serve() -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    import importlib

    from commands import MODULES, module_of

    heavy = ("faiss", "h5py", "torch", "timm", "torchvision", "sklearn.decomposition", "pandas", "scipy.spatial", "ot")
    heavy += ("lightning_fabric", "pytorch_metric_learning.losses")
    ours = (
        "vpr.distill.student",
        "vpr.distill.teacher",
        "vpr.eval.calibration.calibration",
        "vpr.eval.evaluator",
        "vpr.eval.baselines",
    )
    for name in MODULES:
        module_of(name)
    ours += ("vpr.base.figures", "vpr.retrieval.drawing", "vpr.description.cache_filling")
    for name in [*heavy, *ours, "vpr.datasets.street_world.rendering"]:
        importlib.import_module(name)
    _use_once()
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            _child(call)
        print(_wait(child, call["seconds"]), flush=True)


def _use_once() -> None:
    """What every child would otherwise load or compute again: compiled transport, fonts, the digest of the code."""
    import numpy as np
    from matplotlib.figure import Figure

    from vpr.base.run_folder import training_code
    from vpr.similarity import structural_similarity

    one = np.eye(4, dtype=np.float32)
    structural_similarity(one, one[None], one[0], one[:1], backend="numba", threads=1)
    training_code()
    figure = Figure()
    figure.suptitle("a")
    figure.savefig(os.devnull, format="png")


def _wait(child: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -99


def _child(call: dict) -> None:
    """Run the call and leave at once, without the cleaning up of an interpreter that ends."""
    import traceback

    out, err, count = call["files"]
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
    os.chdir(call["cwd"])
    os.environ.update(call["env"])
    if call["limit_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (call["limit_bytes"],) * 2)
    from commands import module_of

    code = 70
    done = _count_writes(call["stop_before"])
    own = {"start": _in_a_fork} if call["command"] == "eval.table" else {}
    main = functools.partial(module_of(call["command"]).main, **own)
    try:
        code = _each(main, call["arguments"]) if EACH in call["env"] else main(call["arguments"])
    except BaseException:  # noqa: BLE001  what an interpreter would print
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        done.append(0)  # what follows is not counted
        if not call["limit_bytes"]:
            Path(count).write_text(str(len(done) - 1))
        os._exit(code)


def _each(main: Callable[[list[str]], int], calls: list[str]) -> int:
    """Call with one list of arguments after another; print what each left behind as a line of JSON."""
    streams = sys.stdout, sys.stderr
    for arguments in calls:
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        code = main(json.loads(arguments))
        left = {"code": code, "out": sys.stdout.getvalue(), "err": sys.stderr.getvalue(), "writes": 0}
        print(json.dumps(left), file=streams[0], flush=True)
    sys.stdout, sys.stderr = streams
    return 0


def _in_a_fork(command: str, arguments: list[str]) -> int:
    """What `vpr.eval.table.start_command` does, in a child that finds its imports done."""
    from commands import module_of

    child = os.fork()
    if child == 0:
        os._exit(module_of(command).main(arguments))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _count_writes(stop_before: int) -> list[int]:
    """Count the file operations that change something; die before the one asked for."""
    import h5py
    import numpy as np

    done: list[int] = []
    process = os.getpid()

    def count() -> None:
        if os.getpid() != process:  # of a command that this one started
            return
        done.append(1)
        if len(done) == stop_before:
            os.kill(os.getpid(), signal.SIGKILL)

    here = os.path.realpath(os.getcwd())

    def hook(event: str, arguments: tuple) -> None:
        if event != "open" and event not in WRITES:
            return
        changes, path = event in WRITES, arguments[0]
        if not isinstance(path, str | bytes | os.PathLike):  # a file that is open already
            return
        if event == "open":
            _, mode, flags = arguments
            changes = bool(
                (isinstance(mode, str) and set(mode) & set("wxa+")) or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            )
        if event in ("open", "os.mkdir") and os.path.isdir(path):  # it is there already, or gets a file without a name
            return
        if changes and os.path.abspath(os.fsdecode(path)).startswith(here):
            count()

    sys.addaudithook(hook)
    for owner, name in ((h5py.File, "__init__"), (np.memmap, "flush")):  # which no hook hears of
        _counted(owner, name, count)
    return done


def _counted(owner: object, name: str, count: Callable[[], None]) -> None:
    before = getattr(owner, name)

    def after(*arguments: object, **options: object) -> object:
        count()
        return before(*arguments, **options)

    setattr(owner, name, after)


if __name__ == "__main__":
    _serve()
