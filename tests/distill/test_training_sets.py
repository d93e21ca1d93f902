"""Training photos of every layout: what is a place, what a batch holds, and what is refused."""

import logging
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from place_trees import utm_name, write_csv
from training_trees import gsv_rows, make_cells, make_gsv, make_list, make_sides, small_picture, write_gsv_city

from vpr.base.errors import VprError
from vpr.base.settings import Names
from vpr.datasets.training_layout import training_layout
from vpr.distill.data import training_data
from vpr.distill.sampling.batches import BatchSampler
from vpr.distill.sampling.cells import group_by_cells
from vpr.distill.sampling.places import BatchShape, Guard, Photos, Places
from vpr.distill.settings import RunOptions


def read(root, **options):
    return training_data(RunOptions(Path(root), **options))


def batches(data, places, images, steps=30, **options):
    """Batches as numbers of photos, (places, images) each."""
    found = Places(data.photos, Guard())
    sampler = BatchSampler(found, BatchShape(places, images), seed=0, **options)
    return found, [sampler.batch(step).reshape(-1, images) for step in range(steps)]


def test_a_batch_of_gsv_cities_has_four_images_of_each_of_its_places(tmp_path):
    rows = [*gsv_rows("London", [1, 2, 3, 100_001], images=5), *gsv_rows("London", [8], images=3, at=3)]
    write_gsv_city(tmp_path, "London", rows)
    write_gsv_city(tmp_path, "Boston", gsv_rows("Boston", [1, 2, 3, 4], at=20))
    data = read(tmp_path)
    photos = data.photos
    assert data.held_out.name == "" and data.identity["place_by"] == "identity" and len(photos.paths) == 36
    places, drawn = batches(data, 6, 4)
    seen = Counter()
    for batch in drawn:
        assert batch.shape == (6, 4)
        of_places = photos.place[batch]
        assert (of_places == of_places[:, :1]).all() and len(set(of_places[:, 0])) == 6
        assert all(len(set(row)) == 4 for row in batch)
        cities = [{photos.paths[number].split("/")[1] for number in row} for row in batch]
        assert all(len(city) == 1 for city in cities)
        positive, negative = places.guard.masks(photos, batch.ravel())
        same = photos.place[batch.ravel()][:, None] == photos.place[batch.ravel()][None]
        assert (positive == (same & ~np.eye(24, dtype=bool))).all() and (negative == ~same).all()
        seen.update(of_places[:, 0].tolist())
    assert len(seen) == 8 and min(seen.values()) > 10
    for photo in range(36):
        right = set(np.flatnonzero(photos.place == photos.place[photo])) - {photo}
        assert set(places.positives(photo)) == right and len(right) in (3, 4)
    assert len(set(places.cells.tolist())) == 8


def test_each_place_is_drawn_as_often_however_many_images_it_has(tmp_path):
    write_gsv_city(tmp_path, "London", [*gsv_rows("London", [1], images=40), *gsv_rows("London", [2, 3, 4], at=5)])
    data = read(tmp_path)
    drawn = Counter(data.photos.place[batch[0, 0]] for batch in batches(data, 2, 4, 400)[1])
    assert min(drawn.values()) > 70 and max(drawn.values()) < 130


def test_places_nearer_than_the_guard_are_neither_positives_nor_negatives():
    never, unknown = np.zeros(4, bool), np.full(4, np.nan, np.float32)
    utm = np.array([[0.0, 0], [40, 0], [10, 0], [100, 0]])
    photos = Photos(np.arange(4).astype(str), utm, np.zeros(4, int), unknown, never, never, np.array([7, 7, 9, 9]))
    positive, negative = Guard().masks(photos, np.arange(4))
    assert np.argwhere(positive).tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]  # 40 and 90 m apart, but one place
    assert np.argwhere(negative).tolist() == [[0, 3], [1, 2], [1, 3], [2, 1], [3, 0], [3, 1]]


