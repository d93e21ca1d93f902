"""Threads that share the candidates of a query, and the memory that each of them works in."""

import os
import threading
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue

import numpy as np

from vpr.base.machine import usable_cores
from vpr.transport.cpu.simd import LANES
from vpr.transport.problem import Settings

SERIAL_ENTRIES = 50_000  # with fewer similarities a second thread costs more time than it saves


def thread_count(settings: Settings, entries: int) -> int:
    """Threads for so many similarities: as many as asked for, else one for each CPU that this process may run on."""
    if entries < SERIAL_ENTRIES:
        return 1
    if settings.threads is not None:
        return settings.threads
    return usable_cores()


class Workers:
    """Threads that wait for jobs: as many as the largest call wanted.

    An executor would be simpler, but takes 20 us a job, of the 500 us that a call takes.
    """

    def __init__(self) -> None:
        self.jobs: SimpleQueue = SimpleQueue()
        self.count, self.growing = 0, threading.Lock()

    def at_least(self, count: int) -> SimpleQueue:
        """The queue of jobs, served by ``count`` threads or more."""
        with self.growing:
            for _ in range(self.count, count):
                threading.Thread(target=serve, args=(self.jobs,), name="transport", daemon=True).start()
            self.count = max(self.count, count)
        return self.jobs


@cache
def workers(process: int) -> Workers:
    """Those of a process, by its id: a forked process has none of the threads of its parent."""
    return Workers()


def serve(jobs: SimpleQueue) -> None:
    """Do the jobs of a queue for ever; a job is (work, its argument, the queue that takes what it raised, or None)."""
    while True:
        work, argument, done = jobs.get()
        try:
            work(argument)
            done.put(None)
        except BaseException as error:  # noqa: BLE001  the thread that waits raises it again
            done.put(error)
        del work, argument, done  # so that the caller's arrays can be freed while this thread waits


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Call ``work(k)`` for each k < count in parallel, ``work(0)`` in the calling thread; returns when all are done.

    What a call raises is raised here.
    """
    if count == 1:
        return work(0)
    done: SimpleQueue = SimpleQueue()
    jobs = workers(os.getpid()).at_least(count - 1)
    for k in range(1, count):
        jobs.put((work, k, done))
    try:
        work(0)
    finally:  # wait for all, so that no thread writes into the caller's arrays after this returns
        errors = [done.get() for _ in range(1, count)]
    for error in errors:
        if error is not None:
            raise error


class Arena(threading.local):
    """Memory of a thread, kept between calls: to get fresh memory takes longer than to score a chunk of candidates."""

    def __init__(self) -> None:
        self.numbers = np.empty(0, np.float32)

    def take(self, size: int) -> np.ndarray:
        """Float32 numbers (size,) of undefined values, from the start of a cache line; the next call gets the same."""
        if len(self.numbers) < size:
            numbers = np.empty(size + LANES, np.float32)
            self.numbers = numbers[-(numbers.ctypes.data // numbers.itemsize) % LANES :]
        return self.numbers[:size]


arena = Arena()
