"""The models that ``--run`` names without a run folder: published models, entries of torch.hub, networks of timm.

    megaloc                     a published model, see vpr/models/published
    megaloc:FOLDER              its code from a folder, or from OWNER/REPO[:REF]
    hub:OWNER/REPO[:REF]:ENTRY  any entry of a hubconf.py, or hub:FOLDER:ENTRY
    timm:NAME[:FILE]            a network of timm without training, with the weights of timm or of a file

Each may end in ``@SIZE`` or ``@SIZExGRID``: the height and width of the input, pixels, and the patch descriptors per
side. All of the model is in its name, so that a map or a table that records the name can open the model again.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vpr.base.errors import VprError
from vpr.base.run_folder import INPUT_FORM
from vpr.models.published.registry import ADAPTERS

HUB, TIMM = "hub:", "timm:"
HF_HUB = "hf-hub:"  # timm's name for networks on Hugging Face
MOST_PIXELS, MOST_GRID = 4096, 64  # of an input's side, and patches per side
Kind = Literal["published", "hub", "timm"]


@dataclass(frozen=True)
class ModelName:
    """A parsed name."""

    kind: Kind
    name: str  # of the published model or of the timm network; the entry of hub:
    where: str = ""  # folder or OWNER/REPO[:REF] of the code, or file of the weights; empty for the default
    size: int = 0  # height and width of the input, pixels; 0 for the default
    grid: int = 0  # patch descriptors per side; 0 for the default

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """The inverse of `str`. Raises VprError for a name that is incomplete, or out of range.

        >>> ModelName.parse("megaloc@224x8")
        ModelName(kind='published', name='megaloc', where='', size=224, grid=8)
        >>> ModelName.parse("hub:owner/repo:main:net").where, ModelName.parse("timm:hf-hub:a/b:w.pth").name
        ('owner/repo:main', 'hf-hub:a/b')
        """
        bare, size, grid = split_form(text)
        if bare.startswith(HUB):
            where, _, entry = bare.removeprefix(HUB).rpartition(":")
            if not where or not entry:
                remedy = f"pass {HUB}OWNER/REPO:ENTRY, where ENTRY is a function in hubconf.py"
                raise VprError(f"{text} names no model", thing=text, remedy=remedy)
            return cls("hub", entry, _absolute(where), size, grid)
        if bare.startswith(TIMM):
            bare = bare.removeprefix(TIMM)
            prefix = HF_HUB if bare.startswith(HF_HUB) else ""
            name, _, file = bare.removeprefix(prefix).partition(":")
            if not name:
                raise VprError(f"{text} names no network", thing=text, remedy=f"pass {TIMM}NAME or {TIMM}NAME:FILE")
            return cls("timm", prefix + name, os.path.abspath(file) if file else "", size, grid)
        name, _, where = bare.partition(":")
        if name not in ADAPTERS:
            close = difflib.get_close_matches(name, ADAPTERS, 3, 0.5)
            remedy = f"similar names: {', '.join(close)}" if close else f"known are {', '.join(ADAPTERS)}"
            raise VprError(f"there is no published model {name}", thing=text, remedy=remedy)
        return cls("published", name, _absolute(where) if where else "", size, grid)

    def __str__(self) -> str:
        """The name with absolute paths, so that it means the same in every folder."""
        if self.kind == "hub":
            text = f"{HUB}{self.where}:{self.name}"
        else:
            text = f"{TIMM if self.kind == 'timm' else ''}{self.name}{':' if self.where else ''}{self.where}"
        return text + form_text(self.size, self.grid)


def split_form(text: str) -> tuple[str, int, int]:
    """A name without its ``@SIZExGRID``, the size and the grid; 0 for what is not given. Raises VprError out of range.

    >>> split_form("builtin@224x14"), split_form("builtin@224"), split_form("builtin")
    (('builtin', 224, 14), ('builtin', 224, 0), ('builtin', 0, 0))
    """
    form = INPUT_FORM.search(text)
    if form is None:
        return text, 0, 0
    size, grid = (int(number or 0) for number in form.groups())
    if not (0 < size <= MOST_PIXELS and (form[2] is None or 0 < grid <= MOST_GRID)):
        remedy = f"give @SIZE or @SIZExGRID, at most @{MOST_PIXELS}x{MOST_GRID}"
        raise VprError(f"{text} is out of range", thing=text, remedy=remedy)
    return text[: form.start()], size, grid


def form_text(size: int, grid: int) -> str:
    """The inverse of `split_form`, without the name.

    >>> form_text(224, 14), form_text(224, 0), form_text(0, 0)
    ('@224x14', '@224', '')
    """
    return (f"@{size}" if size else "") + (f"x{grid}" if grid else "")


def is_model_name(run: str | Path) -> bool:
    """Whether ``--run`` names a model, and no run folder. Such a name goes before a folder of the same name.

    >>> [is_model_name(run) for run in ("megaloc", "boq:folder@224", "timm:resnet18", "runs/megaloc", "builtin")]
    [True, True, True, False, False]
    """
    text = str(run)
    return text.startswith((HUB, TIMM)) or INPUT_FORM.sub("", text).partition(":")[0] in ADAPTERS


def similar_names(run: str | Path) -> list[str]:
    """Published models that a name, which is none of them, may have meant; empty for a path.

    >>> similar_names("megalok@224"), similar_names("runs/megalok")
    (['megaloc'], [])
    """
    bare = INPUT_FORM.sub("", str(run)).partition(":")[0]
    return [] if os.sep in bare else difflib.get_close_matches(bare, ADAPTERS, 3, 0.8)


def _absolute(where: str) -> str:
    """A folder by its absolute path; a repository as it is."""
    return os.path.abspath(where) if Path(where).is_dir() else where
