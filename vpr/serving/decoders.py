"""The processes that decode uploads. One that takes too long, too much memory or crashes is ended and replaced.

Decoders of image formats are C code, which a thread cannot be stopped in. Only bytes are exchanged, no objects.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict

import numpy as np

from vpr.base.machine import usable_cores
from vpr.description.images import ModelInput, size_before_crop
from vpr.serving.decoder import Answer, Task
from vpr.serving.limits import MEGABYTE, Limits, Refused
from vpr.serving.uploads import Upload

log = logging.getLogger("vpr")

MOST_DECODERS = 4
MODULE = "vpr.serving.decoder"
START_S = 60.0  # seconds that a process may take to start
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # seconds before another try to start a process
ORPHAN_S = 2  # seconds after which a process ends by itself if the service did not end it
PIECE = 1 << 20  # bytes that are sent at once


class Decoder:
    """One process. It is broken from the beginning of a request until its answer has come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._is_broken = False

    @classmethod
    async def start(cls, limits: Limits) -> Decoder:
        """A process that is ready. Raises OSError if it cannot be started."""
        seconds = int(limits.decode_timeout + 1) + ORPHAN_S
        command = [sys.executable, "-m", MODULE, str(limits.decode_mb * MEGABYTE), str(seconds)]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread would take memory
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)},
            start_new_session=True,
        )  # fmt: skip
        decoder = cls(process)
        try:
            await asyncio.wait_for(decoder._answer(), START_S)
        except BaseException as error:
            await decoder.end()
            if isinstance(error, (OSError, EOFError, ValueError, asyncio.TimeoutError)):
                raise OSError("a process that decodes photos did not start") from error
            raise
        return decoder

    @property
    def is_usable(self) -> bool:
        """Whether the process runs and waits for an upload."""
        assert self._process.stdout is not None
        return not self._is_broken and not self._process.stdout.at_eof()

    async def pixels(self, upload: Upload, model: ModelInput, most_pixels: int) -> np.ndarray:
        """As `vpr.serving.photos.decoded`. Raises OSError or EOFError if the process ends."""
        self._is_broken = True
        file = upload.file.file
        size = file.seek(0, os.SEEK_END)
        await upload.file.seek(0)
        height, width = model.input_size
        task = Task(upload.name, upload.kind, size, (height, width), model.interpolation, model.crop, most_pixels)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        while piece := await upload.file.read(PIECE):
            self._process.stdin.write(piece)
            await self._process.stdin.drain()
        answer = await self._answer()
        if answer.status == 200:
            height, width = model.input_size if model.crop == "resize" else size_before_crop(model.input_size)
            data = await self._process.stdout.readexactly(height * width * 3)
        self._is_broken = answer.is_last
        if answer.traceback:
            raise RuntimeError(answer.traceback)
        if answer.status != 200:
            raise Refused(answer.status, answer.reason)
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    async def _answer(self) -> Answer:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise EOFError
        return Answer(**json.loads(line))

    async def end(self) -> None:
        """End the process."""
        self._is_broken = True
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Decoders:
    """As many processes as there are cores, up to `MOST_DECODERS`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all, self._idle = set[Decoder](), asyncio.Queue[Decoder]()
        self._replacements = set[asyncio.Task[None]]()
        self._is_closed = False

    async def start(self) -> None:
        """Start the processes, and wait until they are ready. Raises OSError if one cannot be started."""
        count = min(MOST_DECODERS, usable_cores())
        for error in await asyncio.gather(*(self._add() for _ in range(count)), return_exceptions=True):
            if error is not None:
                raise error

    async def pixels(self, upload: Upload, model: ModelInput) -> np.ndarray:
        """An upload as a model takes it, as `vpr.serving.photos.decoded`.

        Waits for a process that is free. Raises Refused, also for an upload that takes its process too long or makes
        it crash.
        """
        decoder = await self._take()
        seconds = self._limits.decode_timeout
        work = asyncio.ensure_future(decoder.pixels(upload, model, self._limits.max_pixels))
        work.add_done_callback(lambda _: self._give_back(decoder))
        try:
            await asyncio.wait({work}, timeout=seconds)  # `wait_for` of Python 3.11 may miss that it is cancelled
            if not work.done():
                raise Refused(422, f"the photo takes more than {seconds:g} s to decode; send a smaller copy")
            return work.result()
        except (ConnectionError, EOFError):
            raise Refused(422, "the photo makes its decoder crash; save it anew, as JPEG") from None
        finally:
            work.cancel()

    async def close(self) -> None:
        """End all processes."""
        self._is_closed = True
        for task in self._replacements:
            task.cancel()
        await asyncio.gather(*self._replacements, return_exceptions=True)
        await asyncio.gather(*(decoder.end() for decoder in self._all))

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
            except OSError as error:
                log.warning("%s; the next try is in %g s", error, pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _add(self) -> None:
        decoder = await Decoder.start(self._limits)
        self._all.add(decoder)
        self._idle.put_nowait(decoder)
