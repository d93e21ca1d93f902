"""How the user started this process, and Ctrl-C during imports: one line instead of a traceback.

The package imports this module first. It has an effect only in a process that runs one of our commands.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

MISUSED, INTERRUPTED = 2, 130  # exit codes: bad options; Ctrl-C, as in a shell
PACKAGES = ("vpr", "datasets", "eval")  # packages that contain commands
SCRIPT = "vpr"


def program(command: str = "") -> str:
    """The words that start a command, by its module such as ``eval.msls``, as the user typed them.

    If the user started this process in another way, it is ``python -m`` and the module.
    """
    words, started = command.removeprefix("vpr.").replace(".", " ").replace("_", "-"), start_words()
    if started in (SCRIPT, f"python -m {SCRIPT}"):
        return f"{started} {words}".strip()
    if started and command in ("", started.removeprefix("python -m ").removeprefix("vpr.")):
        return started
    return f"python -m {command or SCRIPT}"


def start_words() -> str | None:
    """How one of our commands was started: the script's name, or ``python -m`` and the module; else None."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    if module.split(".")[0] in PACKAGES:
        return f"python -m {module}"
    return SCRIPT if len(words) > 1 and Path(words[1]).name == SCRIPT else None


def end_imports_in_one_line() -> None:
    """In a process that runs a command, let Ctrl-C during an import end it at once with one line."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if start_words() and usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)


def interrupt_message(prog: str) -> str:
    """The line that an interrupted command prints."""
    return f"{prog}: interrupted; the same command continues from here"


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle SIGINT. Outside the command's work the process ends at once: an interrupted import cannot be undone.

    During the work KeyboardInterrupt is raised, so that files are closed.
    """
    if not _is_work(frame):
        os.write(2, f"{interrupt_message(program())}\n".encode())
        os._exit(INTERRUPTED)
    signal.default_int_handler(number, frame)


def _is_work(frame: FrameType | None) -> bool:
    """Whether the stack is inside `vpr.base.command.carry_out`, and not inside an import."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        if frame.f_code.co_name == "carry_out":
            return True
        frame = frame.f_back
    return False


end_imports_in_one_line()
