"""Tracks and videos: where each frame was, and what is said of those that no track covers."""

import csv
import hashlib
import os
import pkgutil
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from photos import a_model
from PIL import Image

from vpr import map as map_command
from vpr.base.errors import VprError
from vpr.cache import DescriptorCache
from vpr.maps.building import add_photos, write_access
from vpr.maps.frames import take_frames
from vpr.maps.photo_map import Map
from vpr.maps.photo_versions import photo_key
from vpr.maps.sources.video import VIDEOS, Track, extract_frames, read_track
from vpr.positions.errors import MapError

av = pytest.importorskip("av")
pytest.importorskip("gpxpy")
START = 1777636800.0  # 2026-05-01T12:00:00Z


def filmed(path, seed=0, first_s=0.0, seconds=4, codec="mpeg4", when="2026-05-01T12:00:00.000000Z"):
    """A video of 4 frames a second; those of a second show one picture."""
    rng = np.random.default_rng(seed)
    pictures = [Image.fromarray(rng.integers(0, 256, (2, 3, 3), np.uint8)).resize((96, 64)) for _ in range(seconds)]
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=4)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if when:
            out.metadata["creation_time"] = when
        for number in range(4 * seconds):
            frame = av.VideoFrame.from_image(pictures[number // 4])
            frame.pts, frame.time_base = round((first_s + number / 4) * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def padded(path, size=100_000):
    """An MP4 file with an empty box behind it, so that it has a size."""
    data = path.read_bytes()
    path.write_bytes(data + struct.pack(">L4s", size - len(data), b"free").ljust(size - len(data), b"\0"))


def segment(points):
    """Of a track: seconds after the start, latitude and longitude."""
    times = (f'<trkpt lat="{lat}" lon="{lon}"><time>2026-05-01T12:00:{s:02d}Z</time></trkpt>' for s, lat, lon in points)
    return f"<trkseg>{''.join(times)}</trkseg>"


def tracked(path, *segments, encoding="UTF-8", said=None):
    text = f'<?xml version="1.0" encoding="{said or encoding}"?><gpx version="1.1" creator="x"><trk><name>Zürich</name>'
    path.write_bytes(f"{text}{''.join(segments)}</trk></gpx>".encode(encoding))
    return path


LINE = segment([(s, 47 + s / 1e4, 8.0) for s in range(12)])


def latitudes(photos):
    return {photo.path.stem: round(photo.latitude, 7) for photo in photos}


@pytest.mark.parametrize("first_s", [0.0, 5.0, 3600.25])
def test_times_are_counted_from_the_first_frame(tmp_path, first_s):
    video = filmed(tmp_path / "a.mkv", first_s=first_s)
    found = extract_frames(video, read_track(tracked(tmp_path / "t.gpx", LINE)), tmp_path / "frames", 1.0)
    assert latitudes(found) == {f"{s:09.3f}": 47 + s / 1e4 for s in range(4)}


@pytest.mark.parametrize("name", ["A.TS", "b.MTS", "c.m2ts"])
def test_transport_streams(tmp_path, name):
    """They begin at another time than 0, and do not say when."""
    assert name.lower().endswith(VIDEOS)
    filmed(tmp_path / "a.ts", when="").rename(tmp_path / name)
    track = read_track(tracked(tmp_path / "t.gpx", LINE))
    with pytest.raises(MapError, match="the file has no start time; pass --start"):
        extract_frames(tmp_path / name, track, tmp_path / "frames", 1.0)
    found = extract_frames(tmp_path / name, track, tmp_path / "frames", 1.0, "2026-05-01T12:00:00")
    assert min(latitudes(found).values()) == 47 and len(found) in (3, 4)


def test_a_video_in_anothers_place_has_its_own_frames(tmp_path):
    track = read_track(tracked(tmp_path / "t.gpx", LINE))
    first = extract_frames(filmed(tmp_path / "a.mp4"), track, tmp_path / "frames", 1.0)
    before = {photo.path: (photo.path.read_bytes(), photo.path.stat().st_mtime_ns) for photo in first}
    extract_frames(tmp_path / "a.mp4", track, tmp_path / "frames", 1.0)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before}, "not written again"
    extract_frames(filmed(tmp_path / "a.mp4", seed=1), track, tmp_path / "frames", 1.0)
    assert all(path.read_bytes() != data for path, (data, _) in before.items())


def test_nobody_drove_between_two_segments(tmp_path):
    pause = [segment([(0, 47.0, 8.0), (2, 47.0002, 8.0)]), segment([(8, 47.01, 8.0), (10, 47.0102, 8.0)])]
    track = read_track(tracked(tmp_path / "t.gpx", *pause))
    found = {s: track.position_at(START + s) for s in (0, 1, 2, 3, 5, 7, 8, 9, 10, 11)}
    assert {s for s, where in found.items() if where is None} == {3, 5, 7, 11}
    assert found[1] == pytest.approx((47.0001, 8.0)) and found[9] == pytest.approx((47.0101, 8.0))


def test_segments_of_one_time(tmp_path):
    """Two receivers: where they agree it is one place, and none where they do not."""
    one, near = segment([(0, 47.0, 8.0), (10, 47.001, 8.0)]), segment([(2, 47.0002, 8.0001), (8, 47.0008, 8.0001)])
    assert read_track(tracked(tmp_path / "t.gpx", one, near)).position_at(START + 5) == pytest.approx(
        (47.0005, 8.0), abs=1e-3
    )
    far = segment([(2, 47.1, 8.0), (8, 47.1, 8.0)])
    track = read_track(tracked(tmp_path / "t.gpx", one, far))
    assert track.position_at(START + 5) is None and track.position_at(START + 1) is not None


def test_a_point_that_jumps_away_and_back_is_left_out(tmp_path, caplog):
    points = [(s, 47 + s / 1e4, 8.0) for s in range(10)]
    points[4] = (4, 48.0, 8.0)
    track = read_track(tracked(tmp_path / "t.gpx", segment(points)))
    assert track.position_at(START + 4) == pytest.approx((47.0004, 8.0)) and "1 of 10 points" in caplog.text


def test_nobody_drove_where_a_track_jumps(tmp_path):
    points = [(s, 47 + s / 1e4, 8.0) for s in range(5)] + [(s, 48 + s / 1e4, 8.0) for s in range(6, 11)]
    track = read_track(tracked(tmp_path / "t.gpx", segment(points)))
    assert (
        track.position_at(START + 5) is None
        and track.position_at(START + 3.5) is not None
        and track.position_at(START + 7.5) is not None
    )


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("ISO-8859-1", None), ("UTF-16", None), ("windows-1252", None), ("UTF-8", None), ("latin-1", "UTF-8")],
)
def test_tracks_in_the_encoding_that_they_say_or_another(tmp_path, encoding, said):
    track = read_track(tracked(tmp_path / "t.gpx", LINE, encoding=encoding, said=said))
    assert len(track.seconds) == 12 and track.position_at(START + 3) == pytest.approx((47.0003, 8.0))


