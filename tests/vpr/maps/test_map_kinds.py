"""Maps whose positions are not on Earth: what lists say, what answers have, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from photos import a_model, write_photo

from vpr.map import main as map_main
from vpr.maps.building import add_photos
from vpr.maps.drives import MANNERS
from vpr.maps.options import LocateConfig
from vpr.maps.pages import MARGIN, WIDTH, page, sketch
from vpr.maps.photo_map import Map
from vpr.maps.results import Located, MapMatch, as_geojson, as_rows, csv_columns
from vpr.maps.sources.positions import KnownPositions, Photo, find_photos
from vpr.maps.store import MAP, MapContent, State
from vpr.positions.errors import MapError
from vpr.positions.map_frame import FRAMES, MetresFrame

COUNT = 24


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Photos of noise, as the frames of a walk. Their EXIF has a position, which maps of other kinds do not use."""
    folder = tmp_path_factory.mktemp("walk")
    for number in range(COUNT):
        write_photo(folder / f"f{number}.jpg", (47.0, 8.0), seed=number)
    return folder


def write_list(path, columns, rows):
    path.write_text("\n".join([columns, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def write_metres(path, folder, rows=range(COUNT), columns="file,x,y"):
    return write_list(path, columns, [(folder / f"f{row}.jpg", 1000 + 3 * row, 2000) for row in rows])


def found_in(path, text, crs="", kind=None):
    path.write_text(text)
    return find_photos((path,), crs, KnownPositions(kind))


def test_local_metres_answer_as_the_same_metres_on_earth(tmp_path, walk):
    """EPSG:32631 is the other frame: its scale differs from 1 by 0.04 % near its middle."""
    model, options = a_model(), {"place_m": 8.0}
    rows = [(walk / f"f{row}.jpg", 500_000 + 3 * row, 5_000_000) for row in range(COUNT)]
    local = Map.build(tmp_path / "a", write_list(tmp_path / "a.csv", "file,x,y", rows), model=model, **options)
    listed = write_list(tmp_path / "b.csv", "file,easting,northing,crs", [(*row, "EPSG:32631") for row in rows])
    other = Map.build(tmp_path / "b", listed, model=model, **options)
    assert (local.kind, other.kind) == ("metres", "earth")
    queries = [write_photo(tmp_path / f"q{seed}.jpg", None, seed=seed) for seed in (3, 50, 51, 52)]
    for sequence in (False, True):
        config = LocateConfig(sequence=sequence)
        for one, wanted in zip(local.locate_all(queries, config), other.locate_all(queries, config), strict=True):
            assert [match.photo for match in one.matches] == [match.photo for match in wanted.matches]
            assert one.probability == pytest.approx(wanted.probability, abs=0.01) and one.on_map == wanted.on_map
            assert one.radius_m == pytest.approx(wanted.radius_m, rel=0.01, abs=0.01)
            assert (one.familiarity, one.agreeing) == (wanted.familiarity, wanted.agreeing)
            assert np.isnan(one.latitude) and wanted.x is None
            best = Path(one.matches[0].photo).stem[1:]
            assert abs(one.x - 500_000 - 3 * int(best)) <= 8 and one.y == pytest.approx(5_000_000)


def test_a_plan_with_a_reference_system_is_refused_on_a_map_of_local_metres(tmp_path, walk):
    for text, crs, words in (
        ("file,x,y\nf0.jpg,1,0\n", "EPSG:32631", "has local metres; leave --crs out"),
        ("file,x,y,crs\nf0.jpg,1,0,EPSG:32631\n", "", "has local metres; leave the column crs out"),
        ("file,easting,northing\nf0.jpg,1,0\n", "EPSG:32631", "give a list with the columns file,x,y, or make another"),
    ):
        with pytest.raises(MapError, match=words):
            found_in(tmp_path / "plan.csv", text.replace("f0.jpg", str(walk / "f0.jpg")), crs, "metres")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"place": ["a", "b"]}, "row 1: place is a list, not one value; write a text or a number"),
        ({"place": {"name": "x"}}, "row 1: place is an object, not one value"),
        ({"frame": [5]}, "row 1: frame is a list"),
    ],
)
def test_a_json_list_has_one_value_for_a_position(tmp_path, walk, entry, words):
    listed = [{"file": str(walk / "f0.jpg"), **entry}]
    with pytest.raises(MapError, match=words):
        found_in(tmp_path / "l.json", json.dumps(listed))
    (photo,) = found_in(tmp_path / "l.json", json.dumps([{**listed[0], "lat": 47, "lon": 8}])).photos
    assert photo.position == (47, 8)


