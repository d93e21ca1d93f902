"""``python -m benchmarks.photo_folder TREE CITY OUT``: a city of an MSLS tree as plain folders of photos with EXIF.

OUT/database and OUT/query get the city's photos, with their positions as cameras write them, and ``positions.csv``, the
true positions of both sides. The city's metres are set down as those of a UTM zone, by default 31 north.
"""

import argparse
import csv
from fractions import Fraction
from pathlib import Path

import pandas as pd
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from vpr.maps.geodesy import to_degrees

FINEST = 100_000  # parts of a second of arc that are written: 0.3 mm


def gps_exif(latitude: float, longitude: float) -> Image.Exif:
    """EXIF with a position, degrees."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            ExifTags.GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
            ExifTags.GPS.GPSLatitude: _sixty(latitude),
            ExifTags.GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
            ExifTags.GPS.GPSLongitude: _sixty(longitude),
        }
    )
    return exif


def _sixty(degrees: float) -> tuple[IFDRational, ...]:
    """Degrees, minutes and seconds."""
    seconds = Fraction(round(abs(degrees) * 3600 * FINEST), FINEST)
    whole, minutes = seconds // 3600, seconds % 3600 // 60
    return IFDRational(whole), IFDRational(minutes), IFDRational(seconds % 60)


def write_side(tree: Path, city: str, side: str, out: Path, crs: str = "EPSG:32631") -> list[tuple[str, float, float]]:
    """The photos of one side of a city, as JPEGs with EXIF in ``out / side``; their names, latitudes and longitudes.

    tree: of MSLS, the city in ``train_val``. Pixels are not encoded again.
    """
    folder, rows = tree / "train_val" / city / side, []
    (out / side).mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(folder / "postprocessed.csv")
    for key, easting, northing in zip(table["key"], table["easting"], table["northing"]):
        position = to_degrees(easting, northing, crs)
        with Image.open(folder / "images" / f"{key}.jpg") as image:
            image.save(out / side / f"{key}.jpg", exif=gps_exif(*position), quality="keep")
        rows.append((f"{side}/{key}.jpg", *position))
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("city")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    rows = [row for side in ("database", "query") for row in write_side(given.tree, given.city, side, given.out)]
    with (given.out / "positions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "latitude", "longitude"), *rows])
    print(f"{given.out}: {len(rows)} photos")


if __name__ == "__main__":
    main()
