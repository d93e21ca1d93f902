"""Processes that hold a part each and answer questions about it.

A part is made again where its process was started again: a process that was killed, or whose machine is gone, costs
time and nothing else. A part that cannot be made, or does not answer in time, is gone: that is an answer too.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpr.base.errors import VprError
from vpr.base.machine import limit_cores
from vpr.cluster.connecting import Cluster, require_code

log = logging.getLogger("vpr")

ANSWER_S = 120.0  # in which a part answers, its process started again where that is needed
FIRST = 5  # times as long for the first answer: a machine that never did compiles the kernels
AGAIN_S = 2.0  # the same for one that did not answer before
SHARE = 0.01  # of a core that a process takes for Ray, which spreads those over the machines that take something


@dataclass(frozen=True)
class Gone:
    """In place of an answer: why there is none."""

    reason: str


class Holder:
    """In a process of its own: a part, and answers about it."""

    def __init__(self, make: list[Any], cores: int, code: str) -> None:
        """make: a reference to what makes the part, which is called when the part is asked for first."""
        self.make, self.cores, self.code, self.part = make, cores, code, None

    def ask(self, question: str, *arguments: Any) -> tuple[str, Any]:
        """Which process answers, and what the part's method of that name says; `Gone` where the part cannot be made."""
        import ray

        if self.part is None:
            try:
                require_code(self.code)
                limit_cores(self.cores)
                self.part = ray.get(self.make[0])()
            except (VprError, OSError, ValueError, RuntimeError) as error:
                return self._name(), Gone(" ".join(str(error).split()))
        return self._name(), getattr(self.part, question)(*writable(arguments))

    def _name(self) -> str:
        return f"{socket.gethostname()}, process {os.getpid()}"


def writable(value: Any) -> Any:
    """A copy of the arrays in a value, for which kernels are compiled already: those that Ray hands over may only be
    read, which is another type to numba.

    >>> one = np.zeros(2)
    >>> one.flags.writeable = False
    >>> writable((one, "b", (one,)))[2][0].flags.writeable
    True
    """
    if isinstance(value, np.ndarray):
        return value.copy()
    return tuple(writable(one) for one in value) if type(value) is tuple else value


class Holders:
    """The processes of several parts, from the side of the one that asks."""

    def __init__(self, cluster: Cluster, makes: Sequence[Callable[[], Any]], answer_s: float = ANSWER_S) -> None:
        """makes: one for each part. answer_s: how long an answer is waited for."""
        import ray

        self.cluster, self.answer_s = cluster, answer_s
        self.cores = max(1, cluster.cores // len(makes))
        how = {"num_cpus": SHARE, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": "SPREAD"}
        self._remote: Any = ray.remote(Holder).options(**how)
        self.makes = [ray.put(make) for make in makes]
        self.started = [time.monotonic()] * len(makes)  # when we started the processes
        self.actors = [self._start(number) for number in range(len(makes))]
        self.names: dict[int, str] = {}  # the processes that answered last
        self.gone: dict[int, str] = {}  # why parts did not answer last

    def _start(self, number: int) -> Any:
        return self._remote.remote([self.makes[number]], self.cores, self.cluster.code)

    def _replace(self, number: int) -> None:
        """Another process for a part, which is there when it is asked for next, or later."""
        import ray

        ray.kill(self.actors[number])
        self.started[number] = time.monotonic()
        self.actors[number] = self._start(number)

    def __len__(self) -> int:
        return len(self.actors)

    def ask(self, question: str, arguments: Sequence[tuple | None]) -> list[Any]:
        """The answer of each part to its arguments, or `Gone`; None for parts that are not asked (None).

        What a part raises is raised here.
        """
        asked = {
            number: self.actors[number].ask.remote(question, *given)
            for number, given in enumerate(arguments)
            if given is not None
        }
        start = time.monotonic()
        answers: list[Any] = [None] * len(self)
        for number, answer in asked.items():
            answers[number] = self._awaited(number, answer, start + self._patience(number) - time.monotonic())
        return answers

    def _patience(self, number: int) -> float:
        """Seconds that an answer of a part is waited for."""
        if number in self.gone:
            return AGAIN_S
        return self.answer_s if number in self.names else FIRST * self.answer_s

    def _awaited(self, number: int, answer: Any, seconds: float) -> Any:
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

        try:
            name, said = ray.get(answer, timeout=max(0.0, seconds))
        except GetTimeoutError:
            said = Gone(
                f"no answer within {self.answer_s:g} s: its machine is busy or gone, or its process ends each time"
            )
            if time.monotonic() - self.started[number] > self.answer_s:  # others may be on their way
                self._replace(number)
        except RayTaskError as error:
            if not isinstance(error.cause, RayError):
                raise error.cause from error
            said = Gone(f"its process cannot work ({str(error.cause).splitlines()[0]})")
        except RayActorError as error:
            said = Gone(f"its process ended ({str(error).splitlines()[0]})")
            self._replace(number)
        else:
            if self.names.setdefault(number, name) != name:
                log.warning("shard %d of %d was started again (%s)", number + 1, len(self), name)
                self.names[number] = name
        if not isinstance(said, Gone):
            self.gone.pop(number, None)
        elif self.gone.get(number) != said.reason:
            self.gone[number] = said.reason
            log.warning("shard %d of %d is gone: %s", number + 1, len(self), said.reason)
        return said

    def share(self, value: Any) -> Any:
        """A value that several parts are asked about, to stand among their arguments; it travels once."""
        import ray

        return ray.put(value)

    def why(self) -> str:
        """What is said of the first part that is gone."""
        number, reason = min(self.gone.items())
        return f"shard {number + 1} of {len(self)} is gone ({reason})"

    def end(self) -> None:
        """End the processes."""
        import ray

        for actor in self.actors:
            ray.kill(actor)