LISTS = {
    "local metres": ("file,x,y\nf0.jpg,0,0\nf1.jpg,3.5,-2\n", "metres", {"f0.jpg": (0, 0), "f1.jpg": (3.5, -2)}),
    "decimal commas": ("file;X;Y\nf0.jpg;1,5;2\n", "metres", {"f0.jpg": (1.5, 2)}),
    "none for a photo": ("file,x,y\nf0.jpg,nan,2\nf1.jpg,,\nf2.jpg,1,2\n", "metres", {"f2.jpg": (1, 2)}),
    "frames": ("file,frame\nf0.jpg,7\nf1.jpg,-12\nf2.jpg,9.0\n", "frames", {"f0.jpg": 7, "f1.jpg": -12, "f2.jpg": 9}),
    "a frame beside a position": ("file,lat,lon,frame\nf0.jpg,47,8,12\n", "earth", {"f0.jpg": (47, 8)}),
    "names": ("file;place\nf0.jpg;Küche 2\nf1.jpg; 12 \n", "names", {"f0.jpg": "Küche 2", "f1.jpg": "12"}),
    "a decomposed name": ("file,place\nf0.jpg,Ku\u0308che\n", "names", {"f0.jpg": "K\u00fcche"}),
    "names of some": ("file,place\nf0.jpg,\nf2.jpg,hall\n", "names", {"f2.jpg": "hall"}),
    "names that look unknown": (
        "file,place\nf0.jpg,Unknown Road\nf1.jpg,NA\nf2.jpg,None\nf3.jpg,null\n",
        "names",
        {"f0.jpg": "Unknown Road", "f1.jpg": "NA", "f2.jpg": "None", "f3.jpg": "null"},
    ),
    "degrees that are empty": ("file,latitude,longitude,place\nf0.jpg,,,hall\n", "names", {"f0.jpg": "hall"}),
    "degrees that are unknown": ("file,lat,lon,x,y\nf0.jpg,nan,nan,1,2\n", "metres", {"f0.jpg": (1, 2)}),
    "frames that are empty": ("file,frame,place\nf0.jpg,,NA\n", "names", {"f0.jpg": "NA"}),
    "a place beside a frame": ("file,frame,place\nf0.jpg,1,hall\n", "frames", {"f0.jpg": 1}),
    "degrees that are missing": ("file,lat,lon,place\nf0.jpg,,,hall\nf1.jpg,47,8,hall\n", "earth", {"f1.jpg": (47, 8)}),
    "frames of some": ("file,frame\nf0.jpg,null\nf1.jpg,\nf2.jpg,3\n", "frames", {"f2.jpg": 3}),
    "a crs for them": ("file,x,y,crs\nf0.jpg,500000,0,EPSG:32631\n", "earth", {"f0.jpg": (0, 3)}),
    "pixels beside degrees": ("file,lat,lon,x,y\nf0.jpg,47,8,100,200\n", "earth", {"f0.jpg": (47, 8)}),
}


