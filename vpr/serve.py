"""``python -m vpr.serve MAP``: an HTTP service that locates photos on a map, with a page to drop photos on."""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpr.base.command import printable, run_command
from vpr.base.errors import VprError
from vpr.base.machine import Device
from vpr.base.packages import install_extra
from vpr.base.photo_files import MOST_PIXELS
from vpr.base.settings import NonNegativeInt, option, positional
from vpr.maps.options import LocateConfig
from vpr.models.settings import RUN, TRUST
from vpr.serving.limits import TOKEN, Limits

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")  # of the extra ``serve``
SHORTEST_TOKEN = 16  # characters
MOST_PORTS = 65535
MAKE_TOKEN = 'python -c "import secrets; print(secrets.token_urlsafe())"'


@dataclass(frozen=True)
class ServeOptions:
    """Map and service."""

    map: Path = positional("folder of a map made by vpr.map", "MAP")
    host: str = option(
        "127.0.0.1", "host name or address to listen on; an address that other machines can reach needs a token"
    )
    port: NonNegativeInt = option(8000, "port to listen on; 0 takes a free port")
    token: str = option(
        "", f"token that clients must send; safer in the environment variable {TOKEN}, which other users cannot see"
    )
    run: str = option("", f"{RUN}; default: the map's model")
    trust: bool = option(False, TRUST)
    device: Device = option("auto", "device to compute on")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    about = "Serves a map over HTTP: POST a photo to get where it was taken, or drop photos on a page."
    return run_command("vpr.serve", about, [ServeOptions, Limits, LocateConfig], _work, argv, serves=True)


def _work(options: ServeOptions, limits: Limits, config: LocateConfig) -> None:
    from vpr.maps.store import State

    _check(limits, config)
    State.of(options.map)  # raises if there is no map
    listener, host = _bind(options.host, options.port)
    with listener:
        token = _token(options, _is_loopback(listener))
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"

        def announce() -> None:
            listener.listen()
            print(printable(f"{options.map} is served at {address}; Ctrl-C ends it"), flush=True)

        _server(options, limits, config, token, host, announce).run(sockets=[listener])


def _check(limits: Limits, config: LocateConfig) -> None:
    if config.sequence:
        remedy = "leave --sequence out, and send each frame of a drive to /locate?drive=NAME"
        raise VprError("vpr.serve gets photos one by one", thing="--sequence", remedy=remedy)
    if limits.max_pixels > MOST_PIXELS:
        problem = f"photos of more than {MOST_PIXELS} pixels cannot be opened"
        raise VprError(problem, thing="--max-pixels", remedy="give --max-pixels a smaller number")
    if limits.max_bytes < 1:
        raise VprError("--max-mb is less than a byte", thing="--max-mb", remedy="give more")


def _bind(host: str, port: int) -> tuple[socket.socket, str]:
    """A socket bound to a host and port, and the host's name in lower case.

    Raises VprError if the host is unknown, or the port is taken.
    """
    if not host:
        raise VprError("--host is empty", thing="--host", remedy="leave it out, or name one")
    if port > MOST_PORTS:
        raise VprError(f"--port: {port} is out of range, give a value from 0 to {MOST_PORTS}", thing="--port")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)  # asyncio sends at once if the protocol is TCP, not 0
    except (OSError, UnicodeError) as error:
        remedy = "name an address of this machine, such as 127.0.0.1"
        raise VprError(f"no host {host} ({error})", thing="--host", remedy=remedy) from None
    try:
        if os.name == "posix":  # on other systems two services could share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        reason = str(error.strerror).lower()
        problem = f"cannot listen on {host}, port {port} ({reason})"
        raise VprError(problem, thing="--port", remedy="give another --port or --host") from None
    return listener, host.lower()


def _is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _token(options: ServeOptions, is_loopback: bool) -> str:
    """The token, or an empty string; raises VprError if a token is needed and missing, or easy to guess."""
    token = options.token or os.environ.get(TOKEN, "")
    if not token and not is_loopback:
        remedy = f"set {TOKEN} to a token, made by {MAKE_TOKEN}"
        raise VprError(f"--host {options.host} is open to other machines", thing="--host", remedy=remedy)
    if token and (len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token):
        problem = f"a token needs {SHORTEST_TOKEN} or more characters, printable ASCII without spaces"
        raise VprError(problem, thing=TOKEN, remedy=f"make one by {MAKE_TOKEN}")
    return token


def _server(
    options: ServeOptions, limits: Limits, config: LocateConfig, token: str, host: str, announce: Callable[[], None]
) -> Any:
    """The server, ready to run; `run` raises VprError if the service cannot start.

    host: an additional host name that requests may use. announce: called when the service has started.
    """
    try:
        for package in PACKAGES:
            importlib.import_module(package)
    except ImportError as error:
        raise VprError(f"{error.name} is not installed, and the service needs it: {install_extra('serve')}") from None
    from vpr.maps.photo_map import Map
    from vpr.run import load
    from vpr.serving.app import create_app
    from vpr.serving.connections import make_server
    from vpr.serving.guards import LOOPBACK, Access
    from vpr.serving.served import ServedMap, warm_up

    model = load(options.run, options.device, trust=options.trust) if options.run else None
    photo_map = Map.open(options.map, model, options.device, options.trust)
    photo_map.place_for(config)  # raises if the map has named places and --place is given
    warm_up(photo_map)
    served = ServedMap(photo_map, options.device, bool(options.run), options.trust)
    app = create_app(served, config, limits, Access(token, (*LOOPBACK, host)))

    async def prepare() -> None:
        await app.state.service.start()
        announce()

    return make_server(app, limits, prepare)


if __name__ == "__main__":
    sys.exit(main())
