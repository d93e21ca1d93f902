"""The work behind the requests: uploads are decoded in a few threads, and one thread asks the map.

torch and numba use all cores for one photo, so a second thread would only get in the way. Photos that wait are asked
for together, which takes about half the time a photo.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vpr.base.machine import usable_cores
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.serving.limits import Limits, Refused
from vpr.serving.photos import decoded
from vpr.serving.served import ServedMap
from vpr.serving.uploads import Upload

log = logging.getLogger("vpr")
T = TypeVar("T")

TOGETHER = 8  # photos that are asked for together, at most
MOST_DECODERS = 4


@dataclass(frozen=True, eq=False)
class Job:
    """A photo that waits for its answer, by the map of the time when it came."""

    photo_map: Map
    pixels: np.ndarray
    answer: asyncio.Future[Located]


class Service:
    """A map and its workers; `work` has to run."""

    def __init__(self, served: ServedMap, config: LocateConfig, limits: Limits) -> None:
        self.served, self.config, self.limits = served, config, limits
        self.in_work = 0  # requests
        self._jobs = deque[Job]()
        self._some = asyncio.Event()
        self._model = ThreadPoolExecutor(1, "vpr-model")
        self._decoders = ThreadPoolExecutor(min(MOST_DECODERS, usable_cores()), "vpr-decode")
        self._pictures = ThreadPoolExecutor(1, "vpr-pictures")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests that are worked on or wait; raises Refused where all are taken."""
        if self.in_work >= self.limits.queue:
            raise Refused(503, "too many photos are waiting; try again in a moment")
        self.in_work += 1
        try:
            yield
        finally:
            self.in_work -= 1

    async def picture(self, function: Callable[..., T], *arguments: object) -> T:
        """The result of a function that makes a picture to look at, in a thread that keeps no upload waiting."""
        return await asyncio.get_running_loop().run_in_executor(self._pictures, function, *arguments)

    async def locate(self, upload: Upload) -> tuple[Located, Map]:
        """Where a photo was taken, and by which map. Raises Refused for what is no photo, and where locating fails."""
        photo_map = self.served.photo_map
        takes, most = photo_map.model.network, self.limits.max_pixels
        loop, given = asyncio.get_running_loop(), (upload.file.file, upload.name, upload.kind)
        job = Job(
            photo_map,
            await loop.run_in_executor(self._decoders, decoded, *given, takes, most),
            loop.create_future(),
        )
        self._jobs.append(job)
        self._some.set()
        return replace(await job.answer, photo=upload.name), photo_map

    async def work(self) -> None:
        """Answer the jobs, without end."""
        while True:
            await self._some.wait()
            jobs = self._take()
            if jobs:
                await self._answer(jobs)
            else:
                self._some.clear()

    def _take(self) -> list[Job]:
        """The next jobs that somebody still waits for, all of one map."""
        jobs = list[Job]()
        while self._jobs and len(jobs) < TOGETHER and (not jobs or self._jobs[0].photo_map is jobs[0].photo_map):
            job = self._jobs.popleft()
            if not job.answer.done():
                jobs.append(job)
        return jobs

    async def _answer(self, jobs: list[Job]) -> None:
        photos = [job.pixels for job in jobs]
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._model, jobs[0].photo_map.locate_all, photos, self.config
            )
        except Exception:
            log.exception("locating failed")
            found = []
        for number, job in enumerate(jobs):
            if job.answer.done():
                continue
            if found:
                job.answer.set_result(found[number])
            else:
                job.answer.set_exception(Refused(500, "locating failed; the log of the service says why"))

    def close(self) -> None:
        """Let the threads end after what they have begun."""
        for threads in (self._model, self._decoders, self._pictures):
            threads.shutdown(wait=False, cancel_futures=True)
