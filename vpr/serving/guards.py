"""Who may ask: the token, the name of the host, pages of other sites; and headers that keep a browser careful."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vpr.serving.limits import Refused

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # names by which this machine is asked
PUBLIC = ("/health",)  # what answers without a token, and says little
READING = ("GET", "HEAD")
CAREFUL = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may ask. Without a token everybody who reaches the service, by one of the names of the host."""

    token: str = ""
    hosts: tuple[str, ...] = LOOPBACK

    def known(self, headers: Headers) -> bool:
        """Whether a request carries the token, as ``Bearer`` or as the password of ``Basic``; true without a token."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, ValueError):
                given = ""
        elif kind.lower() != "bearer":
            given = ""
        return not self.token or secrets.compare_digest(given.strip().encode(), self.token.encode())

    def require(self, method: str, path: str, headers: Headers) -> None:
        """Raise Refused where a request may not be answered.

        A name that is none of the host's is what a page of another site uses that has its own name point at this
        machine. ``Origin`` names the page that a browser sends a form for.
        """
        host = headers.get("host", "")
        if not self.token and _name(f"//{host}") not in self.hosts:
            raise Refused(421, "the service does not answer to this name of the host; ask by its address")
        if path not in PUBLIC and not self.known(headers):
            raise Refused(401, "the token is missing or wrong; send it as 'Authorization: Bearer TOKEN'")
        origin = headers.get("origin")
        if method not in READING and origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "a page of another site may not send photos here")


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def said(refused: Refused) -> Response:
    """A refusal as a response."""
    more = {401: {"WWW-Authenticate": 'Basic realm="vpr", charset="UTF-8"'}, 503: {"Retry-After": "2"}}
    return as_json({"error": refused.said}, refused.status, more.get(refused.status))


def as_json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON in ASCII, since names may hold what UTF-8 cannot."""
    return Response(json.dumps(content), status, headers, "application/json")


class Guard:
    """An application behind `Access`, with `CAREFUL` headers where it sets none of that name."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def carefully(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in CAREFUL.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self.access.require(scope["method"], scope["path"], Headers(scope=scope))
        except Refused as refused:
            return await said(refused)(scope, receive, carefully)
        await self.app(scope, receive, carefully)
