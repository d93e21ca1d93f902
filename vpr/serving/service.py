"""The queue and the workers: a few processes decode uploads, and one thread locates photos.

torch and numba use all cores for one photo, so a second locating thread would only slow the first down. Queued photos
are located in batches, which takes about half the time per photo.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.results import Located
from vpr.maps.tracking import Tracker
from vpr.serving.decoders import Decoders
from vpr.serving.limits import Limits, Refused
from vpr.serving.served import ServedMap
from vpr.serving.uploads import Upload

log = logging.getLogger("vpr")
T = TypeVar("T")

BATCH = 8  # maximum number of photos that are located together


@dataclass(frozen=True, eq=False)
class Job:
    """A queued photo, and the map that was open when it arrived."""

    photo_map: Map
    pixels: np.ndarray
    answer: asyncio.Future[Located]
    drive: str = ""  # the name of the drive that it is the next frame of


class Service:
    """A map, a queue and workers. The coroutine `work` must be running."""

    def __init__(self, served: ServedMap, config: LocateConfig, limits: Limits) -> None:
        self.served, self.config, self.limits = served, config, limits
        self.active = 0  # requests in progress or queued
        self._jobs = deque[Job]()
        self._trackers = OrderedDict[str, tuple[Map, Tracker]]()  # by drive; the one that was idle longest is first
        self._has_jobs = asyncio.Event()
        self._model = ThreadPoolExecutor(1, "vpr-model")
        self._decoders = Decoders(limits)
        self._pictures = ThreadPoolExecutor(1, "vpr-pictures")

    @property
    def decoders(self) -> int:
        """How many processes there are that decode."""
        return self._decoders.running

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take one of ``limits.queue`` slots for a request; raises Refused if all are taken."""
        if self.active >= self.limits.queue:
            raise Refused(503, "too many photos are waiting; try again in a moment")
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    async def picture(self, function: Callable[..., T], *arguments: object) -> T:
        """The result of a function that makes a thumbnail, in a thread that does not delay uploads."""
        return await asyncio.get_running_loop().run_in_executor(self._pictures, function, *arguments)

    async def locate(self, upload: Upload, drive: str = "") -> tuple[Located, Map]:
        """Where a photo was taken, and the map that was used. Raises Refused if it is no photo, or locating fails.

        drive: the name of a drive that the photo is the next frame of; without one it is located by itself.
        """
        photo_map = self.served.photo_map
        pixels = await self._decoders.pixels(upload, photo_map.model.config)
        job = Job(photo_map, pixels, asyncio.get_running_loop().create_future(), drive)
        self._jobs.append(job)
        self._has_jobs.set()
        return replace(await job.answer, photo=upload.name), photo_map

    async def work(self) -> None:
        """Answer jobs forever."""
        while True:
            await self._has_jobs.wait()
            jobs = self._take()
            if jobs:
                await self._answer(jobs)
            else:
                self._has_jobs.clear()

    def _take(self) -> list[Job]:
        """The next batch of jobs of one map, without cancelled ones."""
        jobs = list[Job]()
        while self._jobs and len(jobs) < BATCH and (not jobs or self._jobs[0].photo_map is jobs[0].photo_map):
            job = self._jobs.popleft()
            if not job.answer.done():
                jobs.append(job)
        return jobs

    async def _answer(self, jobs: list[Job]) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._model, self._locate, jobs)
        except Exception:
            log.exception("locating failed")
            found = []
        for number, job in enumerate(jobs):
            if job.answer.done():
                continue
            if found:
                job.answer.set_result(found[number])
            else:
                job.answer.set_exception(Refused(500, "locating failed; see the log of the service for the reason"))

    def _locate(self, jobs: Sequence[Job]) -> list[Located]:
        """The answers to jobs of one map; runs in the thread that locates."""
        photo_map, frames = jobs[0].photo_map, [job for job in jobs if job.drive]
        alone = iter(photo_map.locate_all([job.pixels for job in jobs if not job.drive], self.config))
        found, names, _ = photo_map.find([job.pixels for job in frames], self.config)
        of_drives = iter(
            [self._tracker(job).add_found(found.take(slice(number, number + 1)), names[number])
             for number, job in enumerate(frames)] if found is not None else []
        )  # fmt: skip
        return [next(of_drives) if job.drive else next(alone) for job in jobs]

    def _tracker(self, job: Job) -> Tracker:
        """The tracker of a job's drive; a new one if the drive is new, or the map has changed."""
        for name in [name for name, (used, _) in self._trackers.items() if used is not job.photo_map]:
            del self._trackers[name]  # they would keep the map of before in memory
        photo_map, tracker = self._trackers.pop(job.drive, (None, None))
        if tracker is None or photo_map is not job.photo_map:
            tracker = job.photo_map.track(self.config)
        self._trackers[job.drive] = job.photo_map, tracker
        while len(self._trackers) > self.limits.drives:
            self._trackers.popitem(last=False)
        return tracker

    async def start(self) -> None:
        """Start the processes that decode, if they are not started; raises VprError if one cannot be started."""
        await self._decoders.start()

    async def close(self) -> None:
        """Stop the threads after their current job, and end the processes."""
        for threads in (self._model, self._pictures):
            threads.shutdown(wait=False, cancel_futures=True)
        await self._decoders.close()
