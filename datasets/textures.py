"""Textures for mini-MSLS from photographs in Debian packages.

python -m datasets.textures --packages DIR --out DIR
"""

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from vpr.base.command import run_command
from vpr.base.settings import option, output


@dataclass(frozen=True)
class TextureOptions:
    """Textures."""

    packages: Path = option(Path("packages"), "folder of .deb files, or of the tree that they were unpacked into")
    out: Path = output(Path("textures"), "folder of the textures", "folder")


def main(argv: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    meaning = "Make the textures of mini-MSLS with photographed surfaces from Debian packages."
    return run_command("datasets.textures", meaning, [TextureOptions], _work, argv)


def _work(options: TextureOptions) -> None:
    from vpr.datasets.photographed.folder import write_textures
    from vpr.datasets.photographed.packages import Packages

    table = write_textures(Packages(options.packages), options.out)
    for kind, count in Counter(texture.kind for texture in table).items():
        print(f"{kind:<12} {count:>5}")
    for (package, licence), count in sorted(Counter((one.package, one.licence) for one in table).items()):
        print(f"{package:<24} {licence:<16} {count:>5} textures")
    print(options.out)


if __name__ == "__main__":
    sys.exit(main())
