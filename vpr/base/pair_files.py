"""Lists of pairs of photos: a line has two names with a space between them, relative to the folder of the photos.

hloc reads them as ``pairs.txt`` (`parse_retrieval` of hloc/utils/parsers.py), COLMAP as the ``match_list_path`` of
``matches_importer`` with the ``match_type`` pairs (`ReadImagePairsText` of its feature/pairing.cc, and "Custom
Matching" in its tutorial). COLMAP splits a line at spaces, skips empty lines and lines that begin with #, and reports a
name that its database lacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.files import is_utf8, replace_file


def check_pair_names(path: Path, names: Iterable[str]) -> None:
    """Raise VprError for the name of a photo that a list of pairs cannot have: white space separates two names, and
    COLMAP skips lines that begin with #."""
    for name in names:
        if name.split() != [name] or name.startswith("#") or not is_utf8(name):
            raise VprError(f"{path}: photo {name!r} cannot be written into a list of pairs", thing=path,
                           remedy="rename it, without white space and without # at its beginning")  # fmt: skip


def write_pairs(path: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Write a line for each pair of names, atomically; names as `check_pair_names` allows them."""
    with replace_file(path) as temporary:
        temporary.write_text("".join(f"{first} {second}\n" for first, second in pairs), encoding="utf-8")
