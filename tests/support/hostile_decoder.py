"""The process of `vpr.serving.decoder`, which does what the name of an upload says. Started with ``python -m``."""

import ctypes
import os
import sys
import time

from vpr.serving import decoder
from vpr.serving.photos import decoded


def print_much():
    """Print in the place of the answer, as a library in C would, and from Python."""
    os.write(1, b'{"status": 200}\n' * 1000)
    print("answer", flush=True)
    os.write(2, b"a warning\n" * 1000)


DEEDS = {
    "crash": lambda: ctypes.string_at(0),  # reads memory that is not there
    "exit": lambda: os._exit(0),
    "sleep": lambda: time.sleep(100),
    "take memory": lambda: bytearray(20_000_000_000),
    "print": print_much,
    "fail": lambda: 1 / 0,
}


def decode(data, name, *rest):
    """As `decoded`, after the deed."""
    DEEDS.get(name, lambda: None)()
    return decoded(data, name, *rest)


if __name__ == "__main__":
    decoder.decoded = decode
    decoder.main(sys.argv[1:])
