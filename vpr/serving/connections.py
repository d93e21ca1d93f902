"""The server, and the limits of its connections: how many there may be, and how long one may stay without an answer.

uvicorn limits neither. A client that sends half a header would keep its connection, and enough of them would take all
files that the process may open.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from vpr.base.errors import VprError
from vpr.serving.limits import HEADER_S, LAST_ANSWERS_S, Limits

log = logging.getLogger("vpr")
Prepare = Callable[[], Awaitable[None]]

BACKLOG = 2048  # connections that wait in the kernel
SPARE = 1000  # connections besides those of the queue: idle ones, and of the page
OTHER_FILES = 64  # open files that are neither connections nor uploads
FEWEST = 16  # connections


class Room:
    """How many connections there may be, how long a request may take in seconds, and who has no request."""

    def __init__(self, most: int, longest_s: float) -> None:
        self.most, self.longest_s = most, longest_s
        self.idle = dict[Connection, None]()  # without a whole header, the oldest first


class Connection(H11Protocol):
    """A connection that is closed if no request comes for `HEADER_S`, or if its answer is not taken.

    If there are too many, the oldest one without a request is closed; without such a one, the new one.
    """

    def __init__(self, room: Room, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._room = room
        self._timer: asyncio.TimerHandle | None = None
        self._request: object = None  # the one that is answered now

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and close one if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._room.most:
            next(iter(self._room.idle), self)._end()
        self._wait(HEADER_S)

    def data_received(self, data: bytes) -> None:
        """Follow a request that begins."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Follow a request that ends, and the next one, which may be here already."""
        super().on_response_complete()
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._leave()

    def _follow(self) -> None:
        request = self.cycle if self.cycle is not None and not self.cycle.response_complete else None
        if request is not self._request:
            self._request = request
            self._wait(HEADER_S if request is None else self._room.longest_s)

    def _wait(self, seconds: float) -> None:
        """Close the connection after some seconds. One that is closing already may wait for its client to read."""
        self._leave()
        self._timer = self.loop.call_later(seconds, self._end)
        if self._request is None and not self.transport.is_closing():
            self._room.idle[self] = None

    def _end(self) -> None:
        self._leave()
        self.transport.abort()

    def _leave(self) -> None:
        self._room.idle.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()


class Server(uvicorn.Server):
    """Accepts connections one at a time, and has many wait in the kernel.

    asyncio accepts as many at once as may wait. Of those it logs each that the process has no file for, and tries them
    all again, twice as often each time.
    """

    def __init__(self, config: uvicorn.Config, prepare: Prepare | None = None) -> None:
        super().__init__(config)
        self._prepare = prepare

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Prepare the service, then begin to listen. `run` raises the errors of the preparation."""
        if self._prepare is not None:
            await self._prepare()  # not in the application's lifespan, of which uvicorn logs a traceback
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(BACKLOG)


def make_server(app: FastAPI, limits: Limits, prepare: Prepare | None = None) -> Server:
    """The server of an application, ready to run. Raises VprError if the process may open too few files.

    prepare: awaited before the server takes requests.
    """
    room = Room(_most_connections(limits.queue), limits.timeout + LAST_ANSWERS_S)
    return Server(
        uvicorn.Config(
            app, loop="asyncio", http=partial(Connection, room), ws="none", lifespan="on", log_config=None,  # type: ignore[arg-type]
            access_log=False, server_header=False, backlog=1, timeout_graceful_shutdown=LAST_ANSWERS_S,
        ),
        prepare,
    )  # fmt: skip


def _most_connections(queue: int) -> int:
    """The most connections, each of which may have an upload in a file if it is among the ``queue`` requests.

    Raises the limit of open files as far as this needs, and is allowed. Raises VprError if that is not enough.
    """
    wanted = queue + SPARE
    if sys.platform == "win32":
        return wanted
    import resource

    needed = wanted + queue + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    left = allowed - OTHER_FILES
    most = min(wanted, max(left - queue, left // 2))
    if most < FEWEST:
        remedy = f"raise it to {needed}, by ulimit -Hn in the shell that starts the service"
        problem = f"this process may open {allowed} files, too few for a service"
        raise VprError(problem, thing="ulimit -n", remedy=remedy)
    if most < wanted:
        log.info("at most %d connections, since this process may open %d files", most, allowed)
    return most