def test_cells_and_groups_against_loops():
    rng, count = np.random.default_rng(0), 600
    heading = np.where(rng.random(count) < 0.1, np.nan, rng.uniform(0, 360, count)).astype(np.float32)
    never = np.zeros(count, bool)
    utm = rng.uniform(-60, 60, (count, 2))
    photos = Photos(np.arange(count).astype(str), utm, rng.integers(0, 2, count), heading, never, never)
    expected: dict = {}
    for i in np.flatnonzero(~np.isnan(heading)):
        cell = photos.city[i], utm[i, 0] // 10, utm[i, 1] // 10, heading[i] // 30
        expected.setdefault(cell, []).append(str(i))
    found = group_by_cells(photos, 2)
    cells: dict = {}
    for path, place in zip(found.paths, found.place):
        cells.setdefault(place, []).append(path)
    assert sorted(cells.values()) == sorted(members for members in expected.values() if len(members) >= 2)
    kept = {tuple(members): cell for cell, members in expected.items()}
    group = {
        kept[tuple(members)]: found.group[np.flatnonzero(found.place == place)[0]] for place, members in cells.items()
    }
    for one, first in group.items():
        for other, second in group.items():
            steps = [abs(a - b) for a, b in zip(one[1:], other[1:])]
            if first == second and one != other and one[0] == other[0]:
                assert all(step % spacing == 0 for step, spacing in zip(steps, (5, 5, 2)))
                assert max(steps[:2]) >= 5 or steps[2] >= 2  # they do not touch


def test_names_with_headings_become_cells_and_a_batch_is_of_one_group(tmp_path):
    data = read(make_cells(tmp_path, places=21), least_photos=3)
    assert data.identity["place_by"] == "cells" and data.root == tmp_path / "train"
    assert len(data.photos.paths) == 126 and len(set(data.photos.place)) == 42
    places, drawn = batches(data, 4, 3)
    for batch in drawn:
        assert len(set(data.photos.group[batch.ravel()])) == 1
        views = [{data.photos.paths[number].split("-")[0].rpartition("@")[2] for number in row} for row in batch]
        assert all(len(view) == 1 for view in views)  # never a photo of the other direction
        assert (places.guard.masks(data.photos, batch[:, 0])[1] | np.eye(4, dtype=bool)).all()
    assert len({data.photos.group[batch[0, 0]] for batch in drawn}) > 1
    with pytest.raises(VprError, match="no cell of 10 m and 30 degrees has 10 photos with a heading; pass a smaller"):
        read(tmp_path)
    with pytest.raises(VprError, match=r"groups of cells can have 5 places, one a square, not 40; pass --places 5"):
        batches(data, 40, 3)


def test_cells_of_one_square_count_as_one_place_of_a_batch(tmp_path):
    """Group 0 has the squares 0, 5 and 10, each with two headings; the other groups have two squares."""
    data = read(make_cells(tmp_path, places=11), least_photos=3)
    with pytest.raises(VprError, match="can have 3 places, one a square, not 4; pass --places 3 or less") as error:
        batches(data, 4, 3)
    assert "\n" not in str(error.value)
    found, drawn = batches(data, 3, 3)
    assert all(batch.shape == (3, 3) for batch in drawn)
    assert {int(data.photos.group[batch[0, 0]]) for batch in drawn} == {int(data.photos.group[found.anchors[0]])}


def test_mined_places_of_cells_stay_in_a_group(tmp_path):
    data = read(make_cells(tmp_path, places=21), least_photos=3)
    places = Places(data.photos, Guard())
    sampler = BatchSampler(places, BatchShape(3, 3), seed=0)
    rows = sampler.draw_group(np.random.default_rng(1))
    sampler.mined = np.array([places.anchors[rows][:8]])
    for step in range(20):
        assert len(set(data.photos.group[sampler.batch(step)])) == 1


def test_sides_without_headings_are_places_by_distance_and_it_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        data = read(make_sides(tmp_path / "town"))
    assert data.identity["place_by"] == "distance" and data.held_out.name == "town val" and len(data.photos.paths) == 16
    assert "16 of 16 photos have no heading; the others of them are positives of all photos within 10 m" in caplog.text
    for batch in batches(data, 4, 2)[1]:
        ends = [[data.photos.paths[number].rpartition("@")[0].rpartition("@")[2] for number in row] for row in batch]
        assert all(first == second for first, second in ends)
    sets = data.held_out.load()
    assert sets["town val"].counts() == {"queries": 8, "queries_without_positives": 0, "database": 8}
    assert data.held_out.identity.startswith("town val ") and len(data.held_out.identity) == 25


def views_at_one_point(root):
    """24 photos without headings at each of three points, as Pitts30k has them."""
    for place in range(3):
        for view in range(24):
            name = utm_name(500_000 + 50 * place, 4_000_000, note=f"pitch{view // 12 + 1}_yaw{view % 12 + 1}")
            small_picture(root / "images/train/database" / name, view)
    return root


