"""Which files of a folder are photos, and which are skipped."""

from pathlib import Path

import pytest
from permissions import needs_permissions, python
from PIL import Image

from vpr.base.photo_files import ENDINGS, format_of, is_hidden, is_photo, skipped_text, sort_files, walk_files

ROOT = Path(__file__).resolve().parents[3]
LEFT_BY_SYSTEMS = (
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", ".Trash-1000/files/a.jpg",
    "#recycle/a.jpg", ".@__thumb/a.jpg", "__MACOSX/._a.jpg", "Thumbs.db", "._a.jpg", "$RECYCLE.BIN/a.jpg",
    "lost+found/a.jpg", "System Volume Information/a.jpg", "@Recycle/a.jpg", ".git/a.jpg",
)  # fmt: skip


def touch(folder, name, data=b"\xff\xd8\xff\xe0"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("left", LEFT_BY_SYSTEMS)
def test_what_systems_leave_is_neither_read_nor_counted(tmp_path, left):
    photo = touch(tmp_path, "sub/a.jpg")
    touch(tmp_path, left)
    assert sort_files(tmp_path) == ([photo], {})
    assert [*walk_files(tmp_path)] == [photo]


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    photo = touch(tmp_path, ".Trash-1000/a.jpg")
    assert sort_files(tmp_path / ".Trash-1000")[0] == [photo]
    assert not is_hidden("#1 on the list") and not is_hidden("@1@2@.jpg")


@pytest.mark.parametrize("ending", ENDINGS)
def test_endings_of_photos_in_capitals_too(tmp_path, ending):
    assert is_photo(touch(tmp_path, f"a{ending}")) and is_photo(touch(tmp_path, f"b{ending.upper()}"))


def test_other_files_are_counted_by_their_endings(tmp_path):
    names = ("a.jpg", "bare", "a.xmp", "b.xmp", "a.DNG", "a.jpg_original", "notes", "clip.mov")
    for name in names:
        touch(tmp_path, name, b"\xff\xd8\xff\xe0" if name != "notes" else b"text")
    photos, others = sort_files(tmp_path)
    assert [path.name for path in photos] == ["a.jpg", "bare"], "a photo without an ending, and no copy of before"
    assert others == {".xmp": 2, ".dng": 1, ".jpg_original": 1, "without an ending": 1, ".mov": 1}
    assert skipped_text(others).startswith("6 other files are skipped (2 .xmp, ") and "..." in skipped_text(others)


COUNT = """
import sys
from pathlib import Path
from vpr.base.photo_files import sort_files
print(dict(sort_files(Path(sys.argv[1]))[1]))
"""


@needs_permissions
def test_a_folder_that_may_not_be_read_is_counted(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "locked").mkdir(mode=0)
    done = python("-c", COUNT, tmp_path, cwd=ROOT)
    assert done.stdout == "{'folder that may not be read': 1}\n", done.stderr


def test_formats_by_their_first_bytes(tmp_path):
    for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF"):
        Image.new("RGB", (64, 64)).save(tmp_path / "a", name)
        assert format_of((tmp_path / "a").read_bytes()[:64]) == name
    box = b"\0\0\0\x1cftyp"
    assert format_of(box + b"mif1\0\0\0\0mif1heic") == "HEIF" and format_of(box + b"mif1\0\0\0\0mif1avif") == "AVIF"
    assert format_of(box + b"isom\0\0\0\0isommp42") is None and format_of(box + b"crx \0\0\0\0crx isom") is None
    assert format_of(b"") is None and format_of(b"RIFF\0\0\0\0WAVE") is None