@pytest.mark.parametrize(
    "bad",
    [
        "<trkpt><time>2026-05-01T12:00:20Z</time></trkpt>",
        '<trkpt lat="" lon="8"><time>2026-05-01T12:00:20Z</time></trkpt>',
        '<trkpt lat="95" lon="8"><time>2026-05-01T12:00:20Z</time></trkpt>',
        '<trkpt lat="4_7" lon="8"><time>2026-05-01T12:00:20Z</time></trkpt>',
        '<trkpt lat="0" lon="0.0"><time>2026-05-01T12:00:20Z</time></trkpt>',
        '<trkpt lat="47" lon="8"><time>noon</time></trkpt>',
        '<trkpt lat="47" lon="8"><time/></trkpt>',
        '<trkpt lat="47" lon="8"/>',
    ],
)
def test_one_bad_point_is_left_out_and_counted(tmp_path, caplog, bad):
    track = read_track(tracked(tmp_path / "t.gpx", LINE, f"<trkseg>{bad}</trkseg>"))
    assert len(track.seconds) == 12 and "1 of 13 points have no time or are invalid, and are left out" in caplog.text


def test_a_time_with_two_positions_that_lie_apart_is_left_out(tmp_path, caplog):
    """Nothing is interpolated past it either."""
    points = [
        (0, 47.0, 8.0),
        (2, 47.0002, 8.0),
        (4, 47.0004, 8.0),
        (4, 47.1, 8.0),
        (6, 47.0006, 8.0),
        (8, 47.0008, 8.0),
    ]
    track = read_track(tracked(tmp_path / "t.gpx", segment(points)))
    found = {s: track.position_at(START + s) for s in range(9)}
    assert {s for s, where in found.items() if where is None} == {3, 4, 5}
    assert found[1] == pytest.approx((47.0001, 8.0)) and found[7] == pytest.approx((47.0007, 8.0))
    assert (
        "1 times have two positions more than 100 m apart, and are left out; the first is 2026-05-01 12:00:04 UTC"
        in (caplog.text)
    )
    assert "have no time or are invalid" not in caplog.text


