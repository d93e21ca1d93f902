"""Sets of places as the field has them, and plain loops that say what is right in them."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from pyproj import Geod, Transformer

GEOD = Geod(ellps="WGS84")
FIELDS = 14  # of a name of VPR-datasets-downloader


def touch(*paths: Path) -> None:
    """Empty files, which readers of sets do not open."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def utm_name(east, north, zone="10", band="S", latitude="", longitude="", heading="", note="") -> str:
    """A name of 14 fields."""
    fields = [east, north, zone, band, latitude, longitude, "", "", heading, "", "", "", "", note]
    return "@" + "@".join(str(field) for field in fields) + "@.jpg"


def utm_of(latitude: float, longitude: float) -> tuple[float, float, int]:
    """Easting, northing and zone of a position; northings of the south count from the pole."""
    zone = int((longitude + 180) // 6) + 1
    crs = f"EPSG:{(32600 if latitude >= 0 else 32700) + zone}"
    east, north = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    return east, north, zone


def by_plane(queries, database, radius_m=25.0):
    """For each query name the numbers of the database names within the radius, by fields 1 and 2, as the field does."""
    points = [[tuple(map(float, Path(name).name.split("@")[1:3])) for name in side] for side in (queries, database)]
    return [
        [number for number, other in enumerate(points[1]) if math.dist(one, other) <= radius_m] for one in points[0]
    ]


def by_degrees(queries, database, radius_m=25.0):
    """The same for positions in degrees, along the ellipsoid."""
    return [
        [
            number
            for number, (latitude, longitude) in enumerate(database)
            if GEOD.inv(one[1], one[0], longitude, latitude)[2] <= radius_m
        ]
        for one in queries
    ]


def write_descriptors(path: Path, files, seed=0) -> dict[str, np.ndarray]:
    """Random descriptors of files, as --shortlist reads them; returns those by file."""
    vectors = np.random.default_rng(seed).normal(size=(len(files), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(path, vectors)
    path.with_suffix(".txt").write_text("".join(f"{file}\n" for file in files))
    return dict(zip(map(str, files), vectors))


def naive_recall(vectors, queries, database, right, ks, wrong, own=None):
    """Recall@k by loops. right: the numbers of right database photos of each query. wrong: whether a query without any
    counts. own: for each query the database number that is itself."""
    found = dict.fromkeys(ks, 0)
    scored = 0
    for number, query in enumerate(queries):
        if not right[number] and not wrong:
            continue
        scored += 1
        similarity = [float(vectors[str(query)] @ vectors[str(entry)]) for entry in database]
        order = sorted(range(len(database)), key=lambda entry: -similarity[entry])
        if own is not None:
            order = [entry for entry in order if entry != own[number]]
        for k in ks:
            found[k] += any(entry in right[number] for entry in order[:k])
    return {f"recall@{k}": found[k] / scored for k in ks}


def write_csv(path: Path, header, rows) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_geojson(path: Path, positions) -> Path:
    """Points of files with latitude and longitude."""
    features = [
        {
            "type": "Feature",
            "properties": {"file": name},
            "geometry": {"type": "Point", "coordinates": [longitude, latitude]},
        }
        for name, (latitude, longitude) in positions.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def objects(rows) -> np.ndarray:
    """An object array of rows of uneven length."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array
