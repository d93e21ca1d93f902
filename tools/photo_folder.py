"""``python -m tools.photo_folder TREE CITY OUT``: a city of an MSLS tree as plain folders of photos with EXIF.

The photos go to OUT/database and OUT/query, in a folder for each drive, numbered by frame. Their EXIF has positions as
cameras write them. The metres of the city are read as those of the reference system ``--crs``, by default UTM 31 north.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import pandas as pd
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from vpr.positions.geodesy import to_degrees

UTM_31_NORTH = "EPSG:32631"
SECOND_PARTS = 100_000  # parts of a second of arc in which positions are written: 0.3 mm


def gps_exif(latitude: float, longitude: float) -> Image.Exif:
    """EXIF with a position, degrees."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {
            ExifTags.GPS.GPSLatitudeRef: "N" if latitude >= 0 else "S",
            ExifTags.GPS.GPSLatitude: _to_sexagesimal(latitude),
            ExifTags.GPS.GPSLongitudeRef: "E" if longitude >= 0 else "W",
            ExifTags.GPS.GPSLongitude: _to_sexagesimal(longitude),
        }
    )
    return exif


def _to_sexagesimal(degrees: float) -> tuple[IFDRational, ...]:
    """An angle in degrees, minutes and seconds."""
    seconds = Fraction(round(abs(degrees) * 3600 * SECOND_PARTS), SECOND_PARTS)
    whole, minutes = seconds // 3600, seconds % 3600 // 60
    return IFDRational(whole), IFDRational(minutes), IFDRational(seconds % 60)


def write_side(tree: Path, city: str, side: str, out: Path, crs: str = UTM_31_NORTH) -> int:
    """Write the photos of one side of a city as JPEGs with EXIF into ``out / side``; returns their number.

    tree: the root of an MSLS tree with the city in ``train_val``. crs: reference system of its metres. Pixels are not
    encoded again.
    """
    folder = tree / "train_val" / city / side
    table = pd.read_csv(folder / "postprocessed.csv").merge(pd.read_csv(folder / "seq_info.csv"), on="key")
    for row in table.itertuples():
        path = out / side / str(row.sequence_key) / f"{row.frame_number:05d}-{row.key}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(folder / "images" / f"{row.key}.jpg") as image:
            image.save(path, exif=gps_exif(*to_degrees(row.easting, row.northing, crs)), quality="keep")
    return len(table)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("city")
    parser.add_argument("out", type=Path)
    parser.add_argument("--crs", default=UTM_31_NORTH, help="reference system of the city's metres")
    arguments = parser.parse_args()
    tree, city, out, crs = arguments.tree, arguments.city, arguments.out, arguments.crs
    written = [write_side(tree, city, side, out, crs) for side in ("database", "query")]
    print(f"{out}: {written[0]} photos of the database, {written[1]} queries")


if __name__ == "__main__":
    main()
