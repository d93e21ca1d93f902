"""Threads that share the candidates of a query, and the working memory of each thread."""

import os
import threading
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue

import numpy as np

from vpr.base.machine import usable_cores
from vpr.transport.cpu.simd import LANES

SERIAL_ENTRIES = 50_000  # with fewer similarities a second thread costs more time than it saves


def thread_count(threads: int | None, entries: int) -> int:
    """Threads for a number of similarities: 1 for few, else ``threads``; None is one for each CPU of this process."""
    if entries < SERIAL_ENTRIES:
        return 1
    return usable_cores() if threads is None else threads


class Workers:
    """Threads that wait for jobs, as many as the largest call needed.

    An executor would be simpler, but it takes 20 us a job, and a call takes 500 us.
    """

    def __init__(self) -> None:
        self.jobs: SimpleQueue = SimpleQueue()
        self.count, self.growing = 0, threading.Lock()

    def grow_to(self, count: int) -> SimpleQueue:
        """The queue of jobs, after there are at least ``count`` threads."""
        with self.growing:
            for _ in range(self.count, count):
                threading.Thread(target=run_jobs, args=(self.jobs,), name="transport", daemon=True).start()
            self.count = max(self.count, count)
        return self.jobs


@cache
def process_workers(process: int) -> Workers:
    """The workers of a process, by its id: a forked process does not have the threads of its parent."""
    return Workers()


def run_jobs(jobs: SimpleQueue) -> None:
    """Run the jobs of a queue for ever. A job is (work, its argument, a queue that gets the exception, or None)."""
    while True:
        work, argument, done = jobs.get()
        try:
            work(argument)
            done.put(None)
        except BaseException as error:  # noqa: BLE001  the waiting thread raises it again
            done.put(error)
        del work, argument, done  # while this thread waits, the caller's arrays can be freed


def run_in_threads(work: Callable[[int], None], count: int) -> None:
    """Call ``work(k)`` for each k < count in parallel, ``work(0)`` in the calling thread, and wait for all of them.

    An exception of a call is raised here.
    """
    if count == 1:
        return work(0)
    done: SimpleQueue = SimpleQueue()
    jobs = process_workers(os.getpid()).grow_to(count - 1)
    for k in range(1, count):
        jobs.put((work, k, done))
    try:
        work(0)
    finally:  # wait for all: no thread may write into the caller's arrays after the return
        errors = [done.get() for _ in range(1, count)]
    for error in errors:
        if error is not None:
            raise error


class Arena(threading.local):
    """Memory of a thread, kept between calls: fresh memory takes longer than the score of a chunk of candidates."""

    def __init__(self) -> None:
        self.numbers = np.empty(0, np.float32)

    def take(self, size: int) -> np.ndarray:
        """Float32 numbers (size,) of undefined values, aligned to a cache line. All calls return the same memory."""
        if len(self.numbers) < size:
            numbers = np.empty(size + LANES, np.float32)
            self.numbers = numbers[-(numbers.ctypes.data // numbers.itemsize) % LANES :]
        return self.numbers[:size]


arena = Arena()
