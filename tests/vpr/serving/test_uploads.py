"""What is sent: photos in every form, and what is none, too large or malicious."""

import io
import json
import struct
import sys
import time
import zlib
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import write_photo
from PIL import Image
from PIL.TiffImagePlugin import PREFIXES
from serving import BODIES, FILES, HARMLESS, PHOTO, client_of, encoded, post

from vpr.description.images import fit_image, read_image
from vpr.serving.limits import Refused
from vpr.serving.photos import decoded

NAMES = {
    "html": ("<img src=x onerror=alert(1)>.jpg",) * 2,
    "path": ("../../../../etc/passwd",) * 2,
    "windows": ("C:\\Windows\\win.ini", "win.ini"),
    "control": ("a\x1b[31mb\x07.jpg", "a\x1b[31mb%07.jpg"),  # by the client of the tests
    "direction": ("\u202egpj.exe",) * 2,
    "long": ("x" * 3000 + ".jpg", "x" * 255),
    "nothing but a point": (".",) * 2,
}


@pytest.fixture(scope="module")
def client(photo_map):
    with client_of(photo_map, max_mb=2) as client:
        yield client
        first = photo_map.content.table.keys[0]
        with open(first, "rb") as file:
            assert post(client, file.read(), "a.jpg").json() == expected(photo_map, first, "a.jpg"), "still in order"


def expected(photo_map, path, name):
    return json.loads(json.dumps({**photo_map.locate(path).as_json(), "photo": name}))


@pytest.mark.parametrize("size", [(48, 40), (700, 500)])
@pytest.mark.parametrize("turn", [1, 6])
def test_the_answer_is_that_of_the_map(client, photo_map, tmp_path, size, turn):
    path = write_photo(tmp_path / "a.jpg", None, size=size, seed=3)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = turn
        image.save(path, exif=exif)
    answer = post(client, path.read_bytes(), "mine.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == expected(photo_map, path, "mine.jpg")
    bare = client.post("/locate", content=path.read_bytes(), headers={"content-type": "image/jpeg"})
    assert bare.json() == expected(photo_map, path, "photo")


@pytest.mark.parametrize("crop", ["resize", "centre"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(640, 481), (33, 57), (32, 32)])
def test_a_decoded_upload_is_to_a_map_what_the_file_is(tmp_path, crop, interpolation, size):
    path = write_photo(tmp_path / "a.jpg", None, size=size)
    takes = SimpleNamespace(input_size=(32, 32), interpolation=interpolation, crop=crop)
    pixels = decoded(path.read_bytes(), "a.jpg", "", takes, 10**6)
    seen = fit_image(Image.fromarray(pixels), (32, 32), interpolation, crop)
    np.testing.assert_array_equal(seen, read_image(path, (32, 32), interpolation, crop))


@pytest.mark.parametrize("case", FILES)
def test_what_is_no_photo_is_refused_in_one_sentence(client, case):
    data, status = FILES[case]
    answer = post(client, data)
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]
    assert said and "\n" not in said and "Traceback" not in said and "0x" not in said


def foreign(kind):
    """A file that Pillow opens, of a format that the service does not open."""
    if kind == "PSD":
        head = struct.pack(">4sH6xHLLHH", b"8BPS", 1, 3, 48, 64, 8, 3)
        return head + bytes(4 * 3 + 2 + 64 * 48 * 3)
    if kind == "WMF":
        return b"\xd7\xcd\xc6\x9a" + struct.pack("<H4hHLH", 0, 0, 0, 64, 48, 72, 0, 0) + b"\x01\0\x09\0" + bytes(60)
    return encoded(kind, mode="1" if kind == "XBM" else "RGB", colour=1 if kind == "XBM" else "red")


@pytest.mark.parametrize("kind", ["EPS", "PSD", "WMF", "PCX", "TGA", "ICO", "DDS", "SGI", "ICNS", "XBM"])
def test_other_formats_are_not_opened(client, kind):
    data = foreign(kind)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == kind, "Pillow would open it"
    for name in ("a.jpg", f"a.{kind.lower()}"):
        answer = post(client, data, name)
        assert answer.status_code == 415 and "no photo that can be read; send JPEG" in answer.json()["error"]
    assert client.post("/locate", content=data, headers={"content-type": "image/jpeg"}).status_code == 415


