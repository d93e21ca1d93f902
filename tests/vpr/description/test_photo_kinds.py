"""Photos as people have them: every format upright, no picture black, formats by content, and large panoramas."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from pictures import STORED, distance, quadrants
from PIL import Image, ImageCms, PngImagePlugin

from vpr.description import images
from vpr.description.images import ImageError, convert_to_rgb, decode_image, decode_upright, read_image
from vpr.description.photos import find_photo_files, read_for_display
from vpr.description.thumbnails import ThumbnailSize, thumbnail

FORMATS = {
    "a.jpg": {}, "a.png": {}, "a.webp": {"lossless": True}, "a.tif": {}, "lzw.tif": {"compression": "tiff_lzw"},
    "a.avif": {"quality": 95}, "a.mpo": {}, "a.heic": {"quality": 95},
}  # fmt: skip


def saved(path, picture, orientation=1, **options):
    """A picture of pixels with an EXIF orientation; the writer of HEIC turns it by its properties."""
    if path.suffix == ".heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(picture)).save(path, exif=exif.tobytes(), **options)
    return path


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_upright_in_every_orientation(tmp_path, name, orientation):
    """The decoder of TIFF turns a picture itself."""
    path = saved(tmp_path / name, STORED[orientation](quadrants()), orientation, **FORMATS[name])
    assert distance(read_image(path, (64, 96)), quadrants()) < 8
    assert distance(read_image(path, (64, 96), "bilinear"), quadrants()) < 8
    assert distance(read_image(path, (56, 56), crop="centre"), quadrants()[:, 16:80][4:60, 4:60]) < 12
    shown, small = read_for_display(path, 96), Image.open(io.BytesIO(thumbnail(path, ThumbnailSize(96, 95))))
    assert distance(shown, quadrants()) < 8 and distance(np.asarray(small), quadrants()) < 8


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_of_pillow_is_upright_decoded_or_not(tmp_path, orientation):
    for name in ("a.tif", "a.png"):
        saved(tmp_path / name, STORED[orientation](quadrants()), orientation)
        for decoded in (False, True):
            with Image.open(tmp_path / name) as image:
                if decoded:
                    image.load()
                assert distance(np.asarray(decode_upright(image)), quadrants()) == 0


@pytest.mark.parametrize("orientation", STORED)
def test_heic_that_says_its_orientation_in_exif_alone(tmp_path, orientation):
    """Some programs write no property of HEIC that turns the picture."""
    pytest.importorskip("pillow_heif").register_heif_opener()
    picture = np.ascontiguousarray(STORED[orientation](quadrants()))
    image = Image.fromarray(picture)
    image.save(tmp_path / "a.heic", quality=95)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "b.heic", quality=95, exif=exif)
    assert b"irot" not in (tmp_path / "b.heic").read_bytes()
    assert distance(read_image(tmp_path / "b.heic", (64, 96)), quadrants()) < 8


@pytest.mark.parametrize("name", ["Raw profile type exif", "Raw profile type APP1"])
def test_exif_in_a_text_of_png(tmp_path, name):
    """As ImageMagick writes the EXIF of a JPEG."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = exif.tobytes()
    lines = [data.hex()[at : at + 72] for at in range(0, 2 * len(data), 72)]
    info = PngImagePlugin.PngInfo()
    info.add_text(name, "\n".join(["", "app1", f"{len(data):8}", *lines, ""]), zip=True)
    Image.fromarray(np.ascontiguousarray(STORED[6](quadrants()))).save(tmp_path / "a.png", pnginfo=info)
    assert distance(read_image(tmp_path / "a.png", (64, 96)), quadrants()) < 8


@pytest.mark.parametrize("orientation", [0, 9, 4000])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quadrants()).save(tmp_path / "a.png", exif=exif)
    assert distance(read_image(tmp_path / "a.png", (64, 96)), quadrants()) == 0