@pytest.mark.parametrize("case", LISTS)
def test_what_a_list_says(tmp_path, walk, case):
    text, kind, positions = LISTS[case]
    positions = {name: position if isinstance(position, tuple) else (position,) for name, position in positions.items()}
    found = found_in(walk / "l.csv", text)
    (walk / "l.csv").unlink()
    assert found.kind == kind and {photo.kind for photo in found.photos} == {kind}
    assert {photo.path.name: photo.position for photo in found.photos} == {
        name: pytest.approx(position, abs=1e-6) for name, position in positions.items()
    }


BAD = {
    "one of two": ("file,x,y\nf0.jpg,1,\n", None, "row 2 has only an x or a y; fill both, or neither"),
    "words": ("file,x,y\nf0.jpg,1,left\n", None, "row 2: 1, left are not local metres; correct it"),
    "too far": ("file,x,y\nf0.jpg,1e10,0\n", None, "1e10, 0 are not local metres"),
    "a decimal comma": ('file,x,y\nf0.jpg,"1,5",2\n', None,
                        "1,5, 2 are not local metres; write decimal points, not decimal commas, as 1.5"),
    "the limit": ("file,x,y\nf0.jpg,1e10,0\n", None, "are not local metres; the largest is 1,000,000,000"),
    "words beside": ("file,x,y\nf0.jpg,left,inf\n", None, "left, inf are not local metres; correct it"),
    "half a frame": ("file,frame\nf0.jpg,1.5\n", None, "1.5 is not a whole number up to 1,000,000,000; correct it"),
    "too many frames": ("file,frame\nf0.jpg,1e10\n", None, "1e10 is not a whole number up to 1,000,000,000"),
    "two frames": ("file,frame\nf0.jpg,1\nf0.jpg,2\n", None, "f0.jpg has two positions, in rows 2 and 3"),
    "metres of a walk": (
        "file,x,y\nf0.jpg,1,0\n", "frames",
        "has local metres, and the map has frames of a walk; give a list with the columns file,frame, or make another",
    ),
    "two names": ("file,place\nf0.jpg,a\nf0.jpg,b\n", None, "f0.jpg has two positions, in rows 2 and 3"),
    "frames of rooms": (
        "file,frame\nf0.jpg,1\n", "names",
        "has frames of a walk, and the map has named places; give a list with the columns file,place, or make another",
    ),
    "two positions": ("file,x,y\nf0.jpg,1,0\nf0.jpg,1.5,0\n", None, "has two positions, in rows 2 and 3"),
    "metres on Earth": (
        "file,x,y\nf0.jpg,1,0\n", "earth",
        "has local metres, and the map has positions on Earth; give a list with the columns file,latitude,longitude",
    ),
    "degrees on a plan": (
        "file,lat,lon\nf0.jpg,1,0\n", "metres",
        "has positions on Earth, and the map has local metres; give a list with the columns file,x,y, or make another",
    ),
    "eastings": ("file,easting,northing\nf0.jpg,1,0\n", None, "or call the columns x and y if the metres are local"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_lists(tmp_path, walk, case):
    text, kind, words = BAD[case]
    with pytest.raises(MapError) as error:
        found_in(walk / "l.csv", text, kind=kind)
    (walk / "l.csv").unlink()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_map_takes_the_columns_of_its_kind(tmp_path, walk):
    path = write_list(tmp_path / "l.csv", "file,lat,lon,x,y,frame,place", [(walk / "f0.jpg", 47, 8, 1, 2, 5, "hall")])
    for kind, position in (
        (None, (47, 8)),
        ("earth", (47, 8)),
        ("metres", (1, 2)),
        ("frames", (5,)),
        ("names", ("hall",)),
    ):
        assert [photo.position for photo in find_photos((path,), known=KnownPositions(kind)).photos] == [position]


def test_two_lists_of_two_kinds_are_refused(tmp_path, walk):
    one = write_metres(tmp_path / "a.csv", walk, [0])
    other = write_list(tmp_path / "b.csv", "file,lat,lon", [(walk / "f1.jpg", 47, 8)])
    with pytest.raises(MapError, match=r"b.csv has positions on Earth, and the map has local metres"):
        find_photos((one, other))


def test_a_map_keeps_its_kind(tmp_path, walk):
    """Photos of folders have no position on it but the one that it knows, whatever their EXIF says."""
    model, folder = a_model(), tmp_path / "map"
    made = Map.build(folder, walk, write_metres(tmp_path / "a.csv", walk, range(20)), model=model)
    assert len(made) == 20 and len(made.added.left_out.without) == 4
    assert made.positions[3].tolist() == [1009, 2000] and State.of(folder).kind == "metres"
    again = made.add(walk)
    assert again.added.unchanged == 20 and again.positions.tolist() == made.positions.tolist()
    assert len(made.add(write_metres(tmp_path / "b.csv", walk)).remove("f3.jpg")) == COUNT - 1
    with pytest.raises(MapError, match=r"none of 1 photos has a position; add a CSV of them \(file,x,y\)"):
        made.add(write_photo(tmp_path / "new.jpg", (47, 8), seed=90))
    with pytest.raises(MapError, match=r"f0.jpg has positions on Earth, and the map has local metres"):
        add_photos(folder, model, [Photo(walk / "f0.jpg", (47.0, 8.0))])


def test_a_kind_that_is_not_known_is_damage(tmp_path, walk):
    folder = Map.build(tmp_path / "map", write_metres(tmp_path / "a.csv", walk, range(2)), model=a_model()).folder
    content = json.loads((folder / MAP).read_text())
    (folder / MAP).write_text(json.dumps({**content, "kind": "degrees"}))
    with pytest.raises(MapError, match="unknown kind of positions"):
        MapContent.read(folder)


@pytest.mark.parametrize(("rows", "wanted"), [(range(3), 2.5 * 3), (range(0, 24, 8), 25.0), ([0], 25.0)])
def test_the_places_of_a_small_map(tmp_path, walk, rows, wanted):
    """2.5 times the distance to the nearest photo, which is 3 m a frame, and at most 25 m."""
    photo_map = Map.build(tmp_path / "map", write_metres(tmp_path / "a.csv", walk, rows), model=a_model())
    assert photo_map.place_m == pytest.approx(wanted)


def located_at(kind, position, radius=2.0, on_map=True):
    match = MapMatch.at(kind, position, 1.25, photo="m.jpg", s_global=0.5, s_struct=0.25)
    others = {"probability": 0.75, "familiarity": None, "separation": 1.0, "agreeing": 1, "matches": (match,)}
    others |= {"on_map_probability": 0.875}
    return Located.at(kind, position, radius, photo="q.jpg", on_map=on_map, **others)


ANSWERS = {
    "metres": (
        (3.21, -4.5), "q.jpg: x 3.21 m, y -4.50 m, within 2 m (75 %)", {"x": 3.21, "y": -4.5, "radius_m": 2.0},
        {"x": 3.21, "y": -4.5, "metres": 1.25},
    ),
    "names": (("bed, left",), "q.jpg: bed, left (75 %)", {"place": "bed, left"}, {"place": "bed, left"}),
    "frames": (
        (41,), "q.jpg: frame 41, within 2 frames (75 %)", {"frame": 41, "radius_frames": 2.0},
        {"frame": 41, "frames": 1.25},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_an_answer_has(kind):
    position, line, own, of_match = ANSWERS[kind]
    one = located_at(kind, position)
    assert one.summary() == line and one.position == position == one.matches[0].position
    common = {"photo": "q.jpg", "on_map": True, "probability": 0.75, "familiarity": None, "separation": 1.0}
    match = {"photo": "m.jpg", **of_match, "s_global": 0.5, "s_struct": 0.25}
    content = json.loads(json.dumps(one.as_json(), allow_nan=False))
    common |= {"not_searched": 0, "on_map_probability": 0.875, "is_unfamiliar": False}
    assert content == {**common, **own, "agreeing": 1, "matches": [match]}
    refused = located_at(kind, position, on_map=False)
    table = [dict(zip(csv_columns(kind), row, strict=True)) for row in as_rows([one, refused], "M")]
    assert own.items() <= table[0].items() and {table[1][name] for name in own} == {""}
    with pytest.raises(MapError, match=f"GeoJSON has positions on Earth, and the map has {FRAMES[kind].what}"):
        as_geojson([one], "M")
    lost = Located.without_candidates("q.jpg", 8, kind)
    assert set(lost.as_json()) == set(content) and not lost.on_map and "no candidates" in lost.summary()
    text = page([one, refused], np.array([position, position]), "A title", "1 of 2", FRAMES[kind](()))
    assert "OpenStreetMap" not in text and line.partition(": ")[2] in text and "North" not in text


def test_a_plan_has_y_up():
    drawn = sketch([located_at("metres", (0.0, 30.0))], np.array([[0.0, 0.0], [60.0, 0.0]]), MetresFrame(()))
    (left, low), (right, _) = drawn.photos
    ((_, x, y),) = drawn.located
    assert x == left < right and y < low and (right - left) == pytest.approx(2 * (low - y), abs=0.2)


def test_a_check_of_local_metres(tmp_path, walk):
    photo_map = Map.build(tmp_path / "map", write_metres(tmp_path / "a.csv", walk, range(20)), model=a_model())
    queries = [write_photo(tmp_path / f"q{seed}.jpg", None, seed=seed) for seed in (60, 61)]
    listed = write_list(tmp_path / "q.csv", "file,x,y", [(queries[0], 1003, 2001), (queries[1], 5000, 0)])
    known, stranger = photo_map.check(listed, config=LocateConfig(threshold=0.0)).photos
    assert known.nearest_m == pytest.approx(1) and known.is_known and not stranger.is_known
    assert known.error_m == pytest.approx(np.hypot(known.located.x - 1003, 1))
    content = stranger.as_json()
    assert (content["true_x"], content["true_y"]) == (5000, 0) and content["nearest_m"] > 3000
    assert "taken at x 1003.00 m, y 2001.00 m" in known.summary() and "from the map" in stranger.summary()


def test_a_walk_answers_as_the_same_walk_in_metres(tmp_path, walk):
    """A frame every metre is the other frame. Answers are frames of the map, where metres are their mean."""
    model, rows = a_model(), [(walk / f"f{row}.jpg", 3 * row) for row in range(COUNT)]
    frames = Map.build(tmp_path / "a", write_list(tmp_path / "a.csv", "file,frame", rows), model=model)
    listed = write_list(tmp_path / "b.csv", "file,x,y", [(*row, 0) for row in rows])
    metres = Map.build(tmp_path / "b", listed, model=model)
    assert frames.place_m == metres.place_m and frames.positions[:, 0].tolist() == [at for _, at in rows]
    queries = [write_photo(tmp_path / f"q{seed}.jpg", None, seed=seed) for seed in (3, 50, 51, 52)]
    for sequence in (False, True):
        config = LocateConfig(sequence=sequence)
        for one, wanted in zip(frames.locate_all(queries, config), metres.locate_all(queries, config), strict=True):
            assert [match.photo for match in one.matches] == [match.photo for match in wanted.matches]
            assert (one.probability, one.familiarity) == (wanted.probability, wanted.familiarity)
            assert one.frame == 3 * round(wanted.x / 3) or abs(wanted.x / 3 % 1 - 0.5) < 1e-6
            assert one.radius_frames == pytest.approx(wanted.radius_m, abs=1.5) and np.isnan(one.radius_m)
            assert one.matches[0].frames == abs(one.matches[0].frame - one.frame)


def test_a_folder_is_a_walk(tmp_path, walk):
    model, folder = a_model(), tmp_path / "map"
    made = Map.build(folder, walk, model=model, folders="walk")
    assert made.kind == "frames" and len(made) == COUNT
    frame = {Path(key).stem: at[0] for key, at in zip(made.content.table.keys, made.positions.tolist())}
    assert frame == {f"f{number}": number for number in range(COUNT)}  # f10 behind f9
    assert made.add(walk, folders="walk").added.unchanged == COUNT
    other = tmp_path / "other"
    for number in (7, 8):
        write_photo(other / f"{number}.jpg", None, seed=100 + number)
    checked = made.check(other, folders="walk", config=LocateConfig(threshold=0.0))
    assert [one.truth for one in checked.photos] == [(0,), (1,)] and all(one.is_known for one in checked.photos)
    assert "taken at frame 1, " in checked.photos[1].summary() and "within" in checked.counts()
    assert {"median_error_frames", "p90_error_frames"} <= checked.as_json()["results"].keys()
    assert {"true_frame", "nearest_frames", "match_errors_frames"} <= checked.photos[0].as_json().keys()
    for sources, words in (
        ((other,), r"the map has frames of another folder .* number the frames in a list \(file,frame\), or make"),
        ((other, walk), "--folders walk takes one folder, and 2 are given; name one, or number"),
        ((other / "7.jpg",), "takes folders, and .*7.jpg is a file; name its folder"),
    ):
        with pytest.raises(MapError, match=words):
            made.add(*sources, folders="walk")
    write_photo(other / "deep" / "9.jpg", None)
    with pytest.raises(MapError, match="a walk is one folder of photos, and .* has 2, such as"):
        made.check(other, folders="walk")
    with pytest.raises(MapError, match=r"a.csv has local metres, and the map has frames of a walk"):
        Map.build(tmp_path / "new", walk, write_metres(tmp_path / "a.csv", walk), model=model, folders="walk")


@pytest.mark.parametrize(
    ("numbers", "wanted"),
    [([5, 6, 7], 2.5), ([0, 30, 60, 61], 75.0), ([4], 2.5), ([0, 1, 1000], 2.5), ([-5, -5, -5, 1000], 250.0)],
)
def test_the_places_of_a_small_walk(tmp_path, walk, numbers, wanted):
    rows = [(walk / f"f{row}.jpg", number) for row, number in enumerate(numbers)]
    photo_map = Map.build(tmp_path / "map", write_list(tmp_path / "a.csv", "file,frame", rows), model=a_model())
    assert photo_map.place_m == wanted
    assert photo_map.content.table.frame.extent_text() == f"frames {numbers[0]} to {numbers[-1]}"


def test_the_page_of_a_walk_has_a_table_of_answers(walk):
    found = located_at("frames", (4,)), located_at("frames", (5,), on_map=False)
    text = page(found, np.array([[4], [5]]), "A title", "1 of 2", FRAMES["frames"](()))
    assert "<svg" not in text and text.count("<tr><td>") == 2 and text.count('href="#photo-') == 2
    assert "frame 4, within 2 frames (75 %)" in text and "not on this map (on the map: 87 %)" in text


ROOMS = ("hall", "bath", "attic", "kitchen")  # of the photos, in turn


@pytest.fixture(scope="module")
def rooms(tmp_path_factory, walk):
    """A map of named places, six photos each."""
    folder = tmp_path_factory.mktemp("rooms")
    rows = [(walk / f"f{row}.jpg", ROOMS[row % 4]) for row in range(COUNT)]
    return Map.build(folder / "map", write_list(folder / "a.csv", "file,place", rows), model=a_model())


def test_places_with_names_answer_as_places_far_apart(tmp_path, walk, rooms):
    """Four points that are a kilometre and more apart, with places of a metre, are the other frame."""
    spots = {name: (5000 * number, 7000 * number**2) for number, name in enumerate(ROOMS)}
    listed = [(walk / f"f{row}.jpg", *spots[ROOMS[row % 4]]) for row in range(COUNT)]
    metres = Map.build(tmp_path / "b", write_list(tmp_path / "b.csv", "file,x,y", listed), model=a_model(), place_m=1.0)
    assert rooms.kind == "names" and {at[0] for at in rooms.positions.tolist()} == set(ROOMS)
    np.testing.assert_array_equal(rooms.content.unknown_scores, metres.content.unknown_scores)
    queries = [write_photo(tmp_path / f"q{seed}.jpg", None, seed=seed) for seed in (3, 4, 50, 51, 52)]
    for sequence in (False, True):
        config = LocateConfig(sequence=sequence)
        for one, wanted in zip(rooms.locate_all(queries, config), metres.locate_all(queries, config), strict=True):
            assert [match.photo for match in one.matches] == [match.photo for match in wanted.matches]
            assert one.probability == pytest.approx(wanted.probability, abs=1e-6) and one.agreeing == wanted.agreeing
            assert spots[one.place] == pytest.approx(wanted.position) and one.familiarity == wanted.familiarity
            assert [spots[match.place] for match in one.matches] == [match.position for match in wanted.matches]
            assert one.as_json().keys().isdisjoint({"radius_m", "radius_frames", "latitude", "x", "frame", "kind"})


def test_places_with_names_have_no_size(rooms, walk):
    for refused in (
        lambda: rooms.locate(walk / "f0.jpg", LocateConfig(place=3.0)),
        lambda: rooms.track(LocateConfig(place=3.0)),
        lambda: rooms.place_for(LocateConfig(place=3.0)),
        lambda: rooms.add(walk, place_m=3.0),
        lambda: rooms.add(walk, place_m=0.0),
    ):
        with pytest.raises(MapError, match="the map has named places, which have no size; leave --place out"):
            refused()
    assert rooms.content.table.frame.extent_text() == "4 places: attic, bath, hall, kitchen"


def test_a_drive_stays_in_a_room_and_may_move_to_any_other(rooms):
    """From a photo of a room, its own photos are within reach in every ordered manner, and no others are."""
    photos = rooms.context().photos
    rows = np.arange(COUNT)
    moves, same = photos.moves(rows, rows), rows[:, None] % 4 == rows[None] % 4
    for manner, of_manner in zip(MANNERS, moves):
        assert np.all(of_manner[~same] == 0)  # a jump goes there, `MANNERS`
        np.testing.assert_allclose(of_manner.sum(1), (1 - manner.jump) if manner.reach else 0, atol=1e-9)


def test_a_check_of_named_places(tmp_path, rooms):
    for name, seeds in (("bath", (70, 71)), ("cellar", (72,))):
        for seed in seeds:
            write_photo(tmp_path / "known" / name / f"{seed}.jpg", None, seed=seed)
    result = rooms.check(tmp_path / "known", folders="places", config=LocateConfig(threshold=0.0))
    assert {one.truth: one.is_known for one in result.photos} == {("bath",): True, ("cellar",): False}
    assert "2 known (the map has their place), 1 strangers" in result.counts()
    assert not any("position error" in line for line in result.lines())
    for one in result.known:
        assert one.is_right() == (one.matches[0].place == "bath") and one.is_wrong == (
            not one.on_map or not one.is_right()
        )
        assert "Known: taken at bath; the first match is " in one.summary()
    assert result.strangers[0].summary().endswith("A stranger: taken at cellar")
    content = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert content["kind"] == "names" and not {name for name in content if name.startswith("place")}
    assert set(content["results"]) == {"recall@1", "recall@5", "recall@10", "ece", "ece_by_chance", "on_map_ece"}
    assert content["photos"][0]["true_place"] == "bath" and "error_" not in content["photos"][0]
    text = page(result.photos, rooms.positions, "A title", "sum", rooms.content.table.frame)
    assert text.count("<tr><td>") == 3


def test_folders_are_places(tmp_path):
    for number, name in enumerate(("rooms/hall/1", "rooms/hall/2", "rooms/up/bath/1", "rooms/up/bed/1")):
        write_photo(tmp_path / f"{name}.jpg", (47, 8), seed=number)
    model, source = a_model(), tmp_path / "rooms"
    made = Map.build(tmp_path / "map", source, model=model, folders="places")
    assert [at[0] for at in made.positions.tolist()] == ["hall", "hall", "up/bath", "up/bed"]
    assert made.place_m == 1.0 and made.locate(source / "hall" / "2.jpg").place == "hall"
    one = Map.build(tmp_path / "one", source / "hall", source / "up" / "bath", model=model, folders="places")
    assert [at[0] for at in one.positions.tolist()] == ["hall", "hall", "bath"]
    write_photo(source / "stray.jpg", None, seed=9)
    with pytest.raises(MapError, match="has photos beside its folders of places, such as stray.jpg; move them into"):
        made.add(source, folders="places")
    with pytest.raises(
        MapError, match="a folder with --folders walk has frames of a walk, and the map has named places"
    ):
        made.add(source / "hall", folders="walk")
    with pytest.raises(
        MapError, match=r"none of 1 photos has a place; add a CSV of them \(file,place\), or give --folders places"
    ):
        made.add(source / "stray.jpg")


@pytest.mark.parametrize(("count", "place"), [(3, ""), (COUNT, "hall"), (COUNT, "")])
def test_a_map_without_probabilities_says_that_no_photo_is_refused(tmp_path, walk, capsys, seams, count, place):
    """A map of few photos has none, and a map of one place."""
    model, rows = a_model(), [(walk / f"f{row}.jpg", place or ROOMS[row % 4]) for row in range(count)]
    made = Map.build(tmp_path / "map", write_list(tmp_path / "a.csv", "file,place", rows), model=model)
    seams.replace("vpr.map._model", lambda options: model)
    write_photo(tmp_path / "q" / "hall" / "0.jpg", None, seed=50)
    told = made.locate(tmp_path / "q" / "hall" / "0.jpg").on_map_probability is not None
    assert told == (count == COUNT and not place)
    words = "this map has no probabilities, so that no photo is refused"
    assert map_main([str(made.folder), "info"]) == 0
    assert (words in (said := capsys.readouterr().out)) != told and ("on the map from 50 % on" in said) == told
    assert map_main([str(made.folder), "check", str(tmp_path / "q"), "--folders", "places"]) == 0
    assert (words in (said := capsys.readouterr().out)) != told and ("of photos of unknown places" in said) == told


def test_a_role_that_folders_cannot_have_is_refused(tmp_path, walk, rooms):
    words = "folders cannot be 'room'; give walk or places, or None"
    for refused in (
        lambda: Map.build(tmp_path / "map", walk, model=a_model(), folders="room"),
        lambda: rooms.add(walk, folders="room"),
        lambda: rooms.check(walk, folders="room"),
    ):
        with pytest.raises(MapError, match=words):
            refused()


def test_the_extent_of_names_is_one_line():
    assert FRAMES["names"]((np.array(["a\nb"], object),)).extent_text() == r"1 place: a\nb"


@pytest.mark.parametrize(("wide", "tall"), [(4.0, 2.0), (4.0, 0.0), (0.5, 0.0), (400.0, 200.0)])
def test_a_plan_fills_the_sketch(wide, tall):
    drawn = sketch([], np.array([[1.0, 5.0], [1.0 + wide, 5.0 + tall]]), MetresFrame(()))
    (left, low), (right, high) = drawn.photos
    assert right - left == pytest.approx(WIDTH - 2 * MARGIN, abs=0.2)
    assert low - high == pytest.approx((right - left) * tall / wide, abs=0.2)
    assert 0 < drawn.bar <= WIDTH / 5 and sketch([], np.array([[1.0, 5.0]]), MetresFrame(())).bar > 0
