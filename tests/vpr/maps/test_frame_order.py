"""The order of the frames of drives."""

from pathlib import Path

from PIL import ExifTags, Image

from vpr.maps.frame_order import split_drives


def test_frames_come_in_the_order_of_their_numbers_folder_by_folder():
    names = ["b/frame10.jpg", "b/frame8.jpg", "a/2x10.jpg", "a/2x9.jpg", "a/x.jpg"]
    drives = split_drives([Path(name) for name in names])
    assert [[str(path) for path in drive] for drive in drives] == [
        ["b/frame8.jpg", "b/frame10.jpg"], ["a/2x9.jpg", "a/2x10.jpg", "a/x.jpg"],
    ]  # fmt: skip


def test_frames_with_times_come_in_their_order(tmp_path):
    """By the time in their EXIF, and by name if one has none."""
    for name, time, fraction in (("a.jpg", "12:00:01", "9"), ("b.jpg", "12:00:01", "10"), ("c.jpg", "11:59:59", "")):
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif).update({
            ExifTags.Base.DateTimeOriginal: f"2026:05:01 {time}", ExifTags.Base.SubsecTimeOriginal: fraction,
        })  # fmt: skip
        Image.new("RGB", (8, 8)).save(tmp_path / name, exif=exif)
    assert [path.name for path in split_drives(sorted(tmp_path.iterdir()))[0]] == ["c.jpg", "b.jpg", "a.jpg"]
    Image.new("RGB", (8, 8)).save(tmp_path / "d.jpg")
    assert [path.name for path in split_drives(sorted(tmp_path.iterdir()))[0]] == [
        "a.jpg", "b.jpg", "c.jpg", "d.jpg",
    ]  # fmt: skip
