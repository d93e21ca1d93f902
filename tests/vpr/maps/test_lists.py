"""Lists of photos as people and their programs write them: the right photo at the right place, or the detail named."""

import json
import os
import unicodedata

import pytest
from photos import write_photo
from pyproj import Transformer

from vpr.maps.sources.positions import find_photos
from vpr.positions.errors import MapError

HERE = (47.5, 8.25)


@pytest.fixture
def folder(tmp_path):
    """Photos without a position: DJI_1.JPG, a.jpg, day/b.jpg, and one with a letter composed of two."""
    for name in ("DJI_1.JPG", "a.jpg", "day/b.jpg", unicodedata.normalize("NFD", "Zürich.jpg")):
        write_photo(tmp_path / "list" / name, None)
    return tmp_path / "list"


def read(folder, text, name="p.csv", crs="", encoding="utf-8"):
    """The photos of a list, by their names, with their positions."""
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    found = find_photos((folder / name,), crs)
    return {photo.path.name: (photo.latitude, photo.longitude) for photo in found.photos}


POINT = {"type": "Point", "coordinates": [8.25, 47.5]}


def features(*properties, geometry=None):
    return json.dumps({"features": [{"properties": table, "geometry": geometry or POINT} for table in properties]})


ZURICH = unicodedata.normalize("NFD", "Zürich.jpg")
RIGHT = {  # a list, its name, and the photo that it places
    "case of the ending": ("file,lat,lon\nDJI_1.jpg,47.5,8.25\n", "p.csv", "DJI_1.JPG"),
    "case of the name": ("file,lat,lon\nA.JPG,47.5,8.25\n", "p.csv", "a.jpg"),
    "no ending": ("key,lat,lon\nDJI_1,47.5,8.25\n", "p.csv", "DJI_1.JPG"),
    "backslashes": ("file,lat,lon\nday\\b.jpg,47.5,8.25\n", "p.csv", "b.jpg"),
    "backslashes and case": ("file,lat,lon\nDay\\B.jpg,47.5,8.25\n", "p.csv", "b.jpg"),
    "composed letters": ("file,lat,lon\nZürich.jpg,47.5,8.25\n", "p.csv", ZURICH),
    "Latin-1": ("file,lat,lon\nZürich.jpg,47.5,8.25\n".encode("latin-1"), "p.csv", ZURICH),
    "UTF-16": ("file\tlat\tlon\r\nZürich.jpg\t47.5\t8.25\r\n".encode("utf-16"), "p.csv", ZURICH),
    "UTF-8 with its mark": ("\ufefffile,lat,lon\na.jpg,47.5,8.25\n", "p.csv", "a.jpg"),
    "blank rows": ("file;lat;lon\n;;\na.jpg;47,5;8,25\n;;\n\n", "p.csv", "a.jpg"),
    "a line for Excel": ("sep=;\nfile;lat;lon\na.jpg;47,5;8,25\n", "p.csv", "a.jpg"),
    "a comma in the header of semicolons": ("file;lat, deg;lon, deg;lat;lon\na.jpg;;;47.5;8.25\n", "p.csv", "a.jpg"),
    "bars": ("file|lat|lon\na.jpg|47.5|8.25\n", "p.csv", "a.jpg"),
    "tabs": ("file\tlat\tlon\na.jpg\t47,5\t8,25\n", "p.tsv", "a.jpg"),
    "decimal commas in quotes": ('file,lat,lon\na.jpg,"47,5","8,25"\n', "p.csv", "a.jpg"),
    "a comma behind": ("file,lat,lon\na.jpg,47.5,8.25,\n", "p.csv", "a.jpg"),
    "the place's name beside": ("name,photo,lat,lon\nCorner,a.jpg,47.5,8.25\n", "p.csv", "a.jpg"),
    "twice the same": ("file,lat,lon\na.jpg,47.5,8.25\nA.jpg,47.500000001,8.25\n", "p.csv", "a.jpg"),
    "blanks in names of columns": ("Source File,GPS Latitude,GPS Longitude\na.jpg,47.5,8.25\n", "p.csv", "a.jpg"),
    "exiftool": ('SourceFile,GPSLatitude,GPSLongitude\n./a.jpg,"47 deg 30\' 0.00"" N","8 deg 15\' 0.00"" E"\n', "p.csv",
                 "a.jpg"),
    "exiftool -n": ("SourceFile,GPSLatitudeRef,GPSLatitude,GPSLongitude\na.jpg,N,47.5,8.25\n", "p.csv", "a.jpg"),
    "old lines": ("file,lat,lon\ra.jpg,47.5,8.25\r", "p.csv", "a.jpg"),
    "a folder of the list's name": ("file,lat,lon\nb.jpg,47.5,8.25\n", "day.csv", "b.jpg"),
    "quotes in a value": ('file,street,lat,lon\na.jpg,Rue "X" 5,47.5,8.25\n', "p.csv", "a.jpg"),
    "quotes in a quoted value": ('file,street,lat,lon\na.jpg,"Rue "X" 5",47.5,8.25\n', "p.csv", "a.jpg"),
    "a value that begins with quotes": ('file,street,lat,lon\r\na.jpg,"X" 5,47.5,8.25\r\n', "p.csv", "a.jpg"),
    "a value of two lines": ('file,street,lat,lon\na.jpg,"Rue ""X""\n5",47.5,8.25\n', "p.csv", "a.jpg"),
    "rounded beside": ("file,lat,lon,GPSLatitude,GPSLongitude\na.jpg,47.5,8.25,47.5003,8.2504\n", "p.csv", "a.jpg"),
    "an angle beside": ("file,lat,lon,GPSLatitude\na.jpg,47.5,8.25,47° 30' N\n", "p.csv", "a.jpg"),
    "metres that agree": ("file,lat,lon,easting,northing,crs\na.jpg,47.5,8.25,443517,5261002,EPSG:32632\n", "p.csv",
                          "a.jpg"),
    "null beside": (features({"file": None, "name": None, "filename": "a.jpg"}), "p.geojson", "a.jpg"),
    "a number beside": (features({"name": 5, "photo": "a.jpg"}), "p.geojson", "a.jpg"),
    "degrees beside the point": (features({"file": "a.jpg", "latitude": 47.5, "longitude": "8.25"}), "p.json", "a.jpg"),
    "Mapillary": (json.dumps([{"filename": "a.jpg", "MAPLatitude": 47.5, "MAPLongitude": 8.25}]), "p.json", "a.jpg"),
    "exiftool -G -n -csv": ("SourceFile,EXIF:GPSLatitudeRef,EXIF:GPSLatitude,EXIF:GPSLongitude,Composite:GPSLatitude\n"
                            "a.jpg,N,47.5,8.25,47.5\n", "p.csv", "a.jpg"),
    "exiftool -g -n -json": (json.dumps([{"SourceFile": "a.jpg", "File": {"FileName": "a.jpg"},
                                          "EXIF": {"GPSLatitude": 47.5, "GPSLatitudeRef": "N", "GPSLongitude": 8.25},
                                          "Composite": {"GPSLatitude": 47.5, "GPSLongitude": 8.25}}]), "p.json",
                             "a.jpg"),
    "exiftool -json": (json.dumps([{"SourceFile": "day/b.jpg", "FileName": "b.jpg", "GPSLatitude": 47.5,
                                    "GPSLongitude": "8 deg 15' 0.00\" E"}]), "p.json", "b.jpg"),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_a_list_that_is_right_but_for_a_detail_is_read(folder, case):
    text, name, photo = RIGHT[case]
    assert read(folder, text, name) == {photo: pytest.approx(HERE)}


@pytest.mark.parametrize("where", ["above", "absolute", "behind a link"])
def test_ones_own_list_may_name_any_photo(folder, where):
    other = write_photo(folder.parent / "other" / "c.jpg", None)
    if where == "behind a link":
        (folder / "link").symlink_to(other.parent)
    name = {"above": "../other/c.jpg", "absolute": str(other), "behind a link": "link/c.jpg"}[where]
    assert read(folder, f"file,lat,lon\n{name},47.5,8.25\n") == {"c.jpg": HERE}
    windows = f"file;lat;lon\nC:\\photos\\c.jpg;47.5;8.25\n{name};47.5;8.25\n"
    (folder / "w.csv").write_text(windows)
    assert find_photos((folder / "w.csv",)).missing == ["C:\\photos\\c.jpg"]


WRONG = {  # a list, and the words that name its detail
    "a field too many": ("file,lat,lon\na.jpg,47,36,1,67\n", "row 2 has 5 fields, but the first row has 3"),
    "a comma in a name": ("file,street,lat,lon\na.jpg,High St, 5,47.5,8.25\n", "put values that contain a comma in"),
    "a field too few": ("file,lat,lon\na.jpg,47.5\n", "row 2 has only a latitude or a longitude"),
    "an underscore": ("file,lat,lon\na.jpg,4_7,8\n", "row 2: 4_7, 8 is not a position on Earth"),
    "no number": ("file,lat,lon\na.jpg,x,8\n", "is not a position on Earth"),
    "no number beside nan": ("file,lat,lon\na.jpg,nan,8\nDJI_1.JPG,x,8\n", "row 3: x, 8 is not a position on Earth"),
    "minutes without degrees": ("file,lat,lon\na.jpg,47',8\n", "row 2: 47', 8 is not a position on Earth"),
    "an easting alone beside unknown degrees": (
        "file,lat,lon,easting,northing,crs\na.jpg,nan,8,448251,,EPSG:32631\n", "has only an easting or a northing"),
    "swapped": ("file,lat,lon\na.jpg,151.2,-33.9\n", "151.2, -33.9 is not a position on Earth; are the two swapped?"),
    "two positions": ("file,lat,lon\na.jpg,47,8\nb,1,2\na.jpg,10,10\n", "a.jpg has two positions, in rows 2 and 4"),
    "two positions by case": ("file,lat,lon\na.jpg,47,8\nA.JPG,10,10\n", "has two positions, in rows 2 and 3"),
    "two photos": ("file,photo,lat,lon\na.jpg,DJI_1.JPG,47,8\n", "row 2 names several photos (a.jpg and DJI_1.JPG)"),
    "hemisphere at odds": ("file,lat,lon,GPSLatitudeRef\na.jpg,-47,8,N\n", "is not a position on Earth"),
    "kilometres": ("file,easting,northing,crs\na.jpg,448.25,5411.93,EPSG:32631\n", "of EPSG:32631 but kilometres;"),
    "kilometres of Norway": ("file,easting,northing,crs\na.jpg,-32.25,6734.08,EPSG:25833\n", "but kilometres;"),
    "kilometres of France": ("file,easting,northing,crs\na.jpg,652.30,6861.30,EPSG:2154\n", "but kilometres;"),
    "kilometres of Mercator": ("file,easting,northing,crs\na.jpg,256.03,6240.99,EPSG:3857\n", "but kilometres;"),
    "degrees as metres": ("file,easting,northing,crs\na.jpg,8.25,47.5,EPSG:3857\n", "metres of EPSG:3857 but degrees;"),
    "an easting alone": ("file,easting,northing,crs\na.jpg,448251,,EPSG:32631\n", "has only an easting or a northing"),
    "metres swapped": ("file,easting,northing,crs\na.jpg,5411932,448251,EPSG:32631\n", "on Earth in EPSG:32631; check"),
    "thousands": ('file,easting,northing,crs\na.jpg,"448,251","5,411,932",EPSG:32631\n', "is not a position on Earth"),
    "a quote that never ends, beside quotes": (
        'file,street,lat,lon\na.jpg,"Rue X,47.5,8.25\nb.jpg,"Rue "Y"",1,2\n', "is not a CSV in UTF-8"
    ),
    "a quote that never ends": ('file,lat,lon\n"a.jpg,47.5,8.25\nb.jpg,1,2\n', "is not a CSV in UTF-8"),
    "UTF-16 without its mark": ("file,lat,lon\na.jpg,47,8\n".encode("utf-16-le"), "is not a CSV in UTF-8 (it has zero"),
    "other letters": (b"file,lat,lon\n\x81\x8d.jpg,47,8\n", "is not a CSV in UTF-8"),
    "no photo": ("file,lat,lon\nx.jpg,47,8\n", "lists no photo that exists (x.jpg)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_list_that_is_wrong_names_its_detail(folder, case):
    text, words = WRONG[case]
    with pytest.raises(MapError) as caught:
        read(folder, text)
    assert words in str(caught.value) and "\n" not in str(caught.value) and "p.csv" in str(caught.value)


AT_ODDS = {  # a list with two positions for a.jpg, its name, and the reason that is given
    "two latitudes": ("file,lat,latitude,lon\na.jpg,47,48,8\nDJI_1.JPG,1,,2\n", "p.csv", "row 2 has 48 and 47 for"),
    "a bit too far apart": ("file,lat,lat,lon\na.jpg,47.002,47,8\nDJI_1.JPG,1,,2\n", "p.csv", "has 47.002 and 47 for"),
    "metres at odds": (
        "file,lat,lon,easting,northing,crs\na.jpg,47.5,8.25,448251,5411932,EPSG:32631\nDJI_1.JPG,1,2,,,\n", "p.csv",
        "row 2 has two positions, 468 km apart",
    ),
    "two eastings": (
        "file,easting,utm_east,northing,crs\na.jpg,448251,449251,5411932,EPSG:32631\nDJI_1.JPG,166021,,1,EPSG:32631\n",
        "p.csv", "row 2 has 448251 and 449251 for one coordinate",
    ),
    "two systems": (
        "file,easting,northing,crs,crs\na.jpg,448251,5411932,EPSG:32631,EPSG:32632\nDJI_1.JPG,166021,1,EPSG:32631,\n",
        "p.csv", "row 2 has EPSG:32631 and EPSG:32632 for one crs",
    ),
    "properties at odds": (
        features({"file": "a.jpg", "latitude": 8.25, "longitude": 47.5}, {"file": "DJI_1.JPG"}), "p.geojson",
        "row 1 has two positions, 5.52e+03 km apart",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", AT_ODDS)
def test_a_photo_with_two_positions_in_a_row_is_left_out_and_the_others_are_not(folder, caplog, case):
    text, name, reason = AT_ODDS[case]
    (folder / name).write_text(text)
    found = find_photos((folder / name,))
    assert [photo.path.name for photo in found.photos] == ["DJI_1.JPG"] and found.without == [folder / "a.jpg"]
    assert f"1 photos have an invalid position: {folder / 'a.jpg'} (" in caplog.text and reason in caplog.text


UNKNOWN = {  # a list of a.jpg with an unknown position and of DJI_1.JPG, its name, and the reason that is given
    "nan": ("file,lat,lon\na.jpg,nan,nan\nDJI_1.JPG,1,2\n", "p.csv", "row 2 has nan for a coordinate"),
    "one nan": ("file,lat,lon\na.jpg,NaN,8\nDJI_1.JPG,1,2\n", "p.csv", "row 2 has NaN for a coordinate"),
    "one longitude": ("file,lat,lon\na.jpg,8,<NA>\nDJI_1.JPG,1,2\n", "p.csv", "row 2 has <NA> for a coordinate"),
    "metres": ("file,easting,northing,crs\na.jpg,NULL,5411932,EPSG:32631\nDJI_1.JPG,166021,1,EPSG:32631\n", "p.csv",
               "row 2 has NULL for a coordinate"),
    "no fix": ("SourceFile,GPSLatitude,GPSLatitudeRef,GPSLongitude,GPSLongitudeRef\na.jpg,0,Unknown (),0,Unknown ()\n"
               "DJI_1.JPG,1,N,2,E\n", "p.csv", "row 2 has Unknown () for a coordinate"),
    "no hemisphere": ("SourceFile,GPSLatitude,GPSLatitudeRef,GPSLongitude\na.jpg,47.5,Unknown (),8\nDJI_1.JPG,1,N,2\n",
                      "p.csv", "row 2 has Unknown () for a coordinate"),
    "JSON": ('[{"file": "a.jpg", "lat": NaN, "lon": NaN}, {"file": "DJI_1.JPG", "lat": 1, "lon": 2}]', "p.json",
             "row 1 has nan for a coordinate"),
    "a JSON null": ('[{"file": "a.jpg", "lat": null, "lon": 8}, {"file": "DJI_1.JPG", "lat": 1, "lon": 2}]', "p.json",
                    "row 1 has null for a coordinate"),
    "a point": ('{"features": [{"properties": {"file": "a.jpg"}, "geometry": {"type": "Point", "coordinates": [NaN, '
                'NaN]}}, {"properties": {"file": "DJI_1.JPG"}, "geometry": {"type": "Point", "coordinates": [2, 1]}}]}',
                "p.geojson", "row 1 has nan for a coordinate"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_photo_with_an_unknown_position_is_left_out_and_the_others_are_not(folder, caplog, case):
    text, name, reason = UNKNOWN[case]
    (folder / name).write_text(text)
    found = find_photos((folder / name,))
    assert [photo.path.name for photo in found.photos] == ["DJI_1.JPG"] and found.without == [folder / "a.jpg"]
    assert f"1 photos have an invalid position: {folder / 'a.jpg'} (" in caplog.text and reason in caplog.text


BESIDE = {  # a list with an unknown number of a.jpg beside a known one
    "degrees": "file,lat,lon,GPSLatitude,GPSLongitude\na.jpg,47.5,8.25,nan,nan\n",
    "metres": "file,lat,lon,easting,northing,crs\na.jpg,nan,nan,443517,5261002,EPSG:32632\n",
    "an empty hemisphere": "file,GPSLatitude,GPSLongitude,GPSLatitudeRef\na.jpg,47.5,8.25,NaN\n",
    "a hemisphere": "file,lat,lon,GPSLatitude,GPSLatitudeRef\na.jpg,47.5,8.25,0,Unknown ()\n",
}


@pytest.mark.parametrize("case", BESIDE)
def test_a_known_position_beside_an_unknown_one_is_taken(folder, case):
    assert read(folder, BESIDE[case]) == {"a.jpg": pytest.approx(HERE, abs=1e-4)}


DATE_LINE = {  # two positions of one row on both sides of 180 degrees
    "degrees": ("file,lat,lon,long\na.jpg,-16.8,179.99999,-179.99999\n", 179.99999),
    "degrees the other way": ("file,lat,lon,long\na.jpg,-16.8,-179.99999,179.99999\n", -179.99999),
    "metres": ("file,lat,lon,easting,northing,crs\na.jpg,-16.8,179.99999,{:.2f},{:.2f},EPSG:32760\n", 179.99999),
}


@pytest.mark.parametrize("case", DATE_LINE)
def test_positions_on_both_sides_of_the_date_line_are_one(folder, case):
    text, longitude = DATE_LINE[case]
    metres = Transformer.from_crs(4326, 32760, always_xy=True).transform(-179.99999, -16.8)
    assert read(folder, text.format(*metres)) == {"a.jpg": (-16.8, longitude)}


@pytest.mark.parametrize(("latitude", "crs", "count"), [(89.9, "EPSG:3995", 2), (0.5, "EPSG:3857", 1)])
def test_positions_of_degrees_and_metres_are_compared_in_metres(folder, latitude, crs, count):
    """0.02 degrees of longitude are 4 m near the pole, and 2 km at the equator."""
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(8.02, latitude)
    rows = f"a.jpg,{latitude},8,{x:.3f},{y:.3f},{crs}\nDJI_1.JPG,1,2,,,\n"
    assert len(read(folder, f"file,lat,lon,easting,northing,crs\n{rows}")) == count


PLACES = {  # a place, and a UTM zone that the whole country is written in
    "Bergen in zone 32": (60.39, 5.32, "EPSG:32632"),
    "Bergen in zone 33": (60.39, 5.32, "EPSG:25833"),  # west of 0 metres
    "Vardø in zone 33": (70.37, 31.1, "EPSG:25833"),
    "Bari in zone 32": (41.12, 16.87, "EPSG:25832"),
    "Lecce in zone 32": (40.35, 18.17, "EPSG:32632"),
    "Lecce in zone 33": (40.35, 18.17, "EPSG:32633"),
    "Barcelona in zone 30": (41.38, 2.17, "EPSG:25830"),
}


@pytest.mark.parametrize("name", PLACES)
def test_metres_of_a_zone_that_a_whole_country_uses(folder, name):
    latitude, longitude, crs = PLACES[name]
    east, north = Transformer.from_crs(4326, crs, always_xy=True).transform(longitude, latitude)
    rows = f"file,easting,northing\na.jpg,{east:.2f},{north:.2f}\n"
    assert read(folder, rows, crs=crs) == {"a.jpg": pytest.approx((latitude, longitude), abs=1e-6)}


GEOMETRIES = {
    "swapped": ({"type": "Point", "coordinates": [-33.9, 151.2]}, {}, "row 1: -33.9, 151.2 is not a position on Earth"),
    "no number": ({"type": "Point", "coordinates": ["x", 1]}, {}, "is not a position on Earth"),
}


@pytest.mark.parametrize("case", GEOMETRIES)
def test_points_that_cannot_be(folder, case):
    geometry, more, words = GEOMETRIES[case]
    with pytest.raises(MapError) as caught:
        read(folder, features({"file": "a.jpg", **more}, geometry=geometry), "p.geojson")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("file,lat,lon\na.jpg,0,0\n", "p.csv"), ("file,lat,lon\na.jpg,0.000,-0.0\n", "p.csv"),
        ("file,lat,lon\na.jpg,,\n", "p.csv"), ("file,easting,northing,crs\na.jpg,0,0,EPSG:32631\n", "p.csv"),
        (features({"file": "a.jpg"}, geometry={"type": "Point", "coordinates": [0, 0]}), "p.geojson"),
        (features({"file": "a.jpg"}, geometry={"type": "Point", "coordinates": []}), "p.geojson"),
    ],
)  # fmt: skip
def test_the_unknown_position_is_none(folder, text, name):
    (folder / name).write_text(text)
    found = find_photos((folder / name,))
    assert found.photos == [] and found.without == [folder / "a.jpg"]


def test_two_files_that_differ_in_case_alone(folder):
    write_photo(folder / "dji_1.jpg", None)
    if len(list(folder.glob("*.[jJ][pP][gG]"))) < 4:
        pytest.skip("here they are one file")
    assert read(folder, "file,lat,lon\nDJI_1.JPG,47.5,8.25\ndji_1.jpg,1,2\n") == {
        "DJI_1.JPG": HERE,
        "dji_1.jpg": (1, 2),
    }
    with pytest.raises(
        MapError, match="row 2: Dji_1.jpg could be DJI_1.JPG or dji_1.jpg; write it as the file is named"
    ):
        read(folder, "file,lat,lon\nDji_1.jpg,47.5,8.25\n")


def test_names_with_other_white_space(folder):
    for name in ("a\u00a0b.jpg", "\u3000c.jpg", "d\u2028e.jpg", "f\u0085g.jpg"):
        write_photo(folder / name, None)
        assert read(folder, f"file,lat,lon\n{name},47.5,8.25\n") == {name: HERE}


def test_a_later_list_wins_and_says_so(folder, caplog):
    for name, where in (("p.csv", "1,2"), ("q.csv", "47.5,8.25")):
        (folder / name).write_text(f"file,lat,lon\na.jpg,{where}\n")
    found = find_photos((folder / "p.csv", folder / "q.csv"))
    assert [(photo.latitude, photo.longitude) for photo in found.photos] == [HERE]
    assert "1 photos have another position in a later list, which is used: " in caplog.text
    caplog.clear()
    find_photos((folder / "p.csv", folder / "p.csv"))
    assert caplog.text == ""


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("listed", "names"),
    [("photos.csv", "a.jpg b.jpg"), ("photos.csv", "photos/a.jpg photos/b.jpg"), ("lists/p.csv", "a.jpg b.jpg"),
     ("lists/p.csv", "photos/a.jpg photos/b.jpg"), ("photos/p.csv", "photos/a.jpg b.jpg")],
)  # fmt: skip
def test_a_folder_and_its_list_are_the_photos_of_both(tmp_path, caplog, listed, names, order):
    """b.jpg is no photo: whoever describes it says so, once."""
    for name in ("a.jpg", "c.jpg"):
        write_photo(tmp_path / "photos" / name, HERE)
    (tmp_path / "photos/b.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "lists").mkdir()
    rows = "".join(f"{name},1,2\n" for name in names.split())
    (tmp_path / listed).write_text(f"file,lat,lon\n{rows}")
    found = find_photos((tmp_path / "photos", tmp_path / listed)[::order])
    positions = {photo.path.name: (photo.latitude, photo.longitude) for photo in found.photos}
    assert len(found.photos) == 3 and not found.skipped and "twice" not in caplog.text
    assert positions["a.jpg"] == positions["b.jpg"] == (1, 2) and positions["c.jpg"] == pytest.approx(HERE)


def test_a_photo_that_is_given_twice_is_said(folder, caplog):
    (folder / "p.csv").write_text("file,lat,lon\na.jpg,1,2\na.jpg,1,2\n")
    write_photo(folder / "b.jpg", HERE)
    found = find_photos((folder / "p.csv", folder / "b.jpg", folder / "." / "b.jpg"))
    assert sorted(photo.path.name for photo in found.photos) == ["a.jpg", "b.jpg"]
    assert "2 photos are given twice and count once: a.jpg, b.jpg" in caplog.text


def test_a_photo_and_a_link_to_it_with_two_positions(folder):
    (folder / "link.jpg").symlink_to("a.jpg")
    with pytest.raises(MapError, match=r"link.jpg is a link to .*a.jpg, and the lists have two positions for them"):
        read(folder, "file,lat,lon\na.jpg,47.5,8.25\nlink.jpg,1,2\n")
    assert read(folder, "file,lat,lon\na.jpg,47.5,8.25\nlink.jpg,47.5,8.25\n") == {"a.jpg": HERE}


@pytest.mark.parametrize("name", ["x" * 400, "a\\\0b", "", ".", "..", "/", "day"])
def test_names_that_no_file_has(folder, name):
    rows = json.dumps([{"file": name, "lat": 1, "lon": 2}, {"file": "a.jpg", "lat": 47.5, "lon": 8.25}])
    if name:
        assert read(folder, rows, "p.json") == {"a.jpg": HERE}
    else:
        with pytest.raises(MapError, match="row 1 names no photo"):
            read(folder, rows, "p.json")


def test_bytes_that_are_no_text_in_a_name(folder):
    path = os.path.join(os.fsencode(folder), b"caf\xe9.jpg")
    with open(path, "wb") as file:
        file.write((folder / "a.jpg").read_bytes())
    assert read(folder, "file,lat,lon\na.jpg,47.5,8.25\n") == {"a.jpg": HERE}