def test_two_points_of_one_time_that_lie_near_are_one(tmp_path, caplog):
    points = [(4, 47.0, 8.0), (5, 47.0, 8.0), (5, 47.0001, 8.0)]
    assert len(read_track(tracked(tmp_path / "t.gpx", segment(points))).seconds) == 2 and caplog.text == ""


def test_a_track_whose_times_have_two_positions_each(tmp_path):
    points = [(4, 47.0, 8.0), (5, 47.0, 8.0), (5, 47.1, 8.0)]
    with pytest.raises(MapError, match=r"1 times have two positions .* 12:00:05 UTC, and 1 others remain; correct it"):
        read_track(tracked(tmp_path / "t.gpx", segment(points)))


def test_white_space_around_a_time(tmp_path):
    path = tracked(tmp_path / "t.gpx", LINE)
    path.write_text(path.read_text().replace("<time>", "<time>\n  ").replace("</time>", " \t</time>"))
    assert read_track(path).seconds.tolist() == [START + s for s in range(12)]


@pytest.mark.parametrize(
    ("rate", "every", "wanted"),
    [
        (30, 1.0, [0, 30, 60, 90]), (30, 0.1, [*range(0, 100, 3)]), (30, 0.3, [*range(0, 100, 9)]),
        (10, 0.7, [*range(0, 100, 7)]), (Fraction(30000, 1001), 1.0, [0, 30, 60, 90]), (25, 0.3, [0, 8, 15, 23, 30]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_frame_every_so_many_seconds(tmp_path, name, rate, every, wanted):
    """Multiples of 0.1 are no exact floating-point numbers."""
    count = wanted[-1] + 2
    with av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(count):
            out.mux(stream.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32)))))
        out.mux(stream.encode(None))
    track = Track(START + np.array([0.0, 29.0]), np.array([47.0, 47.1]), np.array([8.0, 8.0]))
    found = extract_frames(tmp_path / name, track, tmp_path / "frames", every, "2026-05-01T12:00:00")
    assert [round(float(photo.path.stem) * rate) for photo in found] == wanted


def test_what_is_no_track(tmp_path):
    for text in ("<kml/>", "", "a,b\n", "\xff\xfe<gpx>", "<html><body/></html>"):
        (tmp_path / "t.gpx").write_text(text)
        with pytest.raises(MapError, match="t.gpx is not a GPX track"):
            read_track(tmp_path / "t.gpx")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("", "(2026-05-01 12:00:00 to 2026-05-01 12:00:03 UTC, the track 2026-05-01 12:00:30 to 2026-05-01 12:00:31); "
             "check its clock, or pass --start"),
        ("2026-05-02T12:00:00", "(2026-05-02 12:00:00 to 2026-05-02 12:00:03 UTC, the track 2026-05-01 12:00:30 to "
                                "2026-05-01 12:00:31); correct --start"),
        ("noon", "--start 'noon' is not a time; write it as 2026-05-01T12:00:00"),
    ],
)  # fmt: skip
def test_a_start_that_was_given_is_not_asked_for(tmp_path, start, words):
    track = read_track(tracked(tmp_path / "t.gpx", segment([(30, 47.0, 8.0), (31, 47.0, 8.0)])))
    with pytest.raises(MapError) as caught:
        extract_frames(filmed(tmp_path / "a.mp4"), track, tmp_path / "frames", 1.0, start)
    assert words in str(caught.value)


