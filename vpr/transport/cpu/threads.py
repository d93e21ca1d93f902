"""Threads that share the candidates of a query, and the memory each of them works in."""

import os
import threading
from functools import cache
from queue import SimpleQueue

import numpy as np

from vpr.base.machine import usable_cores
from vpr.transport.cpu.simd import LANES
from vpr.transport.problem import Settings

SERIAL_ENTRIES = 50_000  # similarities below which a second thread does not pay


def thread_count(settings: Settings, entries: int) -> int:
    """Threads for so many similarities: those asked for, else the CPUs that this process may run on."""
    if entries < SERIAL_ENTRIES:
        return 1
    if settings.threads is not None:
        return settings.threads
    return usable_cores()


@cache
def workers(process: int, count: int) -> SimpleQueue:
    """The queue of jobs of ``count`` threads that wait for them; a forked process has none of its parent's threads.

    An executor would do; it takes 20 us a job, of the 500 us that a call takes.
    """
    jobs = SimpleQueue()
    for _ in range(count):
        threading.Thread(target=serve, args=(jobs,), name="transport", daemon=True).start()
    return jobs


def serve(jobs: SimpleQueue) -> None:
    """Do the jobs (work, its argument, queue for what it raised) of a queue for ever."""
    while True:
        work, argument, done = jobs.get()
        try:
            work(argument)
            done.put(None)
        except BaseException as error:  # noqa: BLE001: raised again by whoever waits
            done.put(error)
        del work, argument, done  # nothing of the caller's is kept while waiting


def in_threads(work, count: int) -> None:
    """Call ``work(k)`` for each k < count in parallel, the first of them in the calling thread."""
    if count == 1:
        return work(0)
    done, jobs = SimpleQueue(), workers(os.getpid(), count - 1)
    for k in range(1, count):
        jobs.put((work, k, done))
    try:
        work(0)
    finally:  # nobody writes into the caller's arrays once this returns
        errors = [done.get() for _ in range(1, count)]
    for error in errors:
        if error is not None:
            raise error


class Arena(threading.local):
    """Memory of a thread, kept between calls: fresh memory costs the system more than a chunk of candidates costs us."""

    def __init__(self) -> None:
        self.numbers = np.empty(0, np.float32)

    def take(self, size: int) -> np.ndarray:
        """Float32 numbers (size,), their values undefined, from the start of a cache line; the next call takes the same."""
        if len(self.numbers) < size:
            numbers = np.empty(size + LANES, np.float32)
            self.numbers = numbers[-(numbers.ctypes.data // numbers.itemsize) % LANES :]
        return self.numbers[:size]


arena = Arena()
