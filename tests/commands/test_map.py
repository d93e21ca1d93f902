"""vpr.map and vpr.locate from the command line: folders, lists and videos in, positions out."""

import csv
import json
import shutil

import numpy as np
import pytest
from commands import refused
from photos import write_photo

from tools.photo_folder import write_side
from vpr import locate, map

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(tiny_tree, tmp_path_factory):
    """A city of the tiny tree as folders of photos with EXIF, and its map."""
    folder = tmp_path_factory.mktemp("town")
    for side in ("database", "query"):
        write_side(tiny_tree, "cph", side, folder)
    assert map.main([str(folder / "map"), "add", str(folder / "database"), "--device", "cpu"]) == 0
    return folder


def test_from_folder_to_answer(town, tmp_path, capsys):
    outs = {name: tmp_path / f"a.{name}" for name in ("json", "geojson", "csv")}
    given = [part for name, path in outs.items() for part in (f"--{name}", path)]
    given += [
        "--report",
        tmp_path / "a.html",
        "--top",
        "3",
        "--threshold",
        "0.3",
        "--familiarity",
        "0.2",
        "--device",
        "cpu",
    ]
    assert locate.main([str(word) for word in (town / "map", town / "query", *given)]) == 0
    said = capsys.readouterr().out
    found = json.loads(outs["json"].read_text())
    photos = found["photos"]
    assert len(photos) == len(list((town / "query").rglob("*.jpg"))) and found["model"] == "builtin"
    assert found["unreadable"] == []
    on_map = [photo for photo in photos if photo["on_map"]]
    assert f"{town / 'map'}: {len(on_map)} of {len(photos)} photos are on the map" in said
    assert [line.partition(": ")[0] for line in said.splitlines()[:-2] if line[0] != " "] == [
        one["photo"] for one in photos
    ]
    for photo in photos:
        familiar = photo["familiarity"] is None or photo["familiarity"] >= 0.2
        assert photo["probability"] is None, "of so few photos"
        assert photo["on_map"] == bool(familiar) and len(photo["matches"]) == 3
        assert photo["radius_m"] == pytest.approx(25 + photo["matches"][0]["metres"])
    collection = json.loads(outs["geojson"].read_text())
    features = collection["features"]
    points = [f["geometry"]["coordinates"] for f in features if f["geometry"]]
    assert points == [[photo["longitude"], photo["latitude"]] for photo in on_map]
    rows = list(csv.DictReader(outs["csv"].open()))
    assert {found["map"], collection["map"], *(row["map"] for row in rows)} == {str(town / "map")}
    assert [row["latitude"] for row in rows if row["latitude"]] == [str(photo["latitude"]) for photo in on_map]
    page = (tmp_path / "a.html").read_text()
    assert page.count("<section id=") == len(photos) and "data:image/jpeg" in page and 'src="http' not in page


def test_information(town, capsys):
    assert map.main([str(town / "map"), "info"]) == 0
    said = capsys.readouterr().out
    assert f"{len(list((town / 'database').rglob('*.jpg')))} photos" in said and "index: flat" in said
    assert "model builtin" in said


def test_a_check_of_known_photos_and_strangers(town, tmp_path, capsys):
    queries = sorted((town / "query").rglob("*.jpg"))
    far = tmp_path / "far.csv"
    far.write_text(f"file,latitude,longitude\n{queries[0]},10.0,20.0\n")
    outs = {name: tmp_path / f"a.{name}" for name in ("json", "html")}
    given = ["--json", outs["json"], "--report", outs["html"], "--familiarity", "0", "--device", "cpu"]
    own = next((town / "database").rglob("*.jpg"))
    assert map.main([str(word) for word in (town / "map", "check", town / "query", own, far, *given)]) == 0
    said = capsys.readouterr()
    assert (
        "1 photos are in the map itself, or copies, and are left out" in said.err
        and "probabilities unavailable" in said.err
    )
    found = json.loads(outs["json"].read_text())
    strangers = {one["photo"]: one["nearest_m"] for one in found["photos"] if not one["is_known"]}
    known = len(queries) - len(strangers)
    assert known and found["counts"] == {"known": known, "strangers": len(strangers), "in_map": 1}
    assert strangers[str(queries[0])] > 1e6 and min(strangers.values()) > 25
    assert found["thresholds"][4]["strangers_accepted"] == len(strangers) and found["results"]["ece"] is None
    wrong = sum(one["is_wrong"] for one in found["photos"])
    assert f"{town / 'map'}: {len(queries)} photos: {known} known (a photo of the map is within 25 m)" in said.out
    assert f"{len(strangers)} strangers, {wrong} wrong answers" in said.out and "(100.0 %)" in said.out
    assert outs["html"].read_text().count("<section id=") == wrong >= 1
    line = refused(capsys, map.main, town / "map", "check", town / "database")
    assert "photos are in " in line and "give other photos of the same places" in line


