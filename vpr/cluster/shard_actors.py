"""Actors: processes that each hold a shard and answer questions about it.

If a process is killed, or its machine fails, the shard is opened again in a new process; that costs only time. If a
shard cannot be opened or times out, `ShardFailure` is returned in place of its answer.
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

ANSWER_S = 120.0  # timeout for an answer, including a restart of the process
FIRST_ANSWER_FACTOR = 5  # factor of the timeout for the first answer, because kernels may have to be compiled
FAILED_ANSWER_S = 2.0  # timeout if the shard did not answer before
CPU_REQUEST = 0.01  # nominal, so that Ray's SPREAD strategy distributes the actors


@dataclass(frozen=True)
class ShardFailure:
    """The reason why a shard did not answer, in place of the answer."""

    reason: str


class ShardActor:
    """An actor: it opens a shard at the first question, and answers questions about it."""

    def __init__(self, opener: list[Any], cores: int, code: str) -> None:
        """opener: a Ray reference to the function that opens the shard, in a list so that Ray does not resolve it."""
        self.opener, self.cores, self.code, self.shard = opener, cores, code, None

    def ask(self, question: str, *arguments: Any) -> tuple[str, Any]:
        """The name of this process, and the result of the shard's method; `ShardFailure` if it cannot be opened."""
        import ray

        if self.shard is None:
            try:
                require_code(self.code)
                limit_cores(self.cores)
                self.shard = ray.get(self.opener[0])()
            except (VprError, OSError, ValueError, RuntimeError) as error:
                return self._name(), ShardFailure(" ".join(str(error).split()))
        return self._name(), getattr(self.shard, question)(*copy_arrays(arguments))

    def _name(self) -> str:
        return f"{socket.gethostname()}, process {os.getpid()}"


def copy_arrays(value: Any) -> Any:
    """A value with its arrays copied. Arrays from Ray are read-only, and numba would compile kernels again for them.

    >>> one = np.zeros(2)
    >>> one.flags.writeable = False
    >>> copy_arrays((one, "b", (one,)))[2][0].flags.writeable
    True
    """
    if isinstance(value, np.ndarray):
        return value.copy()
    return tuple(copy_arrays(one) for one in value) if type(value) is tuple else value


class ShardActors:
    """The client of several actors."""

    def __init__(self, cluster: Cluster, openers: Sequence[Callable[[], Any]], answer_s: float = ANSWER_S) -> None:
        """openers: one function per shard, which opens it. answer_s: timeout of an answer, seconds."""
        import ray

        self.cluster, self.answer_s = cluster, answer_s
        self.cores = max(1, cluster.cores // len(openers))
        options = {"num_cpus": CPU_REQUEST, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": "SPREAD"}
        self._remote: Any = ray.remote(ShardActor).options(**options)
        self.openers = [ray.put(opener) for opener in openers]
        self.started = [time.monotonic()] * len(openers)  # start time of each process
        self.actors = [self._start(number) for number in range(len(openers))]
        self.names: dict[int, str] = {}  # by shard: the process that answered last
        self.failures: dict[int, str] = {}  # by shard: the reason why its last answer is missing

    def _start(self, number: int) -> Any:
        return self._remote.remote([self.openers[number]], self.cores, self.cluster.code)

    def _replace(self, number: int) -> None:
        """Start a new process for a shard."""
        import ray

        ray.kill(self.actors[number])
        self.started[number] = time.monotonic()
        self.actors[number] = self._start(number)

    def __len__(self) -> int:
        return len(self.actors)

    def ask(self, question: str, arguments: Sequence[tuple[Any, ...] | None]) -> list[Any]:
        """The answer of each shard to its arguments, or `ShardFailure`; None for shards without arguments.

        Errors of the shard's method are raised here.
        """
        asked = {
            number: self.actors[number].ask.remote(question, *given)
            for number, given in enumerate(arguments)
            if given is not None
        }
        start = time.monotonic()
        answers: list[Any] = [None] * len(self)
        for number, answer in asked.items():
            answers[number] = self._await(number, answer, start)
        return answers

    def _timeout(self, number: int) -> float:
        """The timeout of a shard's answer, seconds."""
        if number in self.failures:
            return FAILED_ANSWER_S
        return self.answer_s if number in self.names else FIRST_ANSWER_FACTOR * self.answer_s

    def _await(self, number: int, answer: Any, start: float) -> Any:
        """The answer of a shard, or `ShardFailure`. start: when it was asked, seconds of `time.monotonic`."""
        import ray
        from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

        timeout_s = self._timeout(number)
        try:
            name, result = ray.get(answer, timeout=max(0.0, start + timeout_s - time.monotonic()))
        except GetTimeoutError:
            problem = f"no answer within {timeout_s:g} s: its machine is busy or down, or its process keeps crashing"
            result = ShardFailure(self.failures.get(number, problem))  # the first reason says more
            if time.monotonic() - self.started[number] > self.answer_s:  # a new process may still be starting
                self._replace(number)
        except RayTaskError as error:
            if not isinstance(error.cause, RayError):
                raise error.cause from error
            result = ShardFailure(f"its process failed ({str(error.cause).splitlines()[0]})")
        except RayActorError as error:
            result = ShardFailure(f"its process ended ({str(error).splitlines()[0]})")
            self._replace(number)
        else:
            if self.names.setdefault(number, name) != name:
                log.warning("shard %d of %d was started again (%s)", number + 1, len(self), name)
                self.names[number] = name
        if not isinstance(result, ShardFailure):
            self.failures.pop(number, None)
        elif self.failures.get(number) != result.reason:
            self.failures[number] = result.reason
            log.warning("shard %d of %d does not answer: %s", number + 1, len(self), result.reason)
        return result

    def share(self, value: Any) -> Any:
        """A reference to a value for the arguments of several shards; it is sent once per machine."""
        import ray

        return ray.put(value)

    def failure_text(self) -> str:
        """The problem of the first shard that does not answer, for an error message."""
        number, reason = min(self.failures.items())
        return f"shard {number + 1} of {len(self)} does not answer ({reason})"

    def end(self) -> None:
        """End the processes."""
        import ray

        for actor in self.actors:
            ray.kill(actor)