@pytest.fixture
def drive(tmp_path, seams, capsys):
    """A video of 8 s, its track of 12 s, and a function that adds it to a map.

    It returns the latitude of each frame in the map, and what is printed. The map's folder has no other frames.
    """
    seams.replace("vpr.map._model", lambda options: a_model())
    padded(filmed(tmp_path / "a.mp4", seconds=8))
    tracked(tmp_path / "t.gpx", LINE)

    def add(start, gpx="t.gpx", every=1):
        given = [
            tmp_path / "map",
            "add",
            tmp_path / "a.mp4",
            "--gpx",
            tmp_path / gpx,
            "--start",
            start,
            "--every",
            every,
        ]
        assert map_command.main([str(word) for word in given]) == 0
        (table,) = (tmp_path / "map").glob("photos-*.csv")
        rows = list(csv.DictReader(table.open()))
        files = sorted(path.name for path in (tmp_path / "map" / "frames").rglob("*.jpg"))
        assert files == sorted(row["key"].rpartition("/")[2] for row in rows), "as many files as photos"
        found = {round(float(Path(row["key"]).stem)): round(float(row["latitude"]), 7) for row in rows}
        cache = DescriptorCache(tmp_path / "map" / "descriptors.h5")
        assert {photo_key(name).rpartition("/")[2] for name in cache.keys} == {*files}
        return found, capsys.readouterr().out

    return add


def test_a_start_that_is_put_right_leaves_no_frame_where_the_wrong_one_put_it(drive):
    assert drive("2026-05-01T12:00:06Z")[0] == {s: 47 + (s + 6) / 1e4 for s in range(6)}
    found, said = drive("2026-05-01T11:59:56Z")
    assert found == {s: 47 + (s - 4) / 1e4 for s in range(4, 8)}
    assert "4 photos (2 new, 2 changed, 0 unchanged; 2 described; 4 outdated frames removed" in said
    found, said = drive("2026-05-01T11:59:56Z")
    assert len(found) == 4 and "4 photos (0 new, 0 changed, 4 unchanged; 0 described)" in said


def test_a_video_in_anothers_place_leaves_no_frame_of_it(tmp_path, drive):
    """Of the same name and size, with a track that covers less of it."""
    assert len(drive("2026-05-01T12:00:00Z")[0]) == 8
    padded(filmed(tmp_path / "a.mp4", seed=1, seconds=8))
    tracked(tmp_path / "u.gpx", segment([(s, 47.5, 8.0) for s in range(3)]))
    assert drive("2026-05-01T12:00:00Z", "u.gpx")[0] == dict.fromkeys(range(3), 47.5)


def test_a_drive_with_two_tracks_keeps_the_frames_of_both(tmp_path, drive):
    tracked(tmp_path / "u.gpx", segment([(s, 47 + s / 1e4, 8.0) for s in range(3)]))
    tracked(tmp_path / "v.gpx", segment([(s, 47 + s / 1e4, 8.0) for s in range(5, 8)]))
    drive("2026-05-01T12:00:00Z", "u.gpx")
    assert drive("2026-05-01T12:00:00Z", "v.gpx")[0] == {s: 47 + s / 1e4 for s in (0, 1, 2, 5, 6, 7)}
    tracked(tmp_path / "u.gpx", segment([(s, 47.5, 8.0) for s in range(1, 3)]))
    assert drive("2026-05-01T12:00:00Z", "u.gpx")[0] == {1: 47.5, 2: 47.5, **{s: 47 + s / 1e4 for s in (5, 6, 7)}}
    assert drive("2026-05-01T12:00:00Z", "v.gpx", every=2)[0] == {1: 47.5, 2: 47.5, 6: 47.0006}


TIME, LATER = "2026-05-01T12:00:00Z", "2026-05-01T12:00:01Z"


