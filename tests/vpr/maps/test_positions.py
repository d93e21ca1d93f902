"""Positions out of EXIF, file names, lists and tracks, against hand-worked cases and pyproj."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pyproj
import pytest
from photos import write_photo
from PIL import ExifTags, Image

from vpr.description.images import ImageError
from vpr.maps.sources.positions import find_photos
from vpr.maps.sources.video import Track, _to_image, read_track
from vpr.positions.errors import MapError
from vpr.positions.exif import read_exif
from vpr.positions.geodesy import parse_angle, places_to_degrees, to_degrees, to_places, utm_crs
from vpr.positions.names import name_position

EIFFEL = 48.8582, 2.2945  # UTM 31 U: 448251.8, 5411932.7


@pytest.mark.parametrize("position", [EIFFEL, (-33.856784, 151.215297), (40.6892, -74.0445), (-54.8, -68.3)])
def test_what_pillow_wrote_is_read(tmp_path, position):
    path = write_photo(tmp_path / "a.jpg", position)
    assert read_exif(path).position == pytest.approx(position, abs=1e-7)


def test_photos_without_a_position(tmp_path):
    assert read_exif(write_photo(tmp_path / "none.jpg", None)).position is None
    assert read_exif(write_photo(tmp_path / "zero.jpg", (0.0, 0.0))).position is None
    assert read_exif(write_photo(tmp_path / "void.jpg", EIFFEL, status="V")).position is None
    assert read_exif(write_photo(tmp_path / "far.jpg", (95.0, 3.0))).position is None
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"text.jpg cannot be decoded \(no image\)"):
        read_exif(tmp_path / "text.jpg")
    found = find_photos((tmp_path,))
    assert found.photos == [] and [path.name[:4] for path in found.without] == ["far.", "none", "void", "zero"]
    assert sorted(found.unreadable) == [str(tmp_path / name) for name in ("empty.jpg", "text.jpg")]


@pytest.mark.parametrize("order", [1, -1])
def test_a_list_says_more_than_names_and_exif(tmp_path, order):
    photos = [write_photo(tmp_path / "photos" / name, (10.0, 10.0)) for name in ("a.jpg", "@20@20@.jpg", "c.jpg")]
    (tmp_path / "photos" / "link.jpg").symlink_to("c.jpg")
    names = ["photos/a.jpg", "photos/@20@20@.jpg", "photos/link.jpg"]
    (tmp_path / "p.csv").write_text("".join(f"{line}\n" for line in ["file,lat,lon", *(f"{n},1,2" for n in names)]))
    found = find_photos((tmp_path / "p.csv", tmp_path / "photos")[::order])
    assert {photo.path: (photo.latitude, photo.longitude) for photo in found.photos} == dict.fromkeys(photos, (1, 2))


def test_heic_is_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    exif = Image.open(write_photo(tmp_path / "a.jpg", EIFFEL)).getexif()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.heic", exif=exif)
    assert read_exif(tmp_path / "a.heic").position == pytest.approx(EIFFEL, abs=1e-7)
    from vpr.description.images import read_image

    assert read_image(tmp_path / "a.heic", (32, 32))[16, 16, 0] > 200


def test_heic_names_the_package_that_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(ImageError, match="pip install 'vpr-ot"):
        read_exif(tmp_path / "a.heic")


def test_names_of_the_field():
    full = "@0448251.80@5411932.70@31@U@048.85820@0002.29450@pano@@90@@@@201501@@.jpg"
    assert name_position(full) == pytest.approx(EIFFEL, abs=1e-6)
    without_zone = full.replace("@31@U@", "@@@")
    assert name_position(without_zone) == EIFFEL
    assert name_position("@48.8582@2.2945@.jpg") == EIFFEL
    metres = "@448251.80@5411932.70@.jpg"
    assert name_position(metres) is None
    assert name_position(metres, "EPSG:32631") == pytest.approx(EIFFEL, abs=1e-6)
    assert name_position("IMG_2034.jpg") is None and name_position("@a@b@.jpg") is None
    with pytest.raises(MapError, match="no UTM zone 61U"):
        name_position(full.replace("@31@", "@61@"))


def test_metres_are_pyprojs():
    geod, rng = pyproj.Geod(ellps="WGS84"), np.random.default_rng(0)
    latitude, longitude = rng.uniform(-89, 89, 50), rng.uniform(-180, 180, 50)
    north, east = latitude + rng.uniform(-1e-3, 1e-3, 50), longitude + rng.uniform(-1e-3, 1e-3, 50)
    _, _, expected = geod.inv(longitude, latitude, east, north)
    found = np.linalg.norm(to_places(latitude, longitude) - to_places(north, east), axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(places_to_degrees(to_places(latitude, longitude)), (latitude, longitude), atol=1e-9)


def test_reference_systems():
    assert to_degrees(500000, 0, "EPSG:32631") == pytest.approx((0, 3), abs=1e-9)
    assert utm_crs(31, "u") == "EPSG:32631" and utm_crs(1, "M") == "EPSG:32701"
    assert math.isnan(to_degrees(1e30, 0, "EPSG:32631")[0])
    with pytest.raises(MapError, match="unknown crs 'EPSG:99'"):
        to_degrees(0, 0, "EPSG:99")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4258", "OGC:CRS84", "+proj=longlat +datum=WGS84"])
def test_degrees_are_not_swapped_by_the_axes_of_their_system(tmp_path, crs):
    """Latitude comes first in the axes of the first two, longitude in those of the others."""
    assert name_position("@48.8582@2.2945@.jpg", crs) == pytest.approx(EIFFEL, abs=1e-5)
    assert to_degrees(2.2945, 48.8582, crs) == pytest.approx(EIFFEL, abs=1e-5)
    write_photo(tmp_path / "a.jpg", None)
    photo = listed(tmp_path, "file,easting,northing\na.jpg,2.2945,48.8582\n", crs=crs).photos[0]
    assert (photo.latitude, photo.longitude) == pytest.approx(EIFFEL, abs=1e-5)


def test_systems_whose_northing_comes_first_and_others_that_have_none():
    x, y = pyproj.Transformer.from_crs(4326, 3035, always_xy=True).transform(EIFFEL[1], EIFFEL[0])
    assert pyproj.CRS(3035).axis_info[0].direction == "north"
    assert name_position(f"@{x}@{y}@.jpg", "EPSG:3035") == pytest.approx(EIFFEL, abs=1e-6)
    for crs in ("EPSG:4978", "EPSG:5703"):  # from the Earth's centre, and heights
        with pytest.raises(MapError, match=r"has no eastings and northings; pass one such as EPSG:32631"):
            name_position("@48.8582@2.2945@.jpg", crs)


def listed(tmp_path, text, name="p.csv", crs=""):
    (tmp_path / name).write_text(text)
    return find_photos((tmp_path / name,), crs)


def test_lists(tmp_path):
    write_photo(tmp_path / "a.jpg", None)
    write_photo(tmp_path / "images" / "b.jpg", (10.0, 10.0))
    found = listed(tmp_path, "file,Lat,lon\na.jpg,48.8582,2.2945\nb,1,2\nc.jpg,1,2\n")
    assert [(p.path.name, p.latitude, p.longitude) for p in found.photos] == [("a.jpg", *EIFFEL), ("b.jpg", 1, 2)]
    assert found.missing == ["c.jpg"]
    metres = "key,easting,northing,crs\na,448251.80,5411932.70,EPSG:32631\n"
    assert listed(tmp_path, metres).photos[0].latitude == pytest.approx(EIFFEL[0], abs=1e-6)
    plain = "key,easting,northing\na,448251.80,5411932.70\n"
    assert listed(tmp_path, plain, crs="EPSG:32631").photos == listed(tmp_path, metres).photos
    point = {"type": "Point", "coordinates": [2.2945, 48.8582]}
    feature = {"type": "Feature", "properties": {"file": "a.jpg"}, "geometry": point}
    collection = {"type": "FeatureCollection", "features": [feature]}
    photo = listed(tmp_path, json.dumps(collection), "p.geojson").photos[0]
    assert (photo.latitude, photo.longitude) == pytest.approx(EIFFEL)
    collection["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    point["coordinates"] = [448251.80, 5411932.70, 30.0]
    photo = listed(tmp_path, json.dumps(collection), "p.geojson").photos[0]
    assert (photo.latitude, photo.longitude) == pytest.approx(EIFFEL, abs=1e-6)


def test_lists_of_spreadsheets(tmp_path):
    write_photo(tmp_path / "a.jpg", None)
    for text in ("\ufefffile;lat;lon\r\na.jpg;48,8582;2,2945\r\n", "file\tlat\tlon\na.jpg\t48.8582\t2.2945\n"):
        photo = listed(tmp_path, text).photos[0]
        assert (photo.latitude, photo.longitude) == EIFFEL
    found = listed(tmp_path, "file,lat,lon,note\na.jpg,48.8582,2.2945,a;b;c;d;e\n")
    assert len(found.photos) == 1


def test_entries_without_a_position_are_left_out(tmp_path):
    for name in ("a", "b"):
        write_photo(tmp_path / f"{name}.jpg", None)
    point = {"type": "Point", "coordinates": [2.2945, 48.8582]}
    entries = [(name, geometry) for name, geometry in (("a.jpg", point), ("b.jpg", None))]
    features = [{"type": "Feature", "properties": {"file": name}, "geometry": at} for name, at in entries]
    for text, name in (
        (json.dumps({"type": "FeatureCollection", "features": features}), "p.geojson"),
        ("file,lat,lon\na.jpg,48.8582,2.2945\nb.jpg,,\n", "p.csv"),
    ):
        found = listed(tmp_path, text, name)
        assert [photo.path.name for photo in found.photos] == ["a.jpg"]
        assert [path.name for path in found.without] == ["b.jpg"]
    found = find_photos((tmp_path, tmp_path / "p.csv"))  # the folder says nothing of a, the list does
    assert [path.name for path in found.without] == ["b.jpg"] and len(found.photos) == 1


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({"type": "LineString", "coordinates": [[2, 48], [3, 48]]}, "feature 1 is a LineString"),
        ({"type": "GeometryCollection", "geometries": []}, "feature 1 is a GeometryCollection"),
        ({"type": "Polygon", "coordinates": []}, "feature 1 is a Polygon"),
        ({"type": "Point", "coordinates": [2.0]}, "not enough values"),
        ({"type": "Point", "coordinates": [2.0, 95.0]}, "row 1: 2.0, 95.0 is not a position on Earth"),
    ],
)
def test_other_shapes_than_points_are_named(tmp_path, geometry, words):
    write_photo(tmp_path / "a.jpg", None)
    features = [{"type": "Feature", "properties": {"file": "a.jpg"}, "geometry": geometry}]
    with pytest.raises(MapError) as error:
        listed(tmp_path, json.dumps({"type": "FeatureCollection", "features": features}), "p.geojson")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([("95", "8", 0), ("47", "8", 1)], r"t.gpx: point 1 \(95.0, 8.0\) is not a position on Earth"),
        ([("47", "8", 0), ("47", "-200", 1)], r"point 2 \(47.0, -200.0\) is not a position on Earth"),
        ([("47", "8", 0), ("nan", "8", 1)], r"point 2 \(nan, 8.0\) is not a position on Earth"),
        ([("47", "8", None)] * 3, r"has 3 points, 0 of them with a time, and two are needed"),
    ],
)
def test_bad_tracks(tmp_path, points, words):
    times = ["" if second is None else f"<time>2026-05-01T12:00:0{second}Z</time>" for *_, second in points]
    text = "".join(f'<trkpt lat="{lat}" lon="{lon}">{time}</trkpt>' for (lat, lon, _), time in zip(points, times))
    (tmp_path / "t.gpx").write_text(f'<gpx version="1.1" creator="x"><trk><trkseg>{text}</trkseg></trk></gpx>')
    with pytest.raises(MapError, match=words):
        read_track(tmp_path / "t.gpx")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; it needs a file"),
        ("file,u,v\na,1,2\n", "it needs a file, key or name"),
        ("file,lat,lon\na.jpg,91,2\n", "row 2: 91, 2 is not a position on Earth"),
        ("file,lat,lon\na.jpg,inf,2\n", "inf, 2 is not a position"),
        ("file,lat,lon\n,1,2\n", "row 2 names no photo"),
        ("file,lat,lon\n../a.jpg,1,2\n", "lists no photo that exists (../a.jpg)"),
        ("file,lat,lon\nb.jpg,1,2\n", "lists no photo that exists"),
        ("file,easting,northing\na.jpg,1,2\n", "pass --crs"),
        ("file,easting,northing,crs\na.jpg,1,2,EPSG:1\n", "unknown crs 'EPSG:1'"),
        ("file,easting,northing,crs\na.jpg,1e9,2,EPSG:32631\n", "is not a position on Earth"),
    ],
)
def test_bad_lists(tmp_path, text, words):
    write_photo(tmp_path / "a.jpg", None)
    with pytest.raises(MapError) as error:
        listed(tmp_path, text)
    assert words in str(error.value)


def test_tracks(tmp_path):
    track = Track(np.array([0.0, 10, 20, 100]), np.array([0.0, 1, 2, 3]), np.array([179.0, -179, -178, -177]))
    assert track.position_at(5) == pytest.approx((0.5, -180)) and track.position_at(10) == (1, -179)
    assert track.position_at(-1) is None and track.position_at(101) is None and track.position_at(50) is None
    (tmp_path / "t.gpx").write_text("<gpx>")
    with pytest.raises(MapError, match="is not a GPX track"):
        read_track(tmp_path / "t.gpx")


@pytest.mark.parametrize(("refs", "known"), [(("S", "W"), (-37.5, -122.25)), (("South", "West"), (-37.5, -122.25)),
                                             (("N", ""), None), ((None, None), None), (("X", "E"), None)])  # fmt: skip
def test_a_number_needs_its_hemisphere(tmp_path, refs, known):
    gps = {ExifTags.GPS.GPSLatitude: (37.0, 30.0, 0.0), ExifTags.GPS.GPSLongitude: (122.0, 15.0, 0.0)}
    sides = zip((ExifTags.GPS.GPSLatitudeRef, ExifTags.GPS.GPSLongitudeRef), refs)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps | {tag: side for tag, side in sides if side is not None})
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    found = read_exif(tmp_path / "a.jpg").position
    assert found == (None if known is None else pytest.approx(known))


def test_a_frame_is_turned_as_the_file_says():
    picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    for angle, wanted in ((0, picture), (-90, picture.transpose(Image.Transpose.ROTATE_270))):
        frame = SimpleNamespace(rotation=angle, to_image=lambda: picture)
        assert np.array_equal(np.asarray(_to_image(frame)), np.asarray(wanted))


@pytest.mark.parametrize(
    "text",
    [
        "47°21'36,5\"N",
        "N 47° 21,608333'",
        "47,36013889 N",
        "47,36013889°",
        "47d21m36,5sN",
        "47 21 36.5 N",
        "N47:21:36,5",
    ],
)
def test_angles_with_decimal_commas_spaces_or_colons(text):
    assert parse_angle(text, "NS") == pytest.approx(47.36013889, abs=1e-8)


@pytest.mark.parametrize("text", ["47 61 3 N", "47:21:66 N", "47 21 36", "47,36,5", "4 7 N", "47,360.5 N"])
def test_what_is_no_angle(text):
    assert math.isnan(parse_angle(text, "NS"))
