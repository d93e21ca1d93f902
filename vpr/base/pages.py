"""Pages of HTML, filled in by Jinja2, which escapes what it is given."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from vpr.base.command import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str) -> Environment:
    """The templates of a package, in its folder ``templates``, and ``head.html`` of all pages, which wants ``title``
    and ``css``, and takes ``policy`` and ``nonce``. A name that a template lacks is an error."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("vpr.base")]),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_told,
    )  # fmt: skip


def asset(package: str, name: str) -> str:
    """The text of a file in a package's folder ``templates``, such as a style sheet."""
    return (resources.files(package) / "templates" / name).read_text(encoding="utf-8")


def style(package: str, name: str) -> str:
    """A package's style sheet, behind the one of the house: colours, light and dark, and the letters."""
    return asset("vpr.base", "house.css") + asset(package, name)


def _told(value: Any) -> Any:
    """Text as it may be shown: control characters, and those that turn the direction, by their codes."""
    from markupsafe import Markup

    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
