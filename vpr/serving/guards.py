"""Access control: the token, the Host and Origin headers; and security headers of the answers."""

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

LOOPBACK = ("localhost", "127.0.0.1", "::1")  # host names of this machine
PUBLIC = ("/health",)  # addresses without a token; they reveal little
READING = ("GET", "HEAD")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Who may use the service. Without a token: everybody who can reach it by one of the host names."""

    token: str = ""
    hosts: tuple[str, ...] = LOOPBACK

    def is_authorised(self, headers: Headers) -> bool:
        """Whether a request has the token, as ``Bearer`` or as the password of ``Basic``; true if none is set."""
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
        """Raise Refused if a request is not allowed.

        Without a token, unknown ``Host`` headers are rejected, to prevent DNS rebinding. Requests that a browser sends
        for a page of another site are recognised by their ``Origin`` header.
        """
        host = headers.get("host", "")
        if not self.token and _name(f"//{host}") not in self.hosts:
            raise Refused(421, "unknown host name; use the address of the service")
        if path not in PUBLIC and not self.is_authorised(headers):
            raise Refused(401, "the token is missing or wrong; send it as 'Authorization: Bearer TOKEN'")
        origin = headers.get("origin")
        if method not in READING and origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "pages of other sites may not send photos to this service")


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def refusal_response(refused: Refused) -> Response:
    """The HTTP response of a refusal."""
    headers = {401: {"WWW-Authenticate": 'Basic realm="vpr", charset="UTF-8"'}, 503: {"Retry-After": "2"}}
    return json_response({"error": str(refused)}, refused.status, headers.get(refused.status))


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response in ASCII, because file names may not be valid UTF-8."""
    return Response(json.dumps(content), status, headers, "application/json")


class Guard:
    """ASGI middleware: checks `Access`, and adds `SECURITY_HEADERS` that the application does not set."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            self.access.require(scope["method"], path, Headers(scope=scope))
        except Refused as refused:
            return await refusal_response(refused)(scope, receive, send_with_headers)
        await self.app(scope, receive, send_with_headers)
