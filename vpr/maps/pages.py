"""HTML of located photos: pictures, tables, and a page that needs no other file."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vpr.base.errors import VprError
from vpr.description.shown import read_shown

SIDE = 220  # pixels of the longer side of a photo
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Located photos</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em}
section{border-top:1px solid #bbb;padding:1em 0}td,th{text-align:left;padding-right:1em}</style>
"""


def page(sections: Sequence[str], title: str, said: str) -> str:
    """A page with a heading, a line of text, and the given pieces of HTML."""
    parts = "".join(f"<section>{section}</section>\n" for section in sections)
    return f"{HEAD}<h1>{html.escape(title)}</h1><p>{html.escape(said)}</p>\n{parts}</html>\n"


def figure(path: str, title: str) -> str:
    """A photo and what is said of it; nothing for one that cannot be read."""
    try:
        shown = read_shown(Path(path), SIDE)
    except VprError:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    said = html.escape(title)
    return (
        f'<figure style="display:inline-block;margin:0 1em 0 0"><img alt="{said}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption><small>{said}</small></figcaption></figure>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; what its cells hold is escaped."""
    lines = [*([("th", head)]), *(("td", row) for row in rows)]
    cells = ("".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row) for tag, row in lines)
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in cells) + "</table>"
