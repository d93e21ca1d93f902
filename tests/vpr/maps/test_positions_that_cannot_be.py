"""Positions that cannot be: out of range, or of parts that disagree. The photo is left out, and the reason is said."""

import struct

import pytest
from photos import write_photo
from PIL import ExifTags, Image

from tools.photo_folder import gps_exif
from vpr.maps.sources.positions import find_photos
from vpr.positions.errors import MapError, NoPosition
from vpr.positions.exif import ExifPosition, read_exif
from vpr.positions.geodesy import parse_angle, parse_number, to_degrees
from vpr.positions.names import name_position

UNSIGNED, SIGNED = 5, 10  # kinds of rational numbers in EXIF


def raw(path, latitude, longitude, refs=(b"N", b"E"), kind=UNSIGNED, more=()):
    """A JPEG whose GPS tags are written byte by byte, as programs write them that Pillow would not."""
    fields = [
        (1, 2, refs[0] + b"\0", 2), (2, kind, latitude, len(latitude)), (3, 2, refs[1] + b"\0", 2),
        (4, kind, longitude, len(longitude)),
    ]  # fmt: skip
    fields += [(tag, 2, text + b"\0", len(text) + 1) for tag, text in more]
    if isinstance(latitude, bytes):
        fields[1] = (2, 2, latitude + b"\0", len(latitude) + 1)
    start, rest, entries = 26 + 2 + 12 * len(fields) + 4, b"", struct.pack("<H", len(fields))
    for tag, type_, value, count in fields:
        letters = "<ll" if type_ == SIGNED else "<LL"
        data = value if type_ == 2 else b"".join(struct.pack(letters, *pair) for pair in value)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<L", start + len(rest))
        entries += struct.pack("<HHL", tag, type_, count) + place
        rest += data if len(data) > 4 else b""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHLLL", 1, 0x8825, 4, 1, 26, 0) + entries + bytes(4) + rest
    Image.new("RGB", (16, 16)).save(path, exif=b"Exif\0\0" + tiff)
    return path


def whole(*numbers):
    return [(number, 1) for number in numbers]


