"""HTML pages from Jinja2 templates, with autoescaping."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from vpr.base.command import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> Environment:
    """The templates in a package's folder ``templates``, and ``head.html``, which all pages include.

    ``head.html`` needs ``title`` and ``css``; ``policy`` and ``nonce`` are optional. An undefined name is an error.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("vpr.base")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_escape_control,
    )  # fmt: skip


def asset(package: str, name: str) -> str:
    """The text of a file in a package's folder ``templates``, such as a style sheet."""
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


def style(package: str, name: str) -> str:
    """The common style sheet (colours, light and dark, fonts), followed by the package's own."""
    return asset("vpr.base", "house.css") + asset(package, name)


def _escape_control(value: Any) -> Any:
    """Text with control characters and changes of text direction as escape codes; other values unchanged."""
    from markupsafe import Markup

    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
