"""The page to drop photos on. Its inline script and style carry a CSP nonce for each response."""

from __future__ import annotations

import functools
import secrets
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

from vpr.base.pages import asset, environment, style
from vpr.maps.photo_map import Map
from vpr.serving.limits import Limits
from vpr.serving.uploads import FIELD

if TYPE_CHECKING:
    from jinja2 import Template

POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@functools.cache
def _template() -> tuple[Template, dict[str, str]]:
    """The template, and the style and script that are inserted."""
    parts = {"css": style("vpr.serving", "page.css"), "js": asset("vpr.serving", "page.js")}
    return environment("vpr.serving").get_template("page.html"), parts


def page(photo_map: Map, limits: Limits) -> HTMLResponse:
    """The page of a map."""
    template, parts = _template()
    nonce = secrets.token_urlsafe(16)
    name = photo_map.folder.resolve().name
    text = template.render(
        title=f"Where was this taken? {name}", name=name, photos=len(photo_map), limits=limits, field=FIELD,
        nonce=nonce, **parts,
    )  # fmt: skip
    return HTMLResponse(text, headers={"Content-Security-Policy": POLICY.format(nonce)})
