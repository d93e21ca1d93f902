"""``python -m vpr.serve MAP``: a map over HTTP; a photo in, where it was taken out, and a page to drop photos on."""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr.base.command import printable, run_command
from vpr.base.errors import VprError
from vpr.base.machine import Device
from vpr.base.packages import install_extra
from vpr.base.settings import NonNegativeInt, option, positional
from vpr.maps.options import LocateConfig
from vpr.serving.limits import PILLOWS_MOST, Limits

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")  # of the extra
TOKEN = "VPR_TOKEN"  # the environment variable
SHORTEST_TOKEN = 16  # characters
MOST_PORTS, BACKLOG = 65535, 2048
LAST_ANSWERS_S = 10  # for requests in work when the service is told to end
MAKE_ONE = 'python -c "import secrets; print(secrets.token_urlsafe())"'


@dataclass(frozen=True)
class ServeOptions:
    """Map and service."""

    map: Path = positional("the folder of a map that vpr.map made", "MAP")
    host: str = option("127.0.0.1", "name or address to listen at; others than this machine's own want a token")
    port: NonNegativeInt = option(8000, "port to listen at; 0 takes a free one")
    token: str = option("", f"what clients must send; better in the variable {TOKEN}, which others cannot see")
    run: str = option("", "run folder of the model, or 'builtin'; the map's own if left out")
    device: Device = option("auto", "where to compute")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Serves a map: POST a photo, get where it was taken; and a page to drop photos on."
    return run_command("vpr.serve", about, [ServeOptions, Limits, LocateConfig], _work, argv, serves=True)


def _work(options: ServeOptions, limits: Limits, config: LocateConfig) -> None:
    from vpr.maps.store import State

    _check(limits, config)
    State.of(options.map)  # it is there
    door, name = _bound(options.host, options.port)
    with door:
        token = _token(options, _is_own(door))
        server = _server(options, limits, config, (token, name))
        door.listen(BACKLOG)
        where = f"http://{f'[{name}]' if ':' in name else name}:{door.getsockname()[1]}"
        print(printable(f"{options.map} is served at {where}; Ctrl-C ends it"), flush=True)
        server.run(sockets=[door])


def _check(limits: Limits, config: LocateConfig) -> None:
    if config.sequence:
        raise VprError("vpr.serve locates each photo by itself; leave --sequence out, or use vpr.locate")
    if limits.max_pixels > PILLOWS_MOST:
        raise VprError(f"no photo of more than {PILLOWS_MOST} pixels is opened; give --max-pixels a smaller number")
    if limits.max_bytes < 1:
        raise VprError("--max-mb is less than a byte; give more")


def _bound(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket at a host and port, and the host's name; raises VprError where there is none, or it is taken."""
    if port > MOST_PORTS or not host:
        raise VprError(f"--port goes from 0 to {MOST_PORTS}" if host else "--host is empty; leave it out, or name one")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise VprError(f"no host {host} ({error}); name an address of this machine, such as 127.0.0.1") from None
    try:
        if os.name == "posix":  # elsewhere it lets two services share a port
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
    except OSError as error:
        door.close()
        reason = str(error.strerror).lower()
        raise VprError(f"cannot listen at {host}, port {port} ({reason}); give another --port or --host") from None
    return door, host.lower()


def _is_own(door: socket.socket) -> bool:
    """Whether only this machine reaches the socket."""
    return ipaddress.ip_address(door.getsockname()[0].partition("%")[0]).is_loopback


def _token(options: ServeOptions, own: bool) -> str:
    """The token that was given; raises VprError where one is needed, and for one that is easily guessed."""
    token = options.token or os.environ.get(TOKEN, "")
    if not token and not own:
        raise VprError(f"--host {options.host} is open to other machines; set {TOKEN} to a token, made by {MAKE_ONE}")
    if token and (len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token):
        raise VprError(f"a token has {SHORTEST_TOKEN} letters or more, without spaces; make one by {MAKE_ONE}")
    return token


def _server(options: ServeOptions, limits: Limits, config: LocateConfig, known: tuple[str, str]) -> Any:
    """The server, ready to run; ``known`` are the token and the name of the host."""
    try:
        for package in PACKAGES:
            importlib.import_module(package)
    except ImportError as error:
        raise VprError(f"{error.name} is not installed, which serving needs: {install_extra('serve')}") from None
    import uvicorn

    from vpr.maps.model import load
    from vpr.maps.photo_map import Map
    from vpr.serving.app import create_app
    from vpr.serving.guards import LOOPBACK, Access
    from vpr.serving.served import ServedMap, warm

    token, name = known
    photo_map = Map.open(options.map, load(options.run, options.device) if options.run else None, options.device)
    warm(photo_map)
    served = ServedMap(photo_map, options.device, bool(options.run))
    app = create_app(served, config, limits, Access(token, (*LOOPBACK, name)))
    return uvicorn.Server(
        uvicorn.Config(
            app, loop="asyncio", http="h11", ws="none", lifespan="on", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=LAST_ANSWERS_S,
        )
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
