"""Files of Debian packages: from .deb files, or from the folder that they were unpacked into; and their licences."""

from __future__ import annotations

import fnmatch
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vpr.datasets.errors import DatasetError

MAGIC, HEADER = b"!<arch>\n", 60  # of the archive that a .deb file is
READ_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, RuntimeError,
)  # fmt: skip
UNPACK = "unpack it with dpkg-deb -x FILE FOLDER and name the folder"


@dataclass(frozen=True)
class Packages:
    """A folder with .deb files, or with the tree of unpacked packages (usr/share/...)."""

    folder: Path

    def __post_init__(self) -> None:
        """Raises DatasetError if there is no such folder."""
        if not self.folder.is_dir():
            raise DatasetError(f"{self.folder} is no folder of Debian packages; apt-get download PACKAGE fetches one")

    def archive(self, package: str) -> Path | None:
        """The .deb file of a package, or None; of several the last by name."""
        found = sorted(self.folder.glob(f"{package}_*.deb"))
        return found[-1] if found else None

    def has(self, package: str) -> bool:
        """Whether the package is there."""
        return self.archive(package) is not None or self._copyright(package).is_file()

    def _copyright(self, package: str) -> Path:
        return self.folder / copyright_path(package)

    def read(self, package: str, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of files of a package by path; a path of a zip file of the package follows "!".

        Raises DatasetError if the package is damaged or lacks one of them.
        """
        wanted = set(paths)
        outer = {path.partition("!")[0] for path in wanted}
        archive = self.archive(package)
        found = _read_archive(archive, outer) if archive else _read_tree(self.folder, outer)
        for name in {path for path in wanted if "!" in path}:
            container, _, inner = name.partition("!")
            if container in found:
                with _damage_named(container), zipfile.ZipFile(io.BytesIO(found[container])) as pack:
                    if inner in pack.namelist():
                        found[name] = pack.read(inner)
        if missing := sorted(wanted - found.keys()):
            remedy = "take the package of Debian 12"
            raise DatasetError(f"{package} of {self.folder} lacks {missing[0]}", thing=missing[0], remedy=remedy)
        return {path: found[path] for path in wanted}


def copyright_path(package: str) -> str:
    """Where a package states its licences."""
    return f"usr/share/doc/{package}/copyright"


@contextmanager
def _damage_named(name: object) -> Iterator[None]:
    """Turn the errors of a damaged archive into one that names it."""
    try:
        yield
    except DatasetError:
        raise
    except READ_ERRORS as error:
        raise DatasetError(f"{name} cannot be read ({error}); download it again") from error


def _read_tree(folder: Path, paths: set[str]) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in paths if (folder / path).is_file()}


def _read_archive(archive: Path, paths: set[str]) -> dict[str, bytes]:
    """Files of a .deb file. It is read once from its start, until all are found."""
    found: dict[str, bytes] = {}
    with _damage_named(archive), archive.open("rb") as file:
        name = _seek_data(file, archive)
        if not name.endswith((".xz", ".gz", ".tar")):
            raise DatasetError(f"{archive} is packed as {name}, which is not read here", thing=archive, remedy=UNPACK)
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                path = member.name.removeprefix("./")
                if path in paths and (content := tar.extractfile(member)) is not None:
                    found[path] = content.read()
                    if len(found) == len(paths):
                        break
    return found


def _seek_data(file: BinaryIO, archive: Path) -> str:
    """Seek the packed files of a .deb file; return their name in it."""
    if file.read(len(MAGIC)) != MAGIC:
        raise DatasetError(f"{archive} is no Debian package; download it again")
    while header := file.read(HEADER):
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        if name.startswith("data.tar"):
            return name
        file.seek(size + size % 2, io.SEEK_CUR)
    raise DatasetError(f"{archive} holds no files; download it again")


def licence_of(copyright_file: str, path: str) -> str:
    """The licence that a Debian copyright file (format 1.0) states for a file of its package; "" if it states none.

    The last paragraph that names the file counts. Its paths are those of the sources, so ends of paths are compared.
    """
    licence = ""
    for paragraph in copyright_file.split("\n\n"):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in paragraph.splitlines():
            if line[:1] not in (" ", "\t", "") and ":" in line:
                name, _, value = line.partition(":")
                fields[name] = [value]
            elif name:
                fields[name].append(line)
        if "Files" in fields and any(_names(pattern, path) for pattern in " ".join(fields["Files"]).split()):
            licence = fields.get("License", [""])[0].strip() or licence
    return licence


def _names(pattern: str, path: str) -> bool:
    """Whether a pattern of a copyright file names an installed file."""
    inner = path.rpartition("!")[2]
    pattern = pattern.removeprefix("data/").removeprefix("base/")
    return fnmatch.fnmatchcase(inner, pattern) or fnmatch.fnmatchcase(inner, f"*/{pattern}")
