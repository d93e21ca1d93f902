"""Reading photos: every common kind comes out upright, RGB and of the asked size; what cannot be read is named."""

import io
import tracemalloc

import numpy as np
import pytest
import torch
from pictures import STORED, distance, quadrants
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import CenterCrop, Resize

from vpr.description.image_files import ImageFiles, UncroppedImages
from vpr.description.images import ImageError, convert_to_rgb, read_image, read_stream
from vpr.description.photos import read_for_display


@pytest.mark.parametrize("orientation", STORED)
def test_photos_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](quadrants()))
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert distance(read_image(tmp_path / "a.jpg", (64, 96)), quadrants()) < 6


MODES = [("L", "a.jpg"), ("CMYK", "a.jpg"), ("RGBA", "a.png"), ("P", "a.png"), ("1", "a.png")]


@pytest.mark.parametrize(("mode", "name"), MODES)
def test_every_colour_mode_becomes_rgb(tmp_path, mode, name):
    picture = Image.fromarray(quadrants())
    picture.convert(mode).save(tmp_path / name)
    pixels = read_image(tmp_path / name, (64, 96))
    assert pixels.shape == (64, 96, 3) and pixels.dtype == np.uint8
    expected = picture.convert("L").convert("RGB") if mode in "L1" else picture
    assert distance(pixels, np.asarray(expected)) < (8 if mode != "1" else 130)
    assert pixels[50, 80].min() > 240


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_and_not_cut(tmp_path, name):
    grey = np.linspace(0, 65535, 64 * 96).reshape(64, 96).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / name)
    assert distance(read_image(tmp_path / name, (64, 96))[:, :, 0], grey // 257) < 2


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N", "I"])
def test_every_value_of_sixteen_bits_keeps_its_upper_part_without_much_memory(mode):
    values = np.arange(65536).repeat(32).reshape(1024, 2048)
    data = values.astype({"I": np.int32, "I;16B": ">u2"}.get(mode, np.uint16))
    image = Image.frombytes(mode, (2048, 1024), data.tobytes())
    tracemalloc.start()
    found = np.asarray(convert_to_rgb(image))
    peak = tracemalloc.get_traced_memory()[1] / values.size
    tracemalloc.stop()
    assert np.array_equal(found, (values // 257)[..., None].repeat(3, 2))
    assert peak < 10, "bytes a pixel"


@pytest.mark.parametrize("kind", ["RGBA", "LA", "palette", "colour key"])
def test_what_is_transparent_lies_on_white(tmp_path, kind):
    """Whatever colour is hidden under it, here red or black."""
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, 16:] = (0, 0, 90, 255)
    image, options = Image.fromarray(pixels), {}
    if kind == "LA":
        image = image.convert("LA")
    elif kind == "palette":
        image = image.convert("P")
        options = {"transparency": image.getpixel((0, 0))}
    elif kind == "colour key":
        image, options = image.convert("RGB"), {"transparency": (200, 0, 0)}
    image.save(tmp_path / "a.png", **options)
    found = read_image(tmp_path / "a.png", (32, 32))
    assert found[:, :12].min() == 255 and found[:, 20:].max() < 110


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="a.tif cannot be decoded .*range is not known; save it with 8 bits"):
        read_image(tmp_path / "a.tif", (8, 8))


def test_formats_that_start_programs_are_not_opened(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(ImageError, match="a.jpg cannot be decoded .no image"):
        read_image(tmp_path / "a.jpg", (8, 8))


@pytest.mark.parametrize("size", [(30, 50), (112, 112), (200, 20)])
def test_the_size_is_height_then_width(tmp_path, size):
    Image.fromarray(quadrants()).save(tmp_path / "a.jpg", quality=95)
    pixels = read_image(tmp_path / "a.jpg", size)
    assert pixels.shape == (*size, 3)
    rows, columns = size[0] // 4, size[1] // 4
    assert pixels[rows, columns].argmax() == 0 and pixels[rows, -columns].argmax() == 1
    assert pixels[-rows, columns].argmax() == 2


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_shrinking_averages(tmp_path, name):
    fine = np.indices((512, 512)).sum(0) % 2 * 255
    Image.fromarray(fine.astype(np.uint8)).convert("RGB").save(tmp_path / name, quality=95)
    pixels = read_image(tmp_path / name, (64, 64))
    assert abs(pixels.mean() - 127.5) < 3 and pixels.std() < 5


def test_a_photo_with_damaged_exif_is_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "street"
    Image.fromarray(quadrants()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    place = data.index(b"Exif") + 16
    for value in range(0, 256, 5):
        data[place] = value
        (tmp_path / "a.jpg").write_bytes(data)
        assert read_image(tmp_path / "a.jpg", (32, 32)).shape == (32, 32, 3)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_photo_is_named(tmp_path, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match="a.jpg cannot be decoded .*restore it") as caught:
        read_image(tmp_path / "a.jpg", (32, 32))
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_photo_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>not found</html>")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("a.jpg", "folder.jpg"):
        with pytest.raises(ImageError, match=f"{name} cannot be decoded"):
            read_image(tmp_path / name, (32, 32))
    with pytest.raises(ImageError, match="b.jpg is missing"):
        read_image(tmp_path / "b.jpg", (32, 32))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_of_a_picture_worked_by_hand(tmp_path, interpolation, turned):
    """16 x 24 pixels, asked for at 14: the shorter side is 16 = 14 * 256 / 224 already, so the middle 16 x 16 stay as
    they are, columns 4 to 19, and one pixel is cut off on each side."""
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    expected = picture[1:15, 5:19]
    if turned:
        picture, expected = picture.swapaxes(0, 1), expected.swapaxes(0, 1)
    Image.fromarray(np.ascontiguousarray(picture)).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", (14, 14), interpolation, "centre") == expected).all()
    files = ImageFiles(tmp_path, ["a.png"], (14, 14), interpolation, "centre", keep=True)
    assert (files[0].permute(1, 2, 0).numpy() == expected).all()
    around = picture[4:20] if turned else picture[:, 4:20]
    assert (UncroppedImages(files)[0].permute(1, 2, 0).numpy() == around).all() and len(UncroppedImages(files)) == 1
    whole = ImageFiles(tmp_path, ["a.png"], (16, 24))
    assert (UncroppedImages(whole)[0] == whole[0]).all()


@pytest.mark.parametrize("stored", [(400, 600), (600, 400), (333, 500), (3, 200)])
def test_the_centre_is_what_torchvision_makes_of_the_picture(tmp_path, stored):
    """Resize(256), CenterCrop(224), but for a part of a pixel where the longer side is no whole number of them."""
    noise = np.random.default_rng(1).integers(0, 256, (stored[0] // 3 + 1, stored[1] // 3 + 1, 3), np.uint8)
    smooth = Image.fromarray(noise).resize(stored[::-1], Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.png")
    expected = np.asarray(CenterCrop(224)(Resize(256)(smooth)))
    found = read_image(tmp_path / "a.png", (224, 224), "bilinear", "centre")
    assert found.shape == (224, 224, 3) and distance(found, expected) < (0.6 if stored[1] != 500 else 2)


def test_a_centre_may_have_any_proportions(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (16, 40, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", (14, 28), crop="centre") == picture[1:15, 6:34]).all()


def test_image_files_are_tensors_channels_first(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "a.png")
    files = ImageFiles(tmp_path, ["a.png"], (64, 96))
    assert len(files) == 1 and files[0].dtype == torch.uint8
    assert (files[0].numpy() == quadrants().transpose(2, 0, 1)).all()


def test_kept_images_are_decoded_once(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "a.png")
    kept, not_kept = (ImageFiles(tmp_path, ["a.png"], (8, 8), keep=keep) for keep in (True, False))
    first = kept[0], not_kept[0]
    (tmp_path / "a.png").unlink()
    assert (kept[0] == first[0]).all()
    with pytest.raises(ImageError):
        not_kept[0]


def test_an_error_in_a_loading_process_is_still_one_line(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(ImageError) as caught:
        list(DataLoader(ImageFiles(tmp_path, ["a.jpg"], (8, 8)), num_workers=1))
    assert str(caught.value).startswith(str(tmp_path / "a.jpg")) and "Traceback" not in str(caught.value)
    assert caught.value.what == f"{tmp_path / 'a.jpg'} cannot be decoded (no image)"
    assert caught.value.remedy == "restore it (MSLS: unpack msls_patch_v1.1.zip on top)"


@pytest.mark.parametrize("name", ["ImageError: a.jpg", "Caught ImageError in a.jpg", "a; b.jpg"])
def test_a_name_is_no_traceback(tmp_path, name):
    for path, problem in (
        (tmp_path / name, "is missing"),
        (tmp_path / "folder" / name, "cannot be decoded (no image)"),
    ):
        path.parent.mkdir(exist_ok=True)
        if "decoded" in problem:
            path.write_text("no image")
        with pytest.raises(ImageError) as caught:
            read_image(path, (8, 8))
        assert caught.value.what == f"{path} {problem}" and str(caught.value).startswith(f"{path} {problem}; ")


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop", ["resize", "centre"])
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_an_open_file_or_bytes_are_read_as_the_file_of_a_path(tmp_path, name, crop, interpolation):
    """The short cuts of a JPEG's decoder change values, so equal ones say that they are taken."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    how = ((48, 64), interpolation, crop)
    wanted = read_image(tmp_path / name, *how)
    data = (tmp_path / name).read_bytes()
    with (tmp_path / name).open("rb") as file:
        assert np.array_equal(read_stream(file, "x", *how), wanted)
        assert np.array_equal(read_stream(file, "x", *how), wanted), "the file stays open, and is read from its start"
    assert wanted.shape == (48, 64, 3) and np.array_equal(read_stream(data, "x", *how), wanted)
    assert np.array_equal(read_stream(io.BytesIO(data), "x", *how), wanted)


@pytest.mark.parametrize(("data", "problem"), [(b"no image", "no image"), (b"", "no image"), (b"\xff\xd8\xff", "")])
def test_what_is_wrong_with_bytes_names_them(data, problem):
    with pytest.raises(ImageError, match=rf"\Athe photo cannot be decoded \({problem}.*\); restore it"):
        read_stream(data, "the photo", (8, 8))


@pytest.mark.parametrize(
    ("stored", "size"), [((480, 640), (112, 150)), ((60, 80), (96, 128)), ((333, 500), (320, 320))]
)
def test_bilinear_is_what_torchvision_makes_of_the_decoded_picture(tmp_path, stored, size):
    """Patch-NetVLAD's descriptors come of torchvision's Resize, which resizes bilinearly by default."""
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (*stored, 3), np.uint8)).save(tmp_path / "a.jpg", quality=90)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(Resize(size)(image.convert("RGB")))
    assert (read_image(tmp_path / "a.jpg", size, "bilinear") == expected).all()
    assert distance(read_image(tmp_path / "a.jpg", size), expected) > 1
    files = ImageFiles(tmp_path, ["a.jpg"], size, "bilinear")
    assert (files[0].permute(1, 2, 0).numpy() == expected).all()


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_to_look_at_keeps_its_proportions(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(STORED[orientation](quadrants()))).save(tmp_path / "a.png", exif=exif)
    shown = read_for_display(tmp_path / "a.png", 192)
    assert shown.shape == (128, 192, 3) and distance(shown[::2, ::2], quadrants()) < 8
    with pytest.raises(ImageError, match="no image"):
        (tmp_path / "b.png").write_text("x")
        read_for_display(tmp_path / "b.png")