SOUND = [encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")]
EDITS = st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=40), st.integers(0, 40)), min_size=1, max_size=8)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(SOUND), EDITS)
def test_any_bytes_are_a_photo_or_are_refused(whole, edits):
    data = bytearray(whole)
    for place, new, gone in edits:
        place %= len(data) + 1
        data[place : place + gone] = new
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    try:
        assert decoded(bytes(data), "a", "", takes, 10**6).shape == (32, 32, 3)
    except Refused as refused:
        assert refused.status in (400, 413, 415, 422)


@pytest.mark.parametrize("case", HARMLESS)
def test_what_lies_behind_a_photo_does_nothing(client, case):
    answer = post(client, HARMLESS[case])
    assert answer.status_code == 200 and len(answer.json()["matches"]) == 5


@pytest.mark.parametrize("case", BODIES)
def test_a_request_that_is_none_is_refused(client, case):
    headers, body, status = BODIES[case]
    answer = client.post("/locate", content=body, headers=headers)
    assert (answer.status_code, [*answer.json()]) == (status, ["error"]), answer.text


@pytest.mark.parametrize(("name", "told"), NAMES.values(), ids=NAMES)
def test_a_name_is_text_and_nothing_else(client, name, told):
    answer = post(client, PHOTO, name)
    assert (answer.status_code, answer.json()["photo"]) == (200, told)