def test_views_of_one_point_without_headings_are_refused_unless_the_user_says_any(tmp_path):
    views_at_one_point(tmp_path)
    with pytest.raises(VprError, match="72 of 72 photos stand at one point .* no heading, .*--unknown-headings any"):
        read(tmp_path)
    data = read(tmp_path, unknown_headings="any")
    assert len(data.photos.paths) == 72 and data.identity["unknown_headings"] == "any"


@pytest.mark.parametrize("heading", [True, False])
def test_a_list_gives_positions_and_headings(tmp_path, heading, caplog):
    data = read(make_list(tmp_path, heading=heading))
    places = Places(data.photos, Guard())
    counts = [len(places.positives(photo)) for photo in range(18)]
    assert counts == ([1, 1, 0] * 6 if heading else [2] * 18)  # south is another place, if that is known
    assert ("have no heading" in caplog.text) != heading
    assert len(read(tmp_path / "photos.csv").photos.paths) == 18


def test_held_out_data_of_any_layout(tmp_path, tiny_tree):
    gsv, sides = make_gsv(tmp_path / "gsv"), make_sides(tmp_path / "town")
    inside = read(gsv, held_out=Names(["Boston"]))
    assert inside.held_out.name == "Boston" and inside.identity["cities"] == ["London"]
    assert list(inside.held_out.load()) == ["Boston"]
    assert read(gsv, validation=tiny_tree).held_out.name == "amsterdam"
    assert read(gsv, validation=tiny_tree, held_out=Names(["cph", "sf"])).held_out.name == "cph,sf"
    assert read(gsv, validation=sides).held_out.name == "town val"
    assert read(sides, validation=gsv, held_out=Names(["Boston"])).held_out.name == "Boston"
    assert read(tiny_tree, validation=sides).identity["cities"].count("amsterdam") == 1
    assert read(sides, held_out=Names()).held_out.name == ""
    assert read(gsv, validation=gsv, held_out=Names(["Boston"])).identity["cities"] == ["London"]
    before = read(gsv, validation=sides).held_out.identity
    next((sides / "images/val/queries").iterdir()).unlink()
    assert read(gsv, validation=sides).held_out.identity != before


def test_a_training_without_a_city_left_is_refused(tmp_path, tiny_tree):
    """It would otherwise train on the cities that are held out."""
    gsv = make_gsv(tmp_path / "gsv")
    with pytest.raises(
        VprError, match=r"all cities of .* are held out \(Boston, London\), and none is left to train on"
    ):
        read(gsv, held_out=Names(["London", "Boston"]))
    cities = sorted({path.name for path in (tiny_tree / "train_val").iterdir()} - {"cph", "sf"})
    with pytest.raises(VprError, match="are held out .* and none is left to train on; hold out fewer"):
        read(tiny_tree, held_out=Names(cities))


def test_what_msls_records_is_as_before(tiny_tree):
    data = read(tiny_tree)
    assert set(data.identity) == {"cities", "held_out", "fingerprint"} and data.held_out.identity == "amsterdam"
    assert data.photos.place is None and data.photos.group is None


def test_layouts_are_told_by_looking(tmp_path, tiny_tree):
    assert training_layout(tiny_tree) == training_layout(tmp_path / "nowhere") == "MSLS"
    assert training_layout(make_gsv(tmp_path / "gsv")) == "GSV-Cities"
    for name, make in (("a", make_cells), ("b", make_sides), ("c", make_list)):
        assert training_layout(make(tmp_path / name)) == "positions"
    shutil.copytree(tmp_path / "b/images", tmp_path / "d")  # train/ and val/ in the root
    (tmp_path / "d/val").rename(tmp_path / "d/test")
    assert training_layout(tmp_path / "d") == "positions" and len(read(tmp_path / "d").photos.paths) == 16


def nothing(root):
    root.mkdir()


def without_positions(root):
    for number in range(3):
        small_picture(root / f"{number}.jpg", number)


def only_test(root):
    make_sides(root, splits=("test",))


def mixed_zones(root):
    for number, zone in enumerate(("10", "11", "")):
        small_picture(root / utm_name(500_000, 4_000_000, zone, "S" if zone else "", note=number), number)