@pytest.fixture
def two_tracks(tmp_path):
    """Two tracks of one drive: its first three seconds, and three later ones."""
    tracked(tmp_path / "u.gpx", segment([(s, 47 + s / 1e4, 8.0) for s in range(3)]))
    tracked(tmp_path / "v.gpx", segment([(s, 47 + s / 1e4, 8.0) for s in range(5, 8)]))


def kill(*_):
    raise KeyboardInterrupt


def killed_drive(drive, function, *given):
    """A command that is killed when it calls a function."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(function, kill)
        with pytest.raises((KeyboardInterrupt, AssertionError)):
            drive(*given)


BEFORE_MAP, AFTER_MAP = "vpr.maps.building._write", "vpr.maps.frames.VideoFrames.finish"


@pytest.mark.parametrize("moment", [BEFORE_MAP, AFTER_MAP])
def test_a_kill_loses_no_frame_of_another_track(drive, two_tracks, moment):
    drive(TIME, "u.gpx")
    killed_drive(drive, moment, TIME, "v.gpx")
    assert drive(TIME, "v.gpx")[0] == {s: 47 + s / 1e4 for s in (0, 1, 2, 5, 6, 7)}


def test_a_kill_of_the_first_command_loses_no_frame_either(drive, two_tracks):
    killed_drive(drive, AFTER_MAP, TIME, "u.gpx")
    assert drive(TIME, "v.gpx")[0] == {s: 47 + s / 1e4 for s in (0, 1, 2, 5, 6, 7)}


@pytest.mark.parametrize(
    ("moment", "start", "wanted"),
    [
        (BEFORE_MAP, LATER, {4: 47.0005, 5: 47.0006, 6: 47.0007}),
        (BEFORE_MAP, TIME, {s: 47 + s / 1e4 for s in (0, 1, 2, 5, 6, 7)}),
        (AFTER_MAP, LATER, {0: 47.0001, 1: 47.0002, 4: 47.0005, 5: 47.0006, 6: 47.0007}),
        (AFTER_MAP, TIME, {5: 47.0005, 6: 47.0006, 7: 47.0007}),
    ],
)
def test_a_kill_while_a_start_is_put_right_leaves_no_frame_of_the_other_start(drive, two_tracks, moment, start, wanted):
    """The map has the frames of one start: of the first if the kill was before its write, otherwise of the second."""
    drive(TIME, "u.gpx")
    killed_drive(drive, moment, LATER, "u.gpx")
    assert drive(start, "v.gpx")[0] == wanted


@pytest.mark.parametrize(
    ("start", "gpx", "wanted"),
    [
        (TIME, "v.gpx", {s: 47 + s / 1e4 for s in (0, 1, 2, 5, 6, 7)}),
        ("2026-05-01T12:00:02Z", "t.gpx", {s: 47 + (s + 2) / 1e4 for s in range(8)}),
        ("2026-05-01T11:59:49Z", "w.gpx", {0: 47.5, 1: 47.5}),
    ],
)
def test_frames_without_a_record_are_valid_unless_one_of_them_moves(tmp_path, drive, two_tracks, start, gpx, wanted):
    """As in maps of the version that wrote no record."""
    tracked(tmp_path / "w.gpx", "".join(f'<trkpt lat="47.5" lon="8.0"><time>2026-05-01T11:59:{s}Z</time></trkpt>'
                                        for s in (49, 50)).join(("<trkseg>", "</trkseg>")))  # fmt: skip
    drive(TIME, "u.gpx")
    (record,) = (tmp_path / "map").rglob("video.json")
    record.unlink()
    assert drive(start, gpx)[0] == wanted
    assert record.is_file()


def test_a_second_command_is_refused_before_it_touches_a_frame(tmp_path, drive, two_tracks, capsys):
    drive(TIME, "u.gpx")
    before = {path: path.read_bytes() for path in (tmp_path / "map" / "frames").rglob("*") if path.is_file()}
    with write_access(tmp_path / "map"):
        given = ["add", str(tmp_path / "a.mp4"), "--gpx", str(tmp_path / "v.gpx"), "--start", LATER]
        assert map_command.main([str(tmp_path / "map"), *given]) == 1
    assert "is being written by another process" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (tmp_path / "map" / "frames").rglob("*") if path.is_file()}


@pytest.mark.parametrize("function", ["vpr.maps.frames.extract_frames", AFTER_MAP])
def test_the_lock_is_held_from_the_first_frame_to_the_record(tmp_path, drive, monkeypatch, function):
    module, _, name = function.rpartition(".")
    whole, refused = getattr(pkgutil.resolve_name(module), name), []

    def call(*given):
        with pytest.raises(VprError, match="is being written by another process"), write_access(tmp_path / "map"):
            pass
        refused.append(True)
        return whole(*given)

    monkeypatch.setattr(function, call)
    drive(TIME)
    assert refused == [True]


def test_a_missing_video_leaves_no_folder(tmp_path, capsys):
    given = ["add", str(tmp_path / "none.mp4"), "--gpx", str(tmp_path / "t.gpx")]
    assert map_command.main([str(tmp_path / "map"), *given]) == 1
    assert "there is no video" in capsys.readouterr().err and not (tmp_path / "map").exists()


def test_a_video_whose_name_is_not_utf8(tmp_path, drive, caplog):
    """And the folder of another name is that of earlier versions."""
    digest = hashlib.sha256(f"{tmp_path.resolve()}/a.mp4 {(tmp_path / 'a.mp4').stat().st_size}".encode()).hexdigest()
    caplog.set_level("ERROR", "vpr")  # pytest-xdist cannot send this name
    other = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    shutil.copy(tmp_path / "a.mp4", other)
    (frames,) = take_frames(tmp_path / "one", [other], tmp_path / "t.gpx", 1.0, TIME, {})
    add_photos(tmp_path / "one", a_model(), frames.photos)
    assert len(Map.open(tmp_path / "one", a_model())) == 8
    drive(TIME)
    assert [path.name for path in (tmp_path / "map/frames").iterdir()] == [f"a-{digest[:8]}"]


@pytest.mark.parametrize("way", ["copied", "moved", "linked", "both at once"])
def test_a_video_under_another_name_adds_no_frame_again(tmp_path, drive, caplog, way):
    first = drive("2026-05-01T12:00:00Z")[0]
    other = tmp_path / "b.mp4"
    if way == "moved":
        (tmp_path / "a.mp4").rename(other)
    elif way == "linked":
        other.hardlink_to(tmp_path / "a.mp4")
    else:
        shutil.copy(tmp_path / "a.mp4", other)
    videos = [str(tmp_path / "a.mp4")] if way == "both at once" else []
    track = ["--gpx", str(tmp_path / "t.gpx"), "--every", "1"]
    assert map_command.main([str(tmp_path / "map"), "add", *videos, str(other), *track]) == 0
    assert len(DescriptorCache(tmp_path / "map" / "descriptors.h5").keys) == len(first)
    assert ("b.mp4 is a copy of a video before it, and is skipped" in caplog.text) == (way == "both at once")


def test_one_start_for_two_videos_is_refused(tmp_path, capsys):
    arguments = [str(tmp_path / "map"), "add", "a.mp4", "b.mp4", "--gpx", "t.gpx", "--start", "2026-05-01T12:00:00Z"]
    assert map_command.main(arguments) == 1
    assert "--start is the time of one video, and 2 are given; add each" in capsys.readouterr().err


def test_a_damaged_record_of_a_video_is_named(tmp_path, drive, capsys):
    drive("2026-05-01T12:00:00Z")
    (record,) = (tmp_path / "map").rglob("video.json")
    record.write_text("{}")
    with pytest.raises(AssertionError):
        drive("2026-05-01T12:00:00Z")
    assert f"{record} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_video_is_named(tmp_path, share):
    whole = filmed(tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MapError, match="a.mp4 (cannot be read as a video .*|has no frame); convert it"):
        extract_frames(tmp_path / "a.mp4", read_track(tracked(tmp_path / "t.gpx", LINE)), tmp_path / "frames", 1.0)