def tiff(path, data, bits, samples=1, photometric=1, more=()):
    """A TIFF of one strip, 96 x 64 pixels; its tags are written by hand."""
    fields = {
        256: (3, [96]), 257: (3, [64]), 258: (3, [bits] * samples), 259: (3, [1]), 262: (3, [photometric]),
        273: (4, [0]), 277: (3, [samples]), 278: (3, [64]), 279: (4, [len(data)]), **dict(more),
    }  # fmt: skip
    letters, rest, entries = {1: "B", 3: "H", 4: "L"}, b"", b""
    start = 8 + 2 + 12 * len(fields) + 4
    room = sum(2 * len(values) for kind, values in fields.values() if kind == 3 and len(values) > 2)
    for tag in sorted(fields):
        kind, values = fields[tag]
        values = [start + room] if tag == 273 else values
        packed = struct.pack(f"<{len(values)}{letters[kind]}", *values)
        if len(packed) > 4:
            packed, rest = struct.pack("<L", start + len(rest)), rest + packed
        entries += struct.pack("<HHL", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<L", 8) + struct.pack("<H", len(fields))
    path.write_bytes(head + entries + bytes(4) + rest + data)
    return path


def twelve(values):
    """Values of 12 bits, two in three bytes."""
    pairs = values.reshape(-1, 2).astype(int)
    parts = [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255]
    return np.stack(parts, 1).astype(np.uint8).tobytes()


GREY = np.linspace(0, 255, 64 * 96).astype(np.uint8).reshape(64, 96)


def of_bits(bits):
    """The same grey at a bit depth."""
    return GREY.astype(np.uint32) * (2**bits - 1) // 255


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "32.tif"])
def test_no_bits_of_a_camera_turn_a_picture_black(tmp_path, name, bits):
    """Values of 8 bits stay as they are, 12 and 16 bits are scaled down. Those between are dark."""
    pixels = of_bits(bits).astype(np.int32 if name == "32.tif" else np.uint16)
    Image.fromarray(pixels).save(tmp_path / name)
    found = read_image(tmp_path / name, (64, 96), "bilinear")[..., 0]
    if bits == 8:
        assert np.array_equal(found, GREY)
    assert np.abs(found.astype(int) - GREY // (1 if bits in (8, 12, 16) else 4)).max() <= 1


@pytest.mark.parametrize("most", [4096, 9000, 16383, 30000, 65535])
def test_the_brightness_of_a_photo_is_not_that_of_its_largest_value(tmp_path, most):
    pixels = np.minimum(of_bits(16), most).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", (64, 96), "bilinear")[..., 0], pixels // 257)


def test_unsigned_32_bits_and_12_bits_of_tiff(tmp_path):
    eight = tiff(tmp_path / "eight.tif", of_bits(8).astype("<u4").tobytes(), 32)
    wide = tiff(tmp_path / "wide.tif", of_bits(12).astype("<u4").tobytes(), 32)
    packed = tiff(tmp_path / "packed.tif", twelve(of_bits(12)), 12)
    dark = tiff(tmp_path / "dark.tif", twelve(of_bits(12) // 8), 12)
    for path, wanted in ((eight, GREY), (wide, GREY), (packed, GREY), (dark, GREY // 8)):
        assert np.abs(read_image(path, (64, 96), "bilinear")[..., 0].astype(int) - wanted).max() <= 1
    with pytest.raises(ImageError, match="more than 16 bits"):
        read_image(tiff(tmp_path / "b.tif", (of_bits(16) * 65537).astype("<u4").tobytes(), 32), (64, 96))


@pytest.mark.parametrize("bits", [8, 16])
def test_where_white_is_zero(tmp_path, bits):
    data = (2**bits - 1 - of_bits(bits)).astype(f"<u{bits // 8}").tobytes()
    path = tiff(tmp_path / "a.tif", data, bits, photometric=0)
    assert np.abs(read_image(path, (64, 96), "bilinear")[..., 0].astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("kind", ["plain.tif", "deflated.tif", "a.png"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_colours_of_fewer_bits_in_16_are_not_black(tmp_path, kind, bits):
    values = of_bits(bits)[..., None].repeat(3, 2)
    values[..., 1] //= 2
    found = read_image(deep_colours(tmp_path / kind, values), (64, 96), "bilinear").astype(int)
    assert np.abs(found - np.stack([GREY, GREY // 2, GREY], 2)).max() <= 1
    with Image.open(tmp_path / kind) as image:
        assert np.abs(np.asarray(decode_upright(image)).astype(int) - np.stack([GREY, GREY // 2, GREY], 2)).max() <= 1
    black = deep_colours(tmp_path / kind, np.zeros_like(values))
    assert not read_image(black, (64, 96)).any(), "one that is black is black"


def deep_colours(path, values):
    """An image (64, 96, 3) with colours of 16 bits, which Pillow cannot write."""
    if path.suffix == ".tif":
        data, deflated = values.astype("<u2").tobytes(), path.stem == "deflated"
        more = {259: (3, [8])} if deflated else {}
        return tiff(path, zlib.compress(data) if deflated else data, 16, samples=3, photometric=2, more=more)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = [(b"IHDR", struct.pack(">LLBBBBB", 96, 64, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body)) for name, body in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def test_what_is_transparent_in_16_bits_lies_on_white(tmp_path):
    grey = np.full((32, 32), 30000, np.uint16)
    grey[:, 16:] = 0
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=30000)
    found = np.asarray(decode_image(tmp_path / "a.png"))
    assert (found[:, :16] == 255).all() and not found[:, 16:].any()


@pytest.mark.parametrize("kind", ["another", "damaged"])
def test_colours_are_taken_as_they_are_whatever_the_profile(tmp_path, kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes() if kind == "another" else b"\0" * 99
    Image.fromarray(quadrants()).save(tmp_path / "a.png", icc_profile=profile)
    assert (read_image(tmp_path / "a.png", (64, 96)) == quadrants()).all()


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_of_several_pictures_the_first(tmp_path, name):
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert read_image(tmp_path / name, (32, 32))[16, 16].tolist() == [255, 0, 0]


def test_the_thumbnail_of_a_tiff_is_not_its_picture(tmp_path):
    """A raw photo shows a thumbnail alone to those who take it for TIFF."""
    small, whole = Image.new("L", (8, 8), 90), Image.fromarray(GREY)
    whole.encoderinfo = {"tiffinfo": {254: 0}}
    small.save(tmp_path / "a.tif", save_all=True, append_images=[whole], tiffinfo={254: 1})
    assert (read_image(tmp_path / "a.tif", (64, 96), "bilinear")[..., 0] == GREY).all()
    for tags in ({254: (4, [1])}, {50706: (1, [1, 4, 0, 0])}):
        with pytest.raises(ImageError, match="it is a raw photo, or contains only a thumbnail; export it as JPEG"):
            read_image(tiff(tmp_path / "c.tif", GREY.tobytes(), 8, more=tags), (8, 8))


def test_what_a_file_holds_and_not_its_ending_says_how_it_is_decoded(tmp_path):
    for number, name in enumerate(("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")):
        if name == "HEIF":
            pytest.importorskip("pillow_heif").register_heif_opener()
        for ending in (".jpg", ".heic", ".png"):
            path = tmp_path / f"{number}{ending}"
            Image.new("RGB", (64, 64), "red").save(path, name)
            assert read_image(path, (32, 32))[16, 16, 0] > 200
    assert len(find_photo_files(tmp_path)) >= 21


def test_heic_under_another_ending_says_what_it_is(tmp_path, monkeypatch):
    pytest.importorskip("pillow_heif").register_heif_opener()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.jpg", "HEIF")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "b.heic", "JPEG")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"a.jpg is HEIC, which needs another package: pip install 'vpr-ot\[heic\]'"):
        read_image(tmp_path / "a.jpg", (32, 32))
    assert read_image(tmp_path / "b.heic", (32, 32))[16, 16, 0] > 200


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "WEBP", "JPEG2000", "TIFF"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_photo_of_any_format_is_named(tmp_path, kind, share):
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole", kind)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match="a.jpg cannot be decoded") as caught:
        read_image(tmp_path / "a.jpg", (32, 32))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("error", [EOFError, RuntimeError, AttributeError, ZeroDivisionError])
def test_whatever_a_decoder_raises_names_the_photo(tmp_path, seams, error):
    Image.fromarray(quadrants()).save(tmp_path / "a.png")

    def fails(image):
        raise error

    seams.replace("vpr.description.images.convert_to_rgb", fails)
    with pytest.raises(ImageError, match=rf"a.png cannot be decoded \({error.__name__}\)"):
        read_image(tmp_path / "a.png", (32, 32))


def test_a_photo_of_more_pixels_than_pillow_opens_is_shrunk(tmp_path, monkeypatch):
    """With smaller limits than the real ones, which take a gigabyte."""
    whole = np.kron(quadrants()[::8, ::8], np.ones((160, 160, 1), np.uint8))  # 1280 x 1920
    for name, options in (("a.jpg", {}), ("progressive.jpg", {"progressive": True})):
        Image.fromarray(whole).save(tmp_path / name, quality=90, **options)
    Image.fromarray(whole).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MOST_PIXELS", whole.shape[0] * whole.shape[1] // 20)
    monkeypatch.setattr(images, "MOST_PROGRESSIVE", whole.shape[0] * whole.shape[1] // 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", whole.shape[0] * whole.shape[1] // 40)
    for interpolation in ("bicubic", "bilinear"):
        assert distance(read_image(tmp_path / "a.jpg", (64, 96), interpolation), quadrants()) < 6
    assert decode_image(tmp_path / "a.jpg").size == (240, 160)
    with pytest.raises(ImageError, match="million pixels and is progressive; save it smaller"):
        read_image(tmp_path / "progressive.jpg", (64, 96))
    with pytest.raises(ImageError, match="million pixels, save a smaller copy"):
        read_image(tmp_path / "a.png", (64, 96))


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (900, 1), (2, 3)])
def test_pictures_of_a_pixel_or_a_line(tmp_path, size):
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", size, "red").save(tmp_path / name)
        for crop in ("resize", "centre"):
            assert read_image(tmp_path / name, (32, 48), crop=crop).shape == (32, 48, 3)
        assert read_for_display(tmp_path / name, 64, "centre").size and thumbnail(
            tmp_path / name, ThumbnailSize(64, 80)
        )


def test_an_image_in_memory_may_be_of_any_size(monkeypatch):
    monkeypatch.setattr(images, "MOST_PIXELS", 10)
    assert decode_upright(Image.fromarray(quadrants())).size == (96, 64)
    assert convert_to_rgb(Image.fromarray(GREY)).size == (96, 64)
