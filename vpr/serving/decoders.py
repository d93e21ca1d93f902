"""The processes that decode uploads. One that takes too long, too much memory or crashes is ended and replaced.

A thread cannot be stopped in a decoder of an image format, which is C code. Only bytes are exchanged, no objects.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vpr.base.errors import VprError
from vpr.base.machine import usable_cores
from vpr.description.images import ModelInput, size_before_crop
from vpr.serving.decoder import Answer, Task
from vpr.serving.limits import MEGABYTE, TOKEN, Limits, Refused
from vpr.serving.uploads import Upload

log = logging.getLogger("vpr")

MOST_DECODERS = 4
MODULE = "vpr.serving.decoder"
ROOT = Path(__file__).resolve().parents[2]  # the folder of the package `vpr`
# Arguments: the module, how many arguments it has, these, and folders to import from after the standard library.
LAUNCH = (
    "import runpy, sys; module, count = sys.argv[1], int(sys.argv[2]); sys.path += sys.argv[3 + count:]; "
    "sys.argv[1:] = sys.argv[3:3 + count]; runpy.run_module(module, run_name='__main__', alter_sys=True)"
)
START_S = 60.0  # seconds that a process may take to start
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # seconds before another try to start a process
ORPHAN_S = 2  # seconds after which a process ends by itself if the service did not end it
PIECE = 1 << 20  # bytes that are sent at once
TRIES = 2  # processes that an upload is given to, if the first ended before it was sent


class NotBegun(Exception):
    """A process had ended before any byte of an upload was sent to it."""


class Decoder:
    """One process. It is broken from the beginning of a request until its answer has come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._requests, self._answers = process, process.stdin, process.stdout
        self._is_broken = False

    @classmethod
    async def start(cls, limits: Limits) -> Decoder:
        """A process that is ready. Raises VprError if it cannot be started."""
        process = None
        try:
            process = await _launch(limits)
            decoder = cls(process)
            await asyncio.wait_for(decoder._answer(), START_S)
            return decoder
        except BaseException as error:
            said = await _end(process) if process is not None else b""
            if not isinstance(error, Exception):
                raise
            late = f"it was not ready after {START_S:g} s" if isinstance(error, asyncio.TimeoutError) else str(error)
            reason = said.decode(errors="replace").strip().rpartition("\n")[2] or late or "it ended"
            problem = f"a process that decodes photos did not start ({reason})"
            raise VprError(problem, remedy="free memory or processes of this user, or install vpr-ot again") from error

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return not self._answers.at_eof()

    @property
    def is_usable(self) -> bool:
        """Whether the process runs and waits for an upload."""
        return not self._is_broken and self.is_running

    async def pixels(self, task: Task, data: bytes) -> np.ndarray:
        """As `vpr.serving.photos.decoded`. Raises NotBegun if the process is dead; OSError or EOFError if it ends."""
        self._is_broken = True
        await self._begin(task)
        for start in range(0, len(data), PIECE):
            self._requests.write(data[start : start + PIECE])
            await self._requests.drain()
        answer = await self._answer()
        if answer.status == 200:
            height, width = task.input_size if task.crop == "resize" else size_before_crop(task.input_size)
            pixels = await self._answers.readexactly(height * width * 3)
        self._is_broken = answer.is_last
        if answer.traceback:
            raise RuntimeError(answer.traceback)
        if answer.status != 200:
            raise Refused(answer.status, answer.reason)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    async def _begin(self, task: Task) -> None:
        try:
            self._requests.write(json.dumps(asdict(task)).encode() + b"\n")
            await self._requests.drain()
            await self._answer()
        except (ConnectionError, EOFError):
            raise NotBegun from None

    async def _answer(self) -> Answer:
        line = await self._answers.readline()
        if not line:
            raise EOFError
        return Answer(**json.loads(line))

    async def end(self) -> None:
        """End the process."""
        self._is_broken = True
        await _end(self._process)


async def _launch(limits: Limits) -> asyncio.subprocess.Process:
    """A new process, isolated from the working folder, which may hold anything, and from the service's token.

    Its standard library comes first, then this package, then what else this process imports from.
    """
    seconds = int(limits.decode_timeout + 1) + ORPHAN_S
    arguments = [str(limits.decode_mb * MEGABYTE), str(seconds)]
    command = [sys.executable, "-I", "-S", "-c", LAUNCH, MODULE, str(len(arguments)), *arguments, *_import_folders()]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread would take memory
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    return await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**environment, **threads}, start_new_session=True,
    )  # fmt: skip