def test_a_drive_is_located_in_the_order_of_names(town, capsys):
    assert locate.main([str(town / "map"), str(town / "query"), "--sequence", "--device", "cpu"]) == 0
    assert "photos are on the map" in capsys.readouterr().out


def test_frames_111_m_apart_are_a_drive(tmp_path, capsys):
    """The photos of the map itself."""
    for number in range(24):
        write_photo(tmp_path / "photos" / f"{number:03d}.jpg", (47 + number / 1000, 8.0), seed=number, size=(160, 120))
    made = str(tmp_path / "map")
    assert map.main([made, "add", str(tmp_path / "photos"), "--place", "30", "--device", "cpu"]) == 0
    assert locate.main([made, str(tmp_path / "photos"), "--device", "cpu", "--top", "1", "--sequence"]) == 0
    assert "24 of 24 photos are on the map" in capsys.readouterr().out
    assert map.main([made, "info"]) == 0 and "a place is 30 m (set)" in capsys.readouterr().out


def test_photos_without_a_position_are_named_and_counted(town, tmp_path, capsys):
    folder = shutil.copytree(town / "database", tmp_path / "photos")
    for number in range(5):
        write_photo(folder / f"none{number}.jpg", None)
    assert map.main([str(tmp_path / "map"), "add", str(folder), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "5 photos have no position and are left out: none0.jpg, none1.jpg, none2.jpg and 2 more" in said
    for photo in folder.rglob("*-*.jpg"):
        photo.unlink()
    assert "none of 5 photos has a position" in refused(capsys, map.main, tmp_path / "new", "add", folder)
    assert not (tmp_path / "new").exists()


def test_unreadable_photos_are_told_at_the_end_and_the_others_are_there(town, tmp_path, capsys):
    folder = shutil.copytree(town / "database", tmp_path / "photos")
    photos = sorted(folder.rglob("*.jpg"))
    whole = photos[1].read_bytes()
    photos[1].write_bytes(whole[: len(whole) // 2])  # its EXIF is still there
    add = [tmp_path / "map", "add", folder, "--device", "cpu"]
    said = refused(capsys, map.main, *add)
    assert said.endswith(f"1 of {len(photos)} photos cannot be read; restore them and add them again")
    assert map.main([str(word) for word in add]) == 1
    captured = capsys.readouterr()
    assert f"{len(photos) - 1} photos (0 new, 0 changed, {len(photos) - 1} unchanged; 0 described)" in captured.out
    assert "1 photos cannot be read and are left out: " in captured.err and photos[1].name in captured.err
    outs = {name: tmp_path / f"a.{name}" for name in ("json", "geojson", "csv", "report")}
    where = [tmp_path / "map", photos[1], photos[0], "--device", "cpu"]
    where += [part for name, path in outs.items() for part in (f"--{name}", path)]
    said = refused(capsys, locate.main, *where)
    assert said.endswith("1 of 2 photos cannot be read; the others were located")
    found = json.loads(outs["json"].read_text())
    assert [one["photo"] for one in found["photos"]] == [str(photos[0])]
    assert [one["photo"] for one in found["unreadable"]] == [str(photos[1])]
    assert "cannot be decoded (" in found["unreadable"][0]["error"]
    assert len(json.loads(outs["geojson"].read_text())["features"]) == 1
    assert len(list(csv.DictReader(outs["csv"].open()))) == 1 and "1 cannot be read" in outs["report"].read_text()
    photos[1].write_bytes(whole)
    assert map.main([str(word) for word in add]) == 0 and "(1 new" in capsys.readouterr().out


def test_a_video_along_a_track(tmp_path, capsys):
    av = pytest.importorskip("av")
    pytest.importorskip("gpxpy")
    with av.open(str(tmp_path / "drive.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(60):
            pixels = np.full((64, 64, 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    points = "".join(
        f'<trkpt lat="{47 + 1e-4 * second}" lon="8.0"><time>2026-05-01T12:00:{second:02d}Z</time></trkpt>'
        for second in (0, 2, 4)
    )
    (tmp_path / "t.gpx").write_text(f'<gpx version="1.1" creator="x"><trk><trkseg>{points}</trkseg></trk></gpx>')
    given = [tmp_path / "map", "add", tmp_path / "drive.mp4", "--device", "cpu"]
    assert "a video needs a GPX track" in refused(capsys, map.main, *given)
    given += ["--gpx", tmp_path / "t.gpx"]
    assert "the file has no start time" in refused(capsys, map.main, *given)
    assert "covers none" in refused(capsys, map.main, *given, "--start", "2026-05-02T12:00:00")
    given += ["--start", "2026-05-01T12:00:00"]
    assert map.main([str(word) for word in given]) == 0
    assert "5 photos (5 new" in capsys.readouterr().out
    table = list(csv.DictReader((tmp_path / "map" / "photos-1.csv").open()))
    assert [float(row["latitude"]) for row in table] == pytest.approx([47 + 1e-4 * second for second in range(5)])
    assert map.main([str(word) for word in given]) == 0
    assert "5 photos (0 new, 0 changed, 5 unchanged; 0 described)" in capsys.readouterr().out


def test_outputs_replace_nothing_of_the_map(town, tmp_path, capsys):
    made, link = shutil.copytree(town / "map", tmp_path / "map"), tmp_path / "link"
    link.symlink_to(made)
    photo, listed = next((town / "database").rglob("*.jpg")), tmp_path / "l.npy"
    np.save(listed, np.eye(2, dtype=np.float32))
    listed.with_suffix(".txt").write_text("a\nb\n")
    before = {path: path.read_bytes() for path in [*made.iterdir(), photo, listed, listed.with_suffix(".txt")]}
    given = [link, town / "query", "--device", "cpu", "--shortlist", listed]
    kept = [link / path.name for path in made.iterdir() if path.suffix != ".lock"]
    for output in (*kept, photo, listed, listed.with_suffix(".txt")):
        line = refused(capsys, locate.main, *given, "--csv", output)
        assert f"--csv {output} " in line and "; name another path" in line
    assert before == {path: path.read_bytes() for path in before}


def test_photos_are_answered_in_the_order_given_and_those_of_a_folder_by_number(tmp_path):
    for name in ("b/f10.jpg", "b/f9.jpg", "b/c/f1.jpg", "a/f2.jpg"):
        write_photo(tmp_path / name, None)
    found = locate._find_photos([tmp_path / "b", tmp_path / "a", tmp_path / "b/f9.jpg"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "b/c/f1.jpg", "b/f9.jpg", "b/f10.jpg", "a/f2.jpg",
    ]  # fmt: skip


def test_a_photo_given_twice_is_one(town, capsys, caplog):
    photo = next((town / "query").rglob("*.jpg"))
    assert locate.main([str(word) for word in (town / "map", photo, photo.parent, photo, "--sequence")]) == 0
    assert capsys.readouterr().out.count(f"{photo}: ") == 1
    assert f"1 photos are given twice and are located once: {photo.name}" in caplog.text


def test_names_with_line_ends_stay_in_their_line(town, tmp_path, capsys):
    photo = next((town / "database").rglob("*.jpg"))
    shutil.copytree(town / "database", tmp_path / "photos")
    shutil.copy(photo, tmp_path / "photos" / "a\nb.jpg")
    assert map.main([str(tmp_path / "map"), "add", str(tmp_path / "photos"), "--device", "cpu"]) == 0
    assert locate.main([str(tmp_path / "map"), str(photo), "--device", "cpu"]) == 0
    assert r"a\nb.jpg" in capsys.readouterr().out
