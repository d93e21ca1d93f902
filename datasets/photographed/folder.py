"""A folder of textures: all texels in one file, which rendering processes share, and a table of what they show."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from vpr.base.files import file_digest, replace_file, write_json
from vpr.base.progress import progress
from vpr.datasets.errors import DatasetError
from vpr.datasets.photographed.catalogue import FLIGHTGEAR, KINDS, PACKAGES, STOREY_M, Entry, entries
from vpr.datasets.photographed.packages import Packages, copyright_path, licence_of
from vpr.datasets.photographed.pictures import Pictures, levels_of, texture_of

log = logging.getLogger("vpr")
TABLE, TEXELS = "textures.json", "texels.npy"
CC0 = "CC0-1.0"  # of Blender's skies, by license.txt beside them


@dataclass(frozen=True)
class Texture:
    """One texture of a folder."""

    kind: str
    package: str
    path: str
    licence: str
    starts: list[int]  # number of the first texel of each level
    sizes: list[tuple[int, int]]  # width and height of each level
    width_m: float
    height_m: float
    storeys: int
    mean: list[float]  # linear RGB of the opaque part


@dataclass(frozen=True, eq=False)
class Textures:
    """The textures of a folder."""

    texels: np.ndarray  # (N, 4) uint8
    table: list[Texture]
    digest: str  # of all that pictures depend on

    @cached_property
    def _by_kind(self) -> dict[str, list[int]]:
        return {kind: [number for number, one in enumerate(self.table) if one.kind == kind] for kind in KINDS}

    def of_kind(self, *kinds: str) -> list[int]:
        """The numbers of the textures of these kinds."""
        return [number for kind in kinds for number in self._by_kind[kind]]


def write_textures(source: Packages, out: Path) -> list[Texture]:
    """Read the packages that are there, and write the folder; return its table.

    Raises DatasetError if the package of facades is missing, one is damaged, or the folder holds other files.
    """
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {TABLE, TEXELS}):
        raise DatasetError(f"{out} holds other files", thing=out, remedy="choose an empty or new folder for --out")
    if not source.has(FLIGHTGEAR):
        raise DatasetError(
            f"{source.folder} lacks {FLIGHTGEAR}, which has the facades",
            thing=FLIGHTGEAR,
            remedy=f"run apt-get download {FLIGHTGEAR} there",
        )
    parts: list[np.ndarray] = []
    table: list[Texture] = []
    there = [package for package in PACKAGES if source.has(package)]
    if lacking := [package for package in PACKAGES if package not in there]:
        log.warning("without %s: what they show is drawn", ", ".join(lacking))
    with progress(total=len(there), unit="package", title="reading packages") as bar:
        for package in there:
            chosen = [entry for entry in entries() if entry.package == package]
            paths = {path for entry in chosen for path in (entry.path, entry.lights) if path}
            files = source.read(package, {*paths, copyright_path(package)})
            statement = files[copyright_path(package)].decode("utf-8", "replace")
            pictures, start = Pictures(package, files), sum(map(len, parts))
            for entry in chosen:
                levels = levels_of(texture_of(entry, pictures))
                table.append(_describe(entry, levels, start, licence_of(statement, entry.path)))
                parts += [level.reshape(-1, 4) for level in levels]
                start += sum(len(part) for part in parts[-len(levels) :])
            bar.update()
    out.mkdir(parents=True, exist_ok=True)
    with replace_file(out / TEXELS) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(parts))
    write_json(out / TABLE, {"texels": file_digest(out / TEXELS), "textures": [asdict(texture) for texture in table]})
    return table


def _describe(entry: Entry, levels: list[np.ndarray], start: int, licence: str) -> Texture:
    counts = [level.shape[0] * level.shape[1] for level in levels]
    starts = [start + sum(counts[:number]) for number in range(len(counts))]
    high, wide = levels[0].shape[:2]
    opaque = levels[0][levels[0][..., 3] > 127] if entry.kind != "facade" else levels[0].reshape(-1, 4)
    mean = (((opaque[:, :3] / 255.0) ** 2).mean(axis=0)).round(5).tolist()
    height = entry.storeys * STOREY_M if entry.storeys else 0.0
    width = entry.width_m or height * wide / high
    return Texture(
        entry.kind, entry.package, entry.path, CC0 if entry.path.endswith(".exr") else licence, starts,
        [(level.shape[1], level.shape[0]) for level in levels], round(width, 3),
        round(height or width * high / wide, 3), entry.storeys, mean,
    )  # fmt: skip


@lru_cache(maxsize=1)
def read_textures(folder: Path) -> Textures:
    """The textures of a folder, mapped into memory.

    Raises DatasetError if it holds none, they are damaged, or the texels are not those that the table was written for.
    """
    try:
        content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        table = [Texture(**row) for row in content["textures"]]
        if file_digest(folder / TEXELS) != content["texels"]:
            raise ValueError(f"{TEXELS} was changed or cut: its digest is not that of {TABLE}")
        texels = np.asarray(np.load(folder / TEXELS, mmap_mode="r"))
        last = max(texture.starts[-1] + texture.sizes[-1][0] * texture.sizes[-1][1] for texture in table)
        if texels.dtype != np.uint8 or texels.shape[1:] != (4,) or last > len(texels):
            raise ValueError("the texels are of another folder")
        if unknown := {texture.kind for texture in table} - {*KINDS}:
            raise ValueError(f"unknown kind {sorted(unknown)[0]}")
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{folder} has no textures that can be read ({error})",
            thing=folder,
            remedy="write them with python -m datasets.textures --packages DIR --out FOLDER",
        ) from error
    return Textures(texels, table, digest)