REFUSED = [
    (nothing, {}, "has no photos; give the folder that holds them"),
    (without_positions, {}, "no photo has a position, so no two .* give a list of photos with positions"),
    (only_test, {}, "has no split train, only test; pass --data .*images/test"),
    (mixed_zones, {}, "metres without a zone.*--crs"),
    (make_list, {"cities": Names(["a"])}, "has no cities to choose from; leave --cities out"),
    (make_list, {"place_by": "identity"}, "has no places by identity; leave --place-by out"),
    (make_list, {"least_photos": 3}, "--least-photos is for places by identity or cells; leave it out"),
    (make_list, {"crs": "EPSG:0"}, "unknown crs 'EPSG:0'"),
    (make_list, {"held_out": Names(["Paris"])}, "has no city 'Paris'; name a split by --held-out: train, val, test"),
    (make_sides, {"held_out": Names(["train"])}, "split train of .* is trained on; pass another --held-out"),
    (make_sides, {"held_out": Names(["test"])}, "has no split test with queries and database"),
    (make_gsv, {"held_out": Names(["Paris"])}, "has no city 'Paris'; it holds Boston, London"),
    (make_gsv, {"cities": Names(["Boston"]), "held_out": Names(["Boston"])}, "Boston is held out of training"),
]


@pytest.mark.parametrize(("make", "options", "words"), REFUSED, ids=[words for _, _, words in REFUSED])
def test_what_cannot_be_trained_on_is_refused_in_one_line(tmp_path, make, options, words):
    root = tmp_path / "root"
    make(root)
    with pytest.raises(VprError, match=words) as error:
        read(root, **options)
    assert "\n" not in str(error.value)


def test_validation_sets_that_cannot_score_are_refused(tmp_path):
    gsv = make_gsv(tmp_path / "gsv")
    with pytest.raises(VprError, match="name those to validate on by --held-out: Boston, London"):
        read(make_list(tmp_path / "list"), validation=gsv)
    for side in ("database", "queries"):
        small_picture(tmp_path / "plain" / side / "a.jpg", 1)
    with pytest.raises(VprError, match="of no query it is known what is right; pass another --validation"):
        read(gsv, validation=tmp_path / "plain")


def test_what_is_left_out_of_the_training_photos_is_said(tmp_path, caplog):
    rows = [(f"{number}.jpg", 47 + 1e-5 * number if number < 3 else "", 8 if number < 3 else "") for number in range(6)]
    for name, _, _ in rows[:-1]:
        small_picture(tmp_path / name, 1)
    write_csv(tmp_path / "photos.csv", ["file", "latitude", "longitude"], rows)
    assert len(read(tmp_path).photos.paths) == 3
    listed = tmp_path / "photos.csv"
    assert f"of {listed} 1 photo is missing" in caplog.messages
    assert f"2 of 5 photos of {listed} have no position and are left out: 3.jpg, ..." in caplog.messages


def test_a_list_of_paths_is_taken_without_a_look_at_its_files(tmp_path):
    make_cells(tmp_path)
    names = sorted(str(path.relative_to(tmp_path / "train")) for path in (tmp_path / "train").rglob("*.jpg"))
    gone = utm_name(500_001, 4_000_000, heading=6, note="gone")
    (tmp_path / "train_images_paths.txt").write_text("".join(f"{name}\n" for name in [*names, gone]))
    assert gone in read(tmp_path, least_photos=2).photos.paths.tolist()


def test_positions_of_exif_have_their_direction(tmp_path):
    from PIL import Image

    from tools.photo_folder import gps_exif
    from vpr.positions.exif import read_exif

    for number, heading in enumerate((0.0, 20.0, 180.0)):
        exif = gps_exif(47.0, 8.0)
        exif.get_ifd(0x8825)[17] = heading
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.jpg", exif=exif)
    assert read_exif(tmp_path / "1.jpg").heading == pytest.approx(20)
    places = Places(read(tmp_path).photos, Guard())
    assert [len(places.positives(photo)) for photo in range(3)] == [1, 1, 0]


def test_headings_in_lists_of_other_programs(tmp_path):
    make_list(tmp_path, heading=False)
    rows = [("0-0.jpg", 47, 8, "370"), ("0-1.jpg", 47, 8, ""), ("0-2.jpg", 47, 8, "x")]
    write_csv(tmp_path / "photos.csv", ["file", "lat", "lng", "computed_compass_angle"], rows)
    heading = read(tmp_path, unknown_headings="any").photos.heading
    assert heading[0] == 10 and np.isnan(heading[1:]).all()
