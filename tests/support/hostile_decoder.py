"""The process of `vpr.serving.decoder`, which does what the name of an upload says."""

import ctypes
import os
import sys
import time
from pathlib import Path

from vpr.serving import decoder
from vpr.serving.photos import decoded


def print_much():
    """Print in the place of the answer, as a library in C would, and from Python."""
    os.write(1, b'{"status": 200}\n' * 1000)
    print("answer", flush=True)
    os.write(2, b"a warning\n" * 1000)


UNTIL = "until "
DEEDS = {
    "crash": lambda: ctypes.string_at(0),  # reads memory that is not there
    "exit": lambda: os._exit(0),
    "sleep": lambda: time.sleep(100),
    "take memory": lambda: bytearray(20_000_000_000),
    "print": print_much,
    "fail": lambda: 1 / 0,
}


def decode(data, name, *rest):
    """As `decoded`, after the deed; after ``until PATH`` once that file is there.

    A process that waits for it writes a file ``PATH.PROCESS``.
    """
    DEEDS.get(name, lambda: None)()
    if name.startswith(UNTIL):
        path = Path(name.removeprefix(UNTIL))
        path.with_suffix(f".{os.getpid()}").touch()
        while not path.exists():
            time.sleep(0.01)
    return decoded(data, name, *rest)


if __name__ == "__main__":
    decoder.decoded = decode
    decoder.main(sys.argv[1:])
