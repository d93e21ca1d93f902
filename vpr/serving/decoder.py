"""The process that decodes uploads, one after another: ``python -m vpr.serving.decoder BYTES SECONDS``.

`vpr.serving.decoders` starts it and ends it. A message of this process is a line of JSON, the fields of `Answer`. The
first says that the process is ready. Then, for each upload:

1. The service sends a line of JSON, the fields of `Task`.
2. The process answers 200.
3. The service sends the bytes of the upload.
4. The process answers; with 200 the pixels follow, (height, width, 3) uint8.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import IO

import numpy as np
from PIL import Image

from vpr.models.settings import Crop, Interpolation
from vpr.serving.limits import Refused
from vpr.serving.photos import decoded

SHARED = (signal.SIGINT, signal.SIGTERM)  # signals to the service, which its processes may get too
LONGEST_TRACEBACK = 10_000  # characters


@dataclass(frozen=True)
class Task:
    """An upload, and how the model takes it."""

    name: str
    kind: str
    size: int  # bytes
    input_size: tuple[int, int]
    interpolation: Interpolation
    crop: Crop
    most_pixels: int


@dataclass(frozen=True)
class Answer:
    """Readiness, or what became of an upload. The status is that of HTTP."""

    status: int
    reason: str = ""
    traceback: str = ""  # of an error that is none of the upload
    is_last: bool = False  # whether the process should be replaced


def main(arguments: list[str]) -> None:
    """Decode until the requests end.

    arguments: the memory that decoding may take, in bytes, and after how many seconds the process ends that is busy
    with one upload. The service ends it before; if the service is gone, nobody else does.
    """
    memory, seconds = (int(argument) for argument in arguments)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    for number in SHARED:
        signal.signal(number, signal.SIG_IGN)  # the service answers its last requests, then it ends this process
    Image.init()  # imports what reads each format
    _limit(memory)
    _write(answers, Answer(200))
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what decoders print; an upload could fill the log with it
        os.dup2(nothing, stream)
    while line := requests.readline():
        _set_alarm(seconds)
        _write(answers, Answer(200))
        _write(answers, *_answer(Task(**json.loads(line)), requests))
        _set_alarm(0)


def _set_alarm(seconds: int) -> None:
    """End this process after some seconds; 0 takes that back. Does nothing on Windows."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _limit(memory: int) -> None:
    """Limit the memory that this process may still allocate, on Linux; write no core dump if it crashes."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/statm", encoding="ascii") as status:
        now = int(status.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(task: Task, requests: IO[bytes]) -> tuple[Answer, bytes]:
    try:
        data = requests.read(task.size)
        pixels = decoded(data, task.name, task.kind, task, task.most_pixels)
        return Answer(200), np.ascontiguousarray(pixels).tobytes()
    except Refused as refused:
        return Answer(refused.status, str(refused)), b""
    except MemoryError:
        return Answer(422, "the photo takes too much memory to decode; send a smaller copy", is_last=True), b""
    except Exception:  # noqa: BLE001 - the service logs it, and goes on
        return Answer(500, traceback=traceback.format_exc()[-LONGEST_TRACEBACK:]), b""


def _write(answers: IO[bytes], answer: Answer, pixels: bytes = b"") -> None:
    answers.write(json.dumps(asdict(answer)).encode() + b"\n" + pixels)
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
