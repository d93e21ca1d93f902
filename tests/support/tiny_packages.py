"""Packages with small random pictures in place of the photographs of the catalogue."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.datasets.photographed.catalogue import ATLAS_SIZE, FLIGHTGEAR, TORCS, UFOAI, entries
from vpr.datasets.photographed.packages import copyright_path

COPYRIGHT = "Files: *\nLicense: GPL-2+\n\nFiles:\n base/textures/tex_ctp1/*\n data/tracks/dirt/*\nLicense: CC0\n text\n"


def picture(path: str, rng: np.random.Generator) -> bytes:
    """A random picture; those of trees and people have a hole."""
    wide, high = (16, ATLAS_SIZE[1] // 16) if "atlas_facades" in path else (16, 16)
    pixels = rng.integers(0, 256, (high, wide, 4), np.uint8)
    pixels[..., 3] = 255
    if "/Trees/" in path or "tree" in path:
        pixels[::4, ::4, 3] = 0
    out = io.BytesIO()
    Image.fromarray(pixels if path.endswith(".png") else pixels[..., :3]).save(out, "PNG")
    return out.getvalue()


def write_packages(folder: Path, packages: tuple[str, ...] = (FLIGHTGEAR, TORCS, UFOAI)) -> None:
    """Write the tree of these packages, as if they were unpacked."""
    rng, packs = np.random.default_rng(0), dict[str, dict[str, bytes]]()
    for package in packages:
        paths = {p for entry in entries() if entry.package == package for p in (entry.path, entry.lights) if p}
        for path in sorted(paths):
            outer, _, inner = path.partition("!")
            if inner:
                packs.setdefault(outer, {})[inner] = picture(path, rng)
            else:
                write(folder / path, picture(path, rng))
        write(folder / copyright_path(package), COPYRIGHT.encode())
    for outer, content in packs.items():
        pack = io.BytesIO()
        with zipfile.ZipFile(pack, "w") as archive:
            for inner, data in content.items():
                archive.writestr(inner, data)
        write(folder / outer, pack.getvalue())


def write(path: Path, data: bytes) -> None:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_deb(tree: Path, target: Path) -> None:
    """Pack a tree as the .deb file of a package."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz", preset=0) as tar:
        tar.add(tree, ".")
    parts = (("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data.getvalue()))
    content = b"!<arch>\n"
    for name, part in parts:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n"
        content += header.encode() + part + b"\n" * (len(part) % 2)
    target.write_bytes(content)
