"""Photo files in folders. A file is a photo by its extension; its format is recognised by its first bytes.

Hidden files of operating systems and programs are not photos: trash, thumbnails, older copies. All commands use these
lists.
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
HIDDEN_NAMES = (
    "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@tmp", "@synoresource", "#recycle", "#snapshot",
    "$recycle.bin", "recycler", "__macosx", "lost+found", "system volume information", "temporary items",
    "network trash folder", "thumbs.db", "ehthumbs.db", "desktop.ini",
)  # fmt: skip
HEAD = 64  # bytes at the start of a file by which its format is recognised
MOST_PIXELS = 178_956_970  # Pillow's limit for an image; larger JPEGs are shrunk by their decoder
WHITE_SPACE = string.whitespace  # around names in lists: ASCII only, because a name may begin or end with other kinds
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"miaf")
AVIF_BRANDS = (b"avif", b"avis")
SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG2000"), (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"), (b"BM", "BMP"),
    (b"II\0*", "TIFF"), (b"MM*\0", "TIFF"),  # not by the standard, but Pillow opens them
)  # fmt: skip
# Formats of photos without an extension; not TIFF, because raw photos are TIFF.
PHOTO_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "JPEG2000", "HEIF", "AVIF")


def format_of(head: bytes) -> str | None:
    r"""The format of a file by its first `HEAD` bytes, with Pillow's name; None for an unknown format.

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
    return next((name for start, name in SIGNATURES if head.startswith(start)), None)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or kept by an operating system or program for itself.

    >>> [is_hidden(name) for name in ("@eaDir", ".Trash-1000", "._a.jpg", "__MACOSX", "a.jpg", "@1@2@.jpg")]
    [True, True, True, True, False, False]
    """
    return name.startswith(".") or name.lower() in HIDDEN_NAMES


def walk_files(place: Path, on_error: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """The files of a folder and its subfolders, in the order of `walk_folders`."""
    for folder, names in walk_folders(place, on_error):
        yield from (Path(folder, name) for name in names)


def walk_folders(place: Path, on_error: Callable[[OSError], object] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A folder and its subfolders, each with the names of its files, sorted. Links to folders are followed, each once.

    Hidden files and folders are left out, but the folder itself may be hidden. on_error: called with the error of a
    folder that cannot be read; it is left out.
    """
    visited = set[tuple[int, int]]()
    for folder, below, names in os.walk(place, onerror=on_error, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:
            below.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not is_hidden(name))
        yield folder, sorted(name for name in names if not is_hidden(name))


def is_photo(path: Path) -> bool:
    """Whether a file is a photo: by its extension, or if it has none, by its first bytes."""
    ending = path.suffix.lower()
    if ending in ENDINGS:
        return path.is_file()
    return not ending and path.is_file() and _file_format(path) in PHOTO_FORMATS


def _file_format(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return format_of(file.read(HEAD))
    except OSError:
        return None


def sort_files(place: Path) -> tuple[list[Path], Counter[str]]:
    """The photos of a folder and its subfolders, sorted, and the number of other files by extension."""
    photos, others = [], Counter[str]()
    for path in walk_files(place, lambda error: others.update(["folder that may not be read"])):
        if is_photo(path):
            photos.append(path)
        else:
            others[path.suffix.lower() or "without an ending"] += 1
    return sorted(photos), others


def skipped_text(others: Counter[str]) -> str:
    """The text for the log about files that are not photos.

    >>> skipped_text(Counter({".xmp": 2, ".dng": 1}))
    '3 other files are skipped (2 .xmp, 1 .dng)'
    """
    most = others.most_common()
    examples = ", ".join(f"{count} {ending}" for ending, count in most[:4]) + (", ..." if len(most) > 4 else "")
    files = "other file is" if others.total() == 1 else "other files are"
    return f"{others.total()} {files} skipped ({examples})"