def _import_folders() -> list[str]:
    try:
        working_folder = os.getcwd()
    except OSError:  # it was removed
        working_folder = ""
    return [str(ROOT), *(path for path in sys.path if path not in ("", working_folder))]


async def _end(process: asyncio.subprocess.Process) -> bytes:
    """End a process; returns what it printed on stderr before it was ready."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    assert process.stderr is not None
    return await process.stderr.read()


class Decoders:
    """As many processes as there are cores, up to `MOST_DECODERS`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all, self._idle = set[Decoder](), asyncio.Queue[Decoder]()
        self._works, self._replacements = set[asyncio.Task[np.ndarray]](), set[asyncio.Task[None]]()
        self._is_started = self._is_closed = False

    @property
    def running(self) -> int:
        """How many processes there are now."""
        return sum(decoder.is_running for decoder in self._all)

    async def start(self) -> None:
        """Start the processes if they are not started, and wait until they are ready.

        Raises VprError if one cannot be started.
        """
        if self._is_started:
            return
        count = min(MOST_DECODERS, usable_cores())
        for error in await asyncio.gather(*(self._add() for _ in range(count)), return_exceptions=True):
            if error is not None:
                await self.close()
                raise error
        self._is_started = True

    async def pixels(self, upload: Upload, model: ModelInput) -> np.ndarray:
        """An upload as a model takes it, as `vpr.serving.photos.decoded`.

        Waits for a process that is free. Raises Refused, also for an upload that takes its process too long or makes
        it crash. If this is cancelled, a process that has begun goes on: to end it would cost more than to wait.
        """
        for _ in range(TRIES):
            decoder = await self._take()
            try:
                await upload.file.seek(0)
                data = await upload.file.read()
            except BaseException:
                self._give_back(decoder)
                raise
            with suppress(NotBegun):
                return await asyncio.shield(self._begin(decoder, upload, model, data))
        raise Refused(503, "the processes that decode photos have ended; try again in a moment")

    async def close(self) -> None:
        """End all processes."""
        self._is_closed = True
        tasks = [*self._works, *self._replacements]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(decoder.end() for decoder in self._all))
        self._all.clear()

    def _begin(self, decoder: Decoder, upload: Upload, model: ModelInput, data: bytes) -> asyncio.Task[np.ndarray]:
        """The task that decodes an upload, and then gives its process back."""
        height, width = model.input_size
        task = Task(
            upload.name, upload.kind, len(data), (height, width), model.interpolation, model.crop,
            self._limits.max_pixels,
        )  # fmt: skip
        work = asyncio.get_running_loop().create_task(self._decode(decoder, task, data))
        self._works.add(work)
        work.add_done_callback(self._works.discard)
        work.add_done_callback(lambda _: self._give_back(decoder))
        return work

    async def _decode(self, decoder: Decoder, task: Task, data: bytes) -> np.ndarray:
        seconds = self._limits.decode_timeout
        try:
            return await asyncio.wait_for(decoder.pixels(task, data), seconds)
        except asyncio.TimeoutError:
            raise Refused(422, f"the photo takes more than {seconds:g} s to decode; send a smaller copy") from None
        except (ConnectionError, EOFError):
            raise Refused(422, "the photo makes its decoder crash; save it anew, as JPEG") from None

    async def _take(self) -> Decoder:
        while True:
            decoder = await self._idle.get()
            if decoder.is_usable:
                return decoder
            self._give_back(decoder)  # it was killed, for example by the system, which had no memory left

    def _give_back(self, decoder: Decoder) -> None:
        if decoder.is_usable:
            return self._idle.put_nowait(decoder)
        if self._is_closed:
            return
        task = asyncio.get_running_loop().create_task(self._replace(decoder))
        self._replacements.add(task)
        task.add_done_callback(self._replacements.discard)

    async def _replace(self, decoder: Decoder) -> None:
        log.warning("a process that decodes photos is replaced")
        await decoder.end()
        self._all.discard(decoder)
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await self._add()
            except Exception as error:  # noqa: BLE001 - whatever it is, it may be over at the next try
                log.warning("%s; the next try is in %g s", error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _add(self) -> None:
        decoder = await Decoder.start(self._limits)
        self._all.add(decoder)
        self._idle.put_nowait(decoder)
