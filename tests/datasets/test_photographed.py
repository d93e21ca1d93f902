"""Photographed surfaces: packages and their licences, the folder of textures, and streets that are rendered with it."""

import io
import json
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from tiny_packages import picture, write_deb, write_packages

from vpr.datasets import mini_msls, textures
from vpr.datasets.default_data import ensure_mini_msls, world_config
from vpr.datasets.errors import DatasetError
from vpr.datasets.photographed.catalogue import ATLAS, ATLAS_SIZE, BLENDER, FLIGHTGEAR, KINDS, UFOAI, entries
from vpr.datasets.photographed.folder import TABLE, TEXELS, read_textures, write_textures
from vpr.datasets.photographed.packages import Packages, copyright_path, licence_of
from vpr.datasets.photographed.pictures import Pictures, levels_of, sky_texture, windows
from vpr.datasets.street_world import columns as c
from vpr.datasets.street_world.config import CityPlan, tiny_config
from vpr.datasets.street_world.front import storey_of
from vpr.datasets.street_world.photographs import load_photographs, texel
from vpr.datasets.street_world.rendering import render
from vpr.datasets.street_world.work import plan_street


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The tree of three packages with random pictures."""
    folder = tmp_path_factory.mktemp("packages")
    write_packages(folder)
    return folder


@pytest.fixture(scope="module")
def folder(packages, tmp_path_factory):
    """A folder of textures."""
    out = tmp_path_factory.mktemp("made") / "textures"
    write_textures(Packages(packages), out)
    return out


def test_the_catalogue_holds():
    every = list(entries())
    assert {entry.kind for entry in every} == {*KINDS}
    assert len({(entry.kind, entry.path, entry.box) for entry in every}) == len(every)
    for entry in every:
        left, top, right, bottom = entry.box
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    for x0, x1, y0, y1, storeys in ATLAS:
        assert 0 <= x0 < x1 <= ATLAS_SIZE[0] and 0 <= y0 < y1 <= ATLAS_SIZE[1] and storeys > 0


def test_a_deb_file_and_its_tree_give_the_same(packages, tmp_path):
    path = "usr/share/games/flightgear/Textures/osm2city/roads.png"
    write_deb(packages, tmp_path / f"{FLIGHTGEAR}_1_all.deb")
    write_deb(packages, tmp_path / f"{UFOAI}_1_all.deb")
    inner = next(entry.path for entry in entries() if entry.package == UFOAI)
    for package, wanted in ((FLIGHTGEAR, path), (UFOAI, inner)):
        assert Packages(tmp_path).read(package, {wanted}) == Packages(packages).read(package, {wanted})
    with pytest.raises(DatasetError, match="lacks usr/share/nothing"):
        Packages(tmp_path).read(FLIGHTGEAR, {"usr/share/nothing"})


@pytest.mark.parametrize(("content", "words"), [(b"", "no Debian package"), (b"!<arch>\n", "holds no files")])
def test_a_damaged_package_is_named(tmp_path, content, words):
    (tmp_path / f"{FLIGHTGEAR}_1_all.deb").write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        Packages(tmp_path).read(FLIGHTGEAR, {"a"})
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/noise").write_bytes(np.random.default_rng(0).bytes(5000))
    write_deb(tmp_path / "tree", tmp_path / f"{FLIGHTGEAR}_1_all.deb")
    whole = (tmp_path / f"{FLIGHTGEAR}_1_all.deb").read_bytes()
    (tmp_path / f"{FLIGHTGEAR}_1_all.deb").write_bytes(whole[:-3000])
    with pytest.raises(DatasetError, match="download it again"):
        Packages(tmp_path).read(FLIGHTGEAR, {"a"})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, 97])
def test_a_damaged_zip_file_in_a_package_is_one_line(tmp_path, method):
    """97 is a compression that Python does not know."""
    noise, pack = np.random.default_rng(0).integers(0, 4, 5000, np.uint8).tobytes(), io.BytesIO()
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_STORED if method == 97 else method) as archive:
        archive.writestr("a.png", noise)
    content = bytearray(pack.getvalue())
    if method == 97:
        content[8] = content[content.rfind(b"PK\x01\x02") + 10] = method
    content[60:100] = bytes(40)
    (tmp_path / "pack.pk3").write_bytes(content)
    (tmp_path / copyright_path(UFOAI)).parent.mkdir(parents=True)
    (tmp_path / copyright_path(UFOAI)).touch()
    with pytest.raises(DatasetError, match="pack.pk3 cannot be read .*; download it again") as error:
        Packages(tmp_path).read(UFOAI, {"pack.pk3!a.png"})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [lambda data: data[:-4], lambda data: data[:-1] + bytes([data[-1] ^ 1]),
                                    lambda data: b"PK\x03\x04" + data[4:], lambda data: b""],
                         ids=["cut", "changed", "a zip file", "empty"])  # fmt: skip
def test_changed_texels_are_one_line_with_the_remedy(folder, tmp_path, damage):
    copied = shutil.copytree(folder, tmp_path / "copied")
    assert read_textures(copied).digest == read_textures(folder).digest
    (copied / TEXELS).write_bytes(damage((copied / TEXELS).read_bytes()))
    read_textures.cache_clear()
    with pytest.raises(
        DatasetError, match=r"texels.npy was changed or cut: .* textures.json\); write them with"
    ) as error:
        read_textures(copied)
    assert "\n" not in str(error.value)


def test_the_last_paragraph_that_names_a_file_states_its_licence():
    text = "Files: *\nLicense: GPL-2+\n\nFiles:\n base/textures/a/*\n data/b/c.png\nLicense: CC0-1.0\n words\n"
    assert licence_of(text, "usr/share/x.pk3!textures/a/b.png") == "CC0-1.0"
    assert licence_of(text, "usr/share/games/b/c.png") == "CC0-1.0"
    assert licence_of(text, "usr/share/games/b/d.png") == "GPL-2+" and licence_of("", "a") == ""


def test_a_folder_of_textures_says_where_each_is_from(packages, folder):
    found = read_textures(folder)
    assert {one.kind for one in found.table} == {kind for kind in KINDS if not kind.endswith("_sky")}
    assert all(one.licence in ("GPL-2+", "CC0") and one.package != BLENDER for one in found.table)
    for one in found.table:
        assert one.width_m > 0 and one.height_m > 0
        for start, (wide, high) in zip(one.starts, one.sizes, strict=True):
            assert 0 <= start <= len(found.texels) - wide * high
    again = folder.parent / "again"
    write_textures(Packages(packages), again)
    assert all((folder / name).read_bytes() == (again / name).read_bytes() for name in (TABLE, TEXELS))


def test_levels_of_detail_keep_the_light():
    texture = np.random.default_rng(0).integers(0, 256, (64, 32, 4), np.uint8)
    light = [((level[..., :3] / 255.0) ** 2).mean() for level in levels_of(texture)]
    assert [level.shape[:2] for level in levels_of(texture)] == [(64, 32), (32, 16), (16, 8), (8, 4)]
    assert np.allclose(light, light[0], rtol=0.02)


def test_windows_are_what_is_darker_than_its_wall():
    facade = np.full((8, 8, 3), 0.7)
    facade[2:4, 2:4] = 0.3
    expected = np.zeros((8, 8))
    expected[2:4, 2:4] = 1
    assert np.array_equal(windows(facade, None), expected)


def test_what_is_wrong_is_one_line(packages, folder, tmp_path, capsys, seams):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / TABLE).write_text(json.dumps({"textures": [{}]}))
    for options, words in (
        (["--packages", str(tmp_path / "nowhere")], "no folder of Debian packages"),
        (["--packages", str(tmp_path / "empty")], f"run apt-get download {FLIGHTGEAR} there"),
        (["--packages", str(packages), "--out", str(tmp_path / "mine")], "choose an empty or new folder"),
    ):
        assert textures.main(options) == 1
        assert words in capsys.readouterr().err.strip().splitlines()[-1]
    for given in (tmp_path / "bad", tmp_path / "nowhere"):
        assert mini_msls.main(["--out", str(tmp_path / "world"), "--textures", str(given)]) == 1
        assert "write them with python -m datasets.textures" in capsys.readouterr().err
    assert not (tmp_path / "world").exists()
    seams.replace("importlib.util.find_spec", lambda name: None)
    sky = next(entry for entry in entries() if entry.package == BLENDER)
    with pytest.raises(DatasetError, match="pip install OpenEXR"):
        sky_texture(sky, b"")
    whole = bytearray(picture("a.png", np.random.default_rng(0)))
    whole[whole.find(b"IDAT") - 1] = 10  # the length of a chunk, so that the next one begins amid the pixels
    for content in (b"odd", bytes(whole)):
        with pytest.raises(DatasetError, match=r"a.png cannot be decoded .*; download ufoai-textures again"):
            Pictures(UFOAI, {"a.png": content}).crop("a.png", (0.0, 0.0, 1.0, 1.0))


def test_texels_are_sampled_as_numpy_does(folder):
    found, photos = load_photographs(folder)
    rng = np.random.default_rng(1)
    for k in rng.choice(len(found.table), 12, replace=False).tolist():
        (wide, high), start = found.table[k].sizes[0], found.table[k].starts[0]
        image = found.texels[start : start + wide * high].reshape(high, wide, 4).astype(float)
        u, v = rng.uniform(-2, 2, 2)
        x, y = (u % 1) * wide - 0.5, (v % 1) * high - 0.5
        left, top = int(np.floor(x)), int(np.floor(y))
        taken = image[np.ix_([top % high, (top + 1) % high], [left % wide, (left + 1) % wide])]
        weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left])
        mean = (taken * weights[..., None]).sum((0, 1)) / 255
        expected = [*(mean[:3] ** 2), mean[3]]
        assert np.allclose(texel.py_func(photos, k, u, v, 0.1 / wide), expected, atol=1e-6)


def test_the_storeys_of_a_building_show_those_of_its_photograph():
    def shown(storeys, known, shift=0):
        return [storey_of.py_func(one, storeys, shift, known) for one in range(storeys)]

    assert shown(4, 4) == [0, 1, 2, 3] and shown(2, 5) == [0, 4] and shown(3, 1) == [0, 0, 0]
    assert shown(6, 3) == [0, 1, 1, 1, 1, 2] and shown(5, 2) == [0, 1, 1, 1, 1] and shown(4, 5, 1) == [0, 2, 3, 4]


def test_a_building_of_a_repeated_block_has_one_photograph(folder):
    """The fifth street of sf repeats a block. Ground floors, doors and posters differ."""
    config = replace(tiny_config(), textures=str(folder), photographs="x")
    street = plan_street(config, CityPlan("sf", "train_val", 5, 0, 1, 0.0), 4)[1]
    buildings: dict[int, list] = {}
    for b in street.buildings:
        buildings.setdefault(int(b[c.B_SEED]), []).append(b)
    repeated = [np.array(copies) for copies in buildings.values() if len(copies) > 1]
    assert len(repeated) >= 3 and all(copies[0, c.B_PHOTO] for copies in repeated)
    for copies in repeated:
        same = copies[:, [c.B_PHOTO, c.B_WALL_PHOTO, c.B_ROOF_PHOTO, c.B_CAST_R, c.B_PHOTO_SCALE]]
        assert (same == same[0]).all()
    assert any(len(np.unique(copies[:, c.B_DOOR])) > 1 for copies in repeated)


def test_textures_are_part_of_a_world_and_an_old_world_is_as_before(folder, seams):
    plain, dressed = world_config("small", 3), world_config("small", 3, 160, folder)
    assert "photographs" not in plain.identity() and "textures" not in plain.identity()
    assert dressed.identity()["photographs"] == read_textures(folder).digest and dressed.size == 160
    asked = []
    seams.replace("vpr.datasets.street_world.rendering.render", lambda *given: asked.append(given) or given[1])
    assert ensure_mini_msls(seed=3) != ensure_mini_msls(seed=3, size=160) != ensure_mini_msls(seed=3, textures=folder)


@pytest.mark.slow
def test_a_street_is_rendered_with_photographs(folder, tmp_path):
    cities = (CityPlan("cph", "train_val", 2, 0, 1, 0.0),)
    plain = replace(tiny_config(), cities=cities, frames=2, size=24)
    dressed = replace(plain, textures=str(folder.resolve()), photographs=read_textures(folder).digest)
    pictures = {}
    for name, config in (("plain", plain), ("dressed", dressed), ("again", dressed)):
        root = render(config, tmp_path / name, workers=1)
        pictures[name] = {path.name: path.read_bytes() for path in sorted(root.rglob("*.jpg"))}
    assert pictures["dressed"] == pictures["again"] and pictures["plain"].keys() == pictures["dressed"].keys()
    assert pictures["plain"] != pictures["dressed"]
    with pytest.raises(DatasetError, match="holds another mini-MSLS"):
        render(plain, tmp_path / "dressed")
