"""Which files of a folder are photos: by their endings. What their first bytes are says how they are decoded.

What systems and programs keep beside photos is no photo: trash, thumbnails, older copies. All commands share the list.
"""

from __future__ import annotations

import os
import string
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

ENDINGS = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".jp2", ".heic", ".heif",
    ".jpe", ".jfif", ".jif", ".mpo", ".gif", ".avif", ".hif", ".heics", ".heifs", ".avifs",
    ".jpf", ".jpx", ".j2k", ".j2c", ".jpc", ".apng", ".dib", ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
HIDDEN = (
    "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@tmp", "@synoresource", "#recycle", "#snapshot",
    "$recycle.bin", "recycler", "__macosx", "lost+found", "system volume information", "temporary items",
    "network trash folder", "thumbs.db", "ehthumbs.db", "desktop.ini",
)  # fmt: skip
HEAD = 64  # bytes of a file that tell its format
MOST_PIXELS = 178_956_970  # of a photo. Pillow opens no larger one. The decoder of JPEG shrinks larger ones
BLANK = string.whitespace  # white space around names in lists, that of ASCII; a name may begin and end with other kinds
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"miaf")
AVIF_BRANDS = (b"avif", b"avis")
STARTS = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG2000"), (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"), (b"BM", "BMP"),
)  # fmt: skip
PLAIN = ("JPEG", "PNG", "GIF", "WEBP", "JPEG2000", "HEIF", "AVIF")  # of files without an ending; raw photos are TIFF


def format_of(head: bytes) -> str | None:
    r"""The format that the first `HEAD` bytes of a file are of, as Pillow calls it; None for any other.

    >>> format_of(b"\xff\xd8\xff\xe0"), format_of(b"\0\0\0\x18ftypheic\0\0\0\0"), format_of(b"text")
    ('JPEG', 'HEIF', None)
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))]
        if any(brand in AVIF_BRANDS for brand in brands):
            return "AVIF"
        return "HEIF" if any(brand in HEIF_BRANDS for brand in brands) else None
    return next((name for start, name in STARTS if head.startswith(start)), None)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is one that systems and programs keep for themselves.

    >>> [is_hidden(name) for name in ("@eaDir", ".Trash-1000", "._a.jpg", "__MACOSX", "a.jpg", "@1@2@.jpg")]
    [True, True, True, True, False, False]
    """
    return name.startswith(".") or name.lower() in HIDDEN


def files_in(place: Path, missed: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """The files of a folder and of those in it, and of folders that links lead to, each of which is visited once; in
    the order of names. What is hidden is left out; the folder itself may be hidden.

    missed: called with the error of a folder that may not be read, which is left out.
    """
    visited = set[tuple[int, int]]()
    for folder, below, names in os.walk(place, onerror=missed, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            below.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not is_hidden(name))
        yield from (Path(folder, name) for name in sorted(names) if not is_hidden(name))


def is_photo(path: Path) -> bool:
    """Whether a file is a photo by its ending, or, where it has none, by its first bytes."""
    ending = path.suffix.lower()
    if ending in ENDINGS:
        return path.is_file()
    return not ending and path.is_file() and _format_in(path) in PLAIN


def _format_in(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return format_of(file.read(HEAD))
    except OSError:
        return None


def photos_and_others(place: Path) -> tuple[list[Path], Counter[str]]:
    """The photos of a folder and of those in it, sorted, and how many other files it has, by ending."""
    photos, others = [], Counter[str]()
    for path in files_in(place, lambda error: others.update(["folder that may not be read"])):
        if is_photo(path):
            photos.append(path)
        else:
            others[path.suffix.lower() or "without an ending"] += 1
    return sorted(photos), others


def passed_over(others: Counter[str]) -> str:
    """What is said of files that are no photos.

    >>> passed_over(Counter({".xmp": 2, ".dng": 1}))
    '3 other files are passed over (2 .xmp, 1 .dng)'
    """
    most = others.most_common()
    named = ", ".join(f"{count} {ending}" for ending, count in most[:4]) + (", ..." if len(most) > 4 else "")
    files = "other file is" if others.total() == 1 else "other files are"
    return f"{others.total()} {files} passed over ({named})"
