"""How this process was started, and Ctrl-C while a command imports its modules: one line instead of a traceback.

The package imports this module first. It does something only in a process that runs one of our commands.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

MISUSED, INTERRUPTED = 2, 130  # exit codes: bad options; the shell's for Ctrl-C
PACKAGES = ("vpr", "datasets", "eval")  # that commands lie in
SCRIPT = "vpr"


def program(command: str = "") -> str:
    """What the user typed to start a command, which is given by its module, such as ``eval.msls``.

    In a process that the user started otherwise it is ``python -m`` and the module.
    """
    words, started = command.removeprefix("vpr.").replace(".", " ").replace("_", "-"), started_as()
    if started in (SCRIPT, f"python -m {SCRIPT}"):
        return f"{started} {words}".strip()
    if started and command in ("", started.removeprefix("python -m ").removeprefix("vpr.")):
        return started
    return f"python -m {command or SCRIPT}"


def started_as() -> str | None:
    """How a command of ours was started in this process: the script's name, or ``python -m`` and the module."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    if module.split(".")[0] in PACKAGES:
        return f"python -m {module}"
    return SCRIPT if len(words) > 1 and Path(words[1]).name == SCRIPT else None


def end_imports_in_one_line() -> None:
    """In a process that runs a command, have Ctrl-C end it at once with one line while a module is imported."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if started_as() and usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


def interrupted(prog: str) -> str:
    """The line that an interrupted command prints."""
    return f"{prog}: interrupted; the same command continues from here"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The handler. An import cannot be undone, and one in compiled code may abort: so the process ends there.

    It does so before and after the command's work too; inside, KeyboardInterrupt lets files be closed.
    """
    if not _is_work(frame):
        os.write(2, f"{interrupted(program())}\n".encode())
        os._exit(INTERRUPTED)
    signal.default_int_handler(number, frame)


def _is_work(frame: FrameType | None) -> bool:
    """Whether the stack stands inside `vpr.base.command.carry_out`, and in no import."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        if frame.f_code.co_name == "carry_out":
            return True
        frame = frame.f_back
    return False


end_imports_in_one_line()
