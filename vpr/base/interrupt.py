"""Ctrl-C while a command imports its modules: one line, where Python would show a traceback.

The packages of the commands import this module first. It does something in a process that runs one of them only.
"""

import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 130  # the shell's exit code for Ctrl-C
PACKAGES = ("vpr", "datasets", "eval")  # that commands lie in


def command() -> str | None:
    """The module of ours that ``python -m`` runs in this process; None in any other process."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module if module.split(".")[0] in PACKAGES else None


def end_imports_in_one_line() -> None:
    """Where this process runs a command, have Ctrl-C end it at once with one line while a module is imported."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if command() and usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


def said_of(prog: str) -> str:
    """What an interrupted command says."""
    return f"{prog}: interrupted; the same command continues from here"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """The handler. An import cannot be undone, and one in compiled code may abort: so the process ends there.

    It does so before and after the command's work too; inside, KeyboardInterrupt lets files be closed.
    """
    if not _is_work(frame):
        os.write(2, f"{said_of(f'python -m {command()}')}\n".encode())
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