REFUSED = {
    "whole minutes, and seconds divided by nothing": (
        [(47, 1), (30, 1), (0, 0)],
        whole(8, 48, 0),
        (b"N", b"E"),
        UNSIGNED,
        "range",
    ),
    "whole degrees alone": (whole(47), whole(8, 48, 0), (b"N", b"E"), UNSIGNED, "not degrees, minutes and seconds"),
    "seconds that lost their denominator": (whole(43, 1, 66448), whole(8, 48, 662), (b"N", b"W"), UNSIGNED, "range"),
    "seconds beyond an hour": (whole(43, 0, 3601), whole(8, 48, 0), (b"N", b"E"), UNSIGNED, "range"),
    "minutes, and seconds beyond one": (whole(43, 1, 72), whole(8, 48, 0), (b"N", b"E"), UNSIGNED, "range"),
    "minutes beyond an hour": (whole(43, 61, 0), whole(8, 48, 0), (b"N", b"E"), UNSIGNED, "range"),
    "degrees beyond the pole": (whole(95, 0, 0), whole(8, 48, 0), (b"N", b"E"), UNSIGNED, "not on Earth"),
    "swapped": (whole(151, 12, 55), whole(33, 51, 24), (b"N", b"E"), UNSIGNED, "not on Earth"),
    "divided by nothing": ([(0, 0)] * 3, [(0, 0)] * 3, (b"N", b"E"), UNSIGNED, "range"),
    "degrees with a part, and minutes": (
        [(4750, 100), (30, 1), (0, 1)],
        whole(8, 0, 0),
        (b"N", b"E"),
        UNSIGNED,
        "contradict",
    ),
    "minutes with a part, and seconds": (
        [(47, 1), (305, 10), (30, 1)],
        whole(8, 0, 0),
        (b"N", b"E"),
        UNSIGNED,
        "contradict",
    ),
    "negative beside N": (whole(-33, 51, 24), whole(70, 40, 10), (b"N", b"E"), SIGNED, "contradict"),
    "signs at odds": (whole(33, -51, 24), whole(70, 40, 10), (b"S", b"W"), SIGNED, "contradict"),
    "no hemisphere": (whole(33, 51, 24), whole(70, 40, 10), (b"", b"W"), UNSIGNED, "hemisphere"),
}
TAKEN = {
    "degrees alone": ([(475, 10)], [(825, 100)], (b"N", b"E"), UNSIGNED, (47.5, 8.25)),
    "degrees and minutes": ([(47, 1), (305, 10)], [(8, 1), (151, 10)], (b"N", b"W"), UNSIGNED, (47.508333, -8.251667)),
    "seconds divided by nothing": (
        [(47, 1), (305, 10), (0, 0)],
        [(8, 1), (151, 10), (0, 0)],
        (b"S", b"E"),
        UNSIGNED,
        (-47.508333, 8.251667),
    ),
    "all signed": (whole(-33, -51, -24), whole(-70, -40, -10), (b"S", b"W"), SIGNED, (-33.856667, -70.669444)),
    "degrees signed": (whole(-33, 51, 24), whole(-70, 40, 10), (b"S", b"W"), SIGNED, (-33.856667, -70.669444)),
    "minutes signed, of no degrees": (whole(0, -30, 0), whole(0, -6, 0), (b"S", b"W"), SIGNED, (-0.5, -0.1)),
    "a second rounded up": (whole(47, 59, 60), whole(8, 0, 0), (b"N", b"E"), UNSIGNED, (48.0, 8.0)),
    "seconds of a degree, no minutes": (whole(47, 0, 1800), whole(8, 0, 72), (b"N", b"E"), UNSIGNED, (47.5, 8.02)),
    "parts of degrees alone": ([(475, 10), (0, 1), (0, 1)], whole(8, 0, 0), (b"N", b"E"), UNSIGNED, (47.5, 8.0)),
    "parts of minutes": ([(47, 1), (305, 10), (0, 1)], whole(8, 0, 0), (b"N", b"E"), UNSIGNED, (47 + 30.5 / 60, 8.0)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_exif_that_cannot_be_leaves_the_photo_out_and_says_why(tmp_path, caplog, case):
    latitude, longitude, refs, kind, words = REFUSED[case]
    path = raw(tmp_path / "a.jpg", latitude, longitude, refs, kind)
    write_photo(tmp_path / "b.jpg", (47.0, 8.0))
    assert read_exif(path).position is None and words in read_exif(path).problem
    found = find_photos((tmp_path,))
    assert [photo.path.name for photo in found.photos] == ["b.jpg"] and found.without == [path]
    assert f"1 photos have an invalid position: {path} (" in caplog.text and words in caplog.text


@pytest.mark.parametrize("case", TAKEN)
def test_exif_that_is_written_otherwise_is_read_right(tmp_path, case):
    latitude, longitude, refs, kind, wanted = TAKEN[case]
    found = read_exif(raw(tmp_path / "a.jpg", latitude, longitude, refs, kind))
    assert found.position == pytest.approx(wanted, abs=1e-6) and found.problem == ""


def test_no_position_needs_no_reason(tmp_path, caplog):
    for name, position, status in (("none", None, ""), ("zero", (0.0, 0.0), ""), ("void", (47.0, 8.0), "V")):
        path = write_photo(tmp_path / f"{name}.jpg", position, status=status)
        assert read_exif(path) == read_exif(path).__class__(None), name
    assert len(find_photos((tmp_path,)).without) == 3 and "invalid position" not in caplog.text
    raw(tmp_path / "a.jpg", whole(95, 0, 0), whole(8, 48, 0))
    assert len(find_photos((tmp_path,)).without) == 4
    assert f"1 photos have an invalid position: {tmp_path / 'a.jpg'} (" in caplog.text, "these words are printed"


def test_another_datum_is_converted(tmp_path):
    """Of Tokyo, by which old Japanese phones are 450 m off."""
    tokyo = whole(35, 39, 29), whole(139, 44, 28)
    expected = to_degrees(139 + 44 / 60 + 28 / 3600, 35 + 39 / 60 + 29 / 3600, "EPSG:4301")
    assert read_exif(raw(tmp_path / "a.jpg", *tokyo, more=[(18, b"TOKYO")])).position == pytest.approx(
        expected, abs=1e-9
    )
    plain = read_exif(raw(tmp_path / "b.jpg", *tokyo, more=[(18, b"WGS-84")])).position
    assert plain == read_exif(raw(tmp_path / "c.jpg", *tokyo)).position
    assert 0.002 < abs(expected[0] - plain[0]) < 0.005


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.avif", "a.heic"])
def test_positions_in_every_format(tmp_path, name):
    if name == "a.heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = gps_exif(-33.856784, 151.215297)
    Image.new("RGB", (64, 64)).save(tmp_path / name, exif=exif.tobytes())
    assert read_exif(tmp_path / name).position == pytest.approx((-33.856784, 151.215297), abs=1e-6)


@pytest.mark.parametrize("text", ["473", "47,30,0", "47 deg 30' 0", "abc"])
def test_exif_of_letters_is_no_position(tmp_path, text):
    """Three digits are no degrees, minutes and seconds."""
    path = raw(tmp_path / "a.jpg", text.encode(), whole(8, 0, 0))
    assert Image.open(path).getexif().get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == text
    assert read_exif(path) == ExifPosition(None, "its EXIF latitude is not degrees, minutes and seconds")


RIO = "@0683466.70@7460687.10@23@{}@{}@1@@@@@@@@.jpg"  # 22.95190 S, 43.21060 W
NAMES = {
    RIO.format("S", "@"): (-22.9519, -43.2106),  # S for south: band S lies in the north
    RIO.format("S", "-22.95190@-043.21060"): (-22.9519, -43.2106),
    RIO.format("K", "@"): (-22.9519, -43.2106),
    RIO.format("K", "-22.95190@-043.21060"): (-22.9519, -43.2106),
    "@0448251.80@5411932.70@31@N@@@@@@@@@@@.jpg": (48.8582, 2.2945),  # N for north
    "@0551744.00@4178906.00@10@S@@@@@@@@@@@.jpg": (37.756, -122.412),  # band S
    "@0@00000.0@@@@@0@@@@@@@@.jpg": None,  # metres that were made up, of Nordland and others
    "@0@00028.6@@@@@12@@@@@@@@.jpg": None,
    "@0@00085.7@@@@@36@@@@@@@@.jpg": None,
    "@0@28.6@.jpg": None,
    "@12.50@85.75@.jpg": None,
    "@0@28.571428571428573@.jpg": None,
    "@0@0@@@@@@@@@@@@@.jpg": None,
    "@4_7.123456@8.123456@.jpg": None,
    "@nan@8.123456@.jpg": None,
    "@4７.123456@8.123456@.jpg": None,
    "@47.123456@8.123456@.jpg": (47.123456, 8.123456),
    "@047.12345@0008.12345@.jpg": (47.12345, 8.12345),
    "@-22.95190@-043.21060@.jpg": (-22.9519, -43.2106),
    "@0448251.8000@5411932.7000@.jpg": None,
    "@-47.123456@-8.1@night@.jpg": (-47.123456, -8.1),
    "@0@0@23@K@-22.95190@-043.21060@@@@@@@@@.jpg": (-22.9519, -43.2106),
}
REFUSED_NAMES = {
    RIO.format("U", "@"): "lies outside of band 23U",
    RIO.format("K", "47.5@8.5"): "km from its degrees",
    RIO.format("K", "-043.21060@-22.95190"): "km from its degrees",
    "@5411932.70@0448251.80@31@U@@@@@@@@@@@.jpg": "lies in no UTM zone",
    "@0448.25@5411.93@31@U@@@@@@@@@@@.jpg": "lies in no UTM zone",
    "@0448251.80@5411932.70@61@U@@@@@@@@@@@.jpg": "no UTM zone 61U",
    "@0448251.80@5411932.70@31@I@@@@@@@@@@@.jpg": "no UTM zone 31I",
    "@0448251.80@5411932.70@@@95.0@8.0@@@@@@@@@.jpg": "not a position on Earth",
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name):
    wanted = NAMES[name]
    assert name_position(name) == (None if wanted is None else pytest.approx(wanted, abs=1e-3))


@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_names_that_contradict_themselves_are_left_out(tmp_path, caplog, name):
    with pytest.raises(NoPosition, match=REFUSED_NAMES[name]):
        name_position(name)
    path = write_photo(tmp_path / name, (10.0, 10.0))
    write_photo(tmp_path / "a.jpg", (47.0, 8.0))
    found = find_photos((tmp_path,))
    assert [photo.path.name for photo in found.photos] == ["a.jpg"] and found.without == [path]
    assert REFUSED_NAMES[name] in caplog.text


def test_metres_without_a_system_ask_for_one(tmp_path, caplog):
    path = write_photo(tmp_path / "@0@00028.6@@@@@12@@@@@@@@.jpg", None)
    assert find_photos((tmp_path,)).without == [path]
    assert "metres without a reference system, pass --crs EPSG:..." in caplog.text
    named = write_photo(tmp_path / "@448251.80@5411932.70@.jpg", (10.0, 10.0))
    assert [photo.path for photo in find_photos((named,)).photos] == [named], "by its EXIF"
    assert find_photos((named,), "EPSG:32631").photos[0].latitude == pytest.approx(48.8582, abs=1e-6)


def test_degrees_are_not_taken_for_metres_of_a_system():
    with pytest.raises(NoPosition, match="is not a position in EPSG:32631"):
        name_position("@48.8582@2.2945@.jpg", "EPSG:32631")
    with pytest.raises(MapError, match="unknown crs"):
        find_photos((), "EPSG:0")


@pytest.mark.parametrize("text", ["4_7", "nan", "inf", "٤٧", "4７", "", "47.5.1", "1,5", "0x1F", "1e", "--1", "1 2"])
def test_what_is_no_number(text):
    assert parse_number(text) != parse_number(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("47 deg 22' 12.00\" N", 47.37), ("47°22'12\"N", 47.37), ("47.37 N", 47.37), ("n47.37", 47.37),
        ("47.37S", -47.37), ("-47.37 S", -47.37), ("-47.37", -47.37), ("47°22.2'", 47.37), ("47.37°", 47.37),
        ("-47.37 N", None), ("47 deg 62' 12\" N", None), ("47 deg 22' 72\" N", None), ("47.5 deg 30' N", None),
        ("47.37 E", None), ("N", None), ("", None), ("47 22 12", None),
        ("730'12\"", None), ("4730'12\"", None), ("12'30\"", None), ("47'", None), ("47m", None), ("730'12\" N", None),
        ("7°30'12\"", 7.5033333), ("7 30'12\"", 7.5033333), ("7 30' S", -7.5), ("47d30m12s", 47.5033333),
        ("47D30M12S", 47.5033333), ("47 deg 30 min 12 s", 47.5033333), ("47d30m12,5s", 47.5034722),
        ("47d30m12s N", 47.5033333), ("47d30m12s S", -47.5033333), ("S 47d30m12s", -47.5033333),
        ("-47d30m12s", -47.5033333), ("47 30 12s", -47.5033333), ("47d30m S", -47.5), ("47d30ms", -47.5),
        ("47d30m12 S", None), ("47°30'12S", None), ("47°30'12 S", None), ("47d30m12S", None), ("N47S", None),
    ],
)  # fmt: skip
def test_angles_in_letters(text, value):
    found = parse_angle(text, "NS")
    assert (found != found) if value is None else found == pytest.approx(value)


def test_a_place_far_outside_of_its_system_is_none():
    assert to_degrees(448251.8, 5411932.7, "EPSG:32631") == pytest.approx((48.8582, 2.2945), abs=1e-6)
    assert to_degrees(798000, 5827000, "EPSG:25832")[1] > 13, "Berlin, which Germany writes in the zone beside it"
    assert to_degrees(683466.7, 7460687.1 - 1e7, "EPSG:32623") == pytest.approx((-22.9519, -43.2106), abs=1e-4)
    assert to_degrees(5411932.7, 448251.8, "EPSG:32631")[0] != to_degrees(5411932.7, 448251.8, "EPSG:32631")[0]
    assert to_degrees(-179.5, -17.0, "EPSG:4326") == (-17.0, -179.5)
    assert to_degrees(1e6, 0, "EPSG:32660")[1] == pytest.approx(-178.5, abs=0.1), "beyond the date line"
