"""What each test costs in processor time, its fixtures and child processes included: ``pytest -p processor_time``.

Each line of the file named by ``PROCESSOR_TIME`` is: seconds of processor time, wall seconds, phase, test. A fixture
counts for the first test that asks for it. Linux only, since it reads ``/proc``.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """Processor time of this process and its descendants, those that ended and were waited for included."""
    parents, ticks = {}, {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            except OSError:  # ended meanwhile
                continue
            parents[int(folder.name)] = int(fields[1])
            ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    family, before = {os.getpid()}, 0
    while len(family) > before:
        before = len(family)
        family |= {process for process, parent in parents.items() if parent in family}
    return sum(ticks.get(process, 0) for process in family) / TICKS


def _timed(item: pytest.Item, phase: str) -> Iterator[None]:
    cpu, wall = processor_seconds(), time.monotonic()
    yield
    line = f"{processor_seconds() - cpu:.2f}\t{time.monotonic() - wall:.2f}\t{phase}\t{item.nodeid}\n"
    with open(os.environ["PROCESSOR_TIME"], "a") as file:
        file.write(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Time the fixtures."""
    yield from _timed(item, "setup")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Time the test."""
    yield from _timed(item, "call")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Time the cleaning up."""
    yield from _timed(item, "teardown")