def test_bytes_that_are_no_text_in_a_name(client):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="photo"; filename="\xff\xed\xa0\x80"\r\n\r\n'
        + PHOTO
        + b"\r\n--x--"
    )
    answer = client.post("/locate", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert (answer.status_code, answer.json()["photo"]) == (200, "\xff\xed\xa0\x80")


def test_a_name_takes_one_line_of_the_log(client, caplog):
    caplog.set_level("INFO", "vpr")
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a\t\t b"\r\n\r\n' + PHOTO + b"\r\n--x--"
    client.post("/locate", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    (line,) = [message for message in caplog.messages if " a b: " in message]  # its text is of other loggers too
    assert "\t" not in line


def test_heic_is_read_where_its_package_is(client, photo_map, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.open(write_photo(tmp_path / "a.jpg", None, size=(64, 64))).save(tmp_path / "a.heic")
    data = (tmp_path / "a.heic").read_bytes()
    assert post(client, data, "a.heic").json() == expected(photo_map, tmp_path / "a.heic", "a.heic")
    bare = client.post("/locate", content=data, headers={"content-type": "image/heic"})
    assert bare.json() == expected(photo_map, tmp_path / "a.heic", "photo")


def many_chunks(count):
    """A PNG with ``count`` empty chunks before its pixels."""
    whole = encoded("PNG")
    empty = bytes(4) + b"teXt" + zlib.crc32(b"teXt").to_bytes(4, "big")
    return whole[:33] + empty * count + whole[33:]


def many_strips(count, prefix=b"II*\0", big=False):
    """A TIFF whose first page claims ``count`` strips."""
    order = "<" if prefix[:2] == b"II" else ">"
    if big:
        head = prefix + struct.pack(order + "HHQQ", 8, 0, 16, 1)
        return head + struct.pack(order + "HHQQ", 273, 4, count, 52) + bytes(8)
    page = struct.pack(order + "H", 1) + struct.pack(order + "HHLL", 273, 4, count, 8 + 2 + 12 + 4)
    return prefix + struct.pack(order + "L", 8) + page + bytes(4) + bytes(400)


def pages(*tags, loop=False):
    """A TIFF of pages without pixels, each of some entries (tag, type, count, value)."""
    data = b"II*\0" + struct.pack("<L", 8)
    for number, entries in enumerate(tags):
        end = len(data) + 6 + 12 * len(entries)
        body = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
        last = number == len(tags) - 1
        data += struct.pack("<H", len(entries)) + body + struct.pack("<L", (8 if loop else 0) if last else end)
    return data


SMALL = [(254, 4, 1, 1), (256, 4, 1, 64), (257, 4, 1, 48), (258, 4, 1, 8), (262, 4, 1, 1)]  # a page of a thumbnail


@pytest.mark.parametrize(
    "data",
    [many_chunks(1_000_000), many_strips(5_000_000), many_strips(5_000_000, b"II+\0", big=True),
     pages(SMALL, [(256, 4, 1, 64), (273, 4, 5_000_000, 8)]), pages(SMALL, SMALL, [(324, 4, 5_000_000, 8)]),
     pages(SMALL, *[[(700, 4, 1, 0)] * 60_000] * 2), pages([(700, 4, 1, 0)] * 60_000, loop=True)],
    ids=["chunks", "strips", "strips of a big TIFF", "strips of a second page", "tiles of a third page", "tags",
         "a page that is its own next"],
)  # fmt: skip
def test_parts_that_hold_a_decoder_are_refused_at_once(data):
    takes, began = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize"), time.perf_counter()
    with pytest.raises(Refused, match="more parts than any camera writes") as refused:
        decoded(data, "a", "", takes, 10**9)
    assert refused.value.status == 422 and time.perf_counter() - began < 2


@pytest.mark.parametrize(("prefix", "big"), [*((prefix, prefix[2:3] == b"+") for prefix in PREFIXES), (b"MM\0+", True)])
def test_every_tiff_that_pillow_opens_is_looked_at(prefix, big):
    """Pillow opens some that no standard knows, and takes one of the two kinds of BigTIFF for a plain one."""
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    with pytest.raises(Refused, match="more parts than any camera writes"):
        decoded(many_strips(5_000_000, prefix, big), "a", "", takes, 10**9)


def two_pages(size):
    """A TIFF of a thumbnail of 64 x 48 pixels, and the picture."""
    buffer, whole = io.BytesIO(), Image.new("L", size, 200)
    whole.encoderinfo = {"tiffinfo": {254: 0}}
    Image.new("L", (64, 48)).save(buffer, "TIFF", save_all=True, append_images=[whole], tiffinfo={254: 1})
    return buffer.getvalue()


def test_the_pixels_of_a_tiff_are_those_of_the_page_that_is_decoded():
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    assert decoded(two_pages((90, 90)), "a", "", takes, 10_000).min() == 200
    with pytest.raises(Refused, match="more than 0.01 million pixels") as refused:
        decoded(two_pages((130, 120)), "a", "", takes, 10_000)
    assert refused.value.status == 413


def test_a_big_tiff_that_says_it_begins_beyond_memory_is_refused():
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    with pytest.raises(Refused):
        decoded(b"II+\0\x08\0\0\0" + b"\xff" * 80, "a", "", takes, 10_000)


@pytest.mark.parametrize(("name", "kind"), [("photo", "image/heic"), ("photo.heic", ""), ("my photo.heic.HEIC", "")])
def test_a_format_that_needs_a_package_is_told_of_the_photo(monkeypatch, name, kind):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    with pytest.raises(Refused, match="^the photo is HEIC, which needs another package: pip install") as refused:
        decoded(b"what no format begins with", name, kind, takes, 10_000)
    assert refused.value.status == 415


def test_parts_of_usual_files_are_read():
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4000)).save(buffer, "TIFF", tiffinfo={278: 1})
    for data in (many_chunks(50), buffer.getvalue()):
        assert decoded(data, "a", "", takes, 10**6).shape == (32, 32, 3)


def test_jpeg_2000_has_a_limit_of_its_own(monkeypatch):
    """Its decoder takes 65 bytes for a pixel."""
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    monkeypatch.setattr("vpr.serving.photos.MOST_JPEG_2000", 1000)
    for kind, refused in (("JPEG2000", True), ("JPEG", False)):
        data = encoded(kind, size=(64, 48))
        with pytest.raises(Refused, match="more than 0.001 million pixels") if refused else nullcontext():
            assert decoded(data, "a", "", takes, 10**6).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("name", ["a.jpg", "a.heic", "a"])
def test_an_upload_is_what_it_holds(kind, name):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    pixels = decoded(encoded(kind, size=(64, 64), colour=(200, 0, 0)), name, "image/jpeg", takes, 10**6)
    assert pixels[16, 16, 0] > 180


def test_damaged_heic_is_refused():
    pytest.importorskip("pillow_heif").register_heif_opener()
    takes = SimpleNamespace(input_size=(32, 32), interpolation="bicubic", crop="resize")
    whole = encoded("HEIF", size=(64, 64))
    for share in (0.5, 0.8, 0.95):
        with pytest.raises(Refused) as refused:
            decoded(whole[: int(share * len(whole))], "a.heic", "", takes, 10**6)
        assert refused.value.status in (415, 422)
