"""Reading the CSVs: columns by name, and every malformed file in one line."""

import numpy as np
import pytest
from msls_tree import COLUMNS, assert_one_line, edit, make_rows, random_rows, same, write_city, write_side

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.metadata import VIEW_DIRECTIONS
from vpr.datasets.msls.metadata_cache import load_frames


def test_every_column_is_read(tmp_path):
    rows = random_rows(np.random.default_rng(3), 50, "q").assign(ca=np.linspace(0, 359, 50))
    rows["easting"] += 0.1234567890123
    rows.loc[4, "ca"] = np.nan
    write_side(tmp_path, rows)
    frames, _ = load_frames(tmp_path, cache=False)
    assert frames.keys.tolist() == rows["key"].tolist()
    assert np.array_equal(frames.utm, rows[["easting", "northing"]].to_numpy())
    assert frames.pano.tolist() == rows["pano"].tolist()
    assert frames.night.tolist() == rows["night"].tolist()
    assert frames.frame_number.tolist() == rows["frame_number"].tolist()
    assert [VIEW_DIRECTIONS[code] for code in frames.view_direction] == rows["view_direction"].tolist()
    assert frames.subtasks.tolist() == rows[["all", "s2w", "w2s", "o2n", "n2o", "d2n", "n2d"]].to_numpy().tolist()
    assert np.allclose(frames.compass, rows["ca"].astype(np.float32), equal_nan=True)
    assert np.isnan(frames.compass[4]) and len(frames) == 50


def test_columns_are_taken_by_name(tmp_path):
    rows = make_rows(5, "q", pano=[False, True, False, False, True])
    write_side(tmp_path / "a", rows)
    write_side(tmp_path / "b", rows)
    for name, columns in COLUMNS.items():
        rows[list(columns[::-1])].to_csv(tmp_path / "b" / name)
    assert same(load_frames(tmp_path / "a", cache=False)[0], load_frames(tmp_path / "b", cache=False)[0])


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data + b"\n\n",
        lambda data: data.replace(b"q0001", b'"q0001"'),
        lambda data: data.replace(b"True", b"true").replace(b"False", b"0"),
    ],
)
def test_harmless_variants_read_the_same(tmp_path, change):
    rows = make_rows(5, "q", frame_number=[3, 4, 5, 7, 8])
    write_side(tmp_path, rows)
    plain, _ = load_frames(tmp_path, cache=False)
    for name in COLUMNS:
        path = tmp_path / name
        path.write_bytes(change(path.read_bytes()))
    assert same(plain, load_frames(tmp_path, cache=False)[0])


def test_keys_beyond_ascii(tmp_path):
    rows = make_rows(2, "q").assign(key=["Nørrebro", "東京"])
    write_side(tmp_path, rows)
    for _ in range(2):
        frames, _ = load_frames(tmp_path)
        assert frames.keys.tolist() == ["Nørrebro", "東京"]


MALFORMED = {
    "number as text": ("postprocessed.csv", b"500200.0", b"east", ["row 2 (line 4)", "easting 'east'", "not a number"]),
    "bool as text": ("raw.csv", b"False\n", b"perhaps\n", ["row 0 (line 2)", "pano 'perhaps'"]),
    "flag as number": ("subtask_index.csv", b"True", b"7", ["row 0 (line 2)", "all '7'"]),
    "night empty": ("postprocessed.csv", b"False,False", b",False", ["row 0", "night ''"]),
    "frame number as text": ("seq_info.csv", b"qseq,3", b"qseq,x3", ["row 3 (line 5)", "frame_number 'x3'"]),
    "fractional frame number": ("seq_info.csv", b"qseq,3", b"qseq,3.5", ["row 3 (line 5)", "whole number"]),
    "compass as text": ("raw.csv", b"90.0", b"north", ["row 0", "ca 'north'"]),
    "NaN coordinate": ("postprocessed.csv", b"500300.0", b"nan", ["row 3 (line 5)", "easting 'nan'", "finite"]),
    "empty coordinate": ("postprocessed.csv", b"500300.0", b"", ["row 3 (line 5)", "easting ''", "finite"]),
    "infinite coordinate": ("postprocessed.csv", b"500300.0", b"inf", ["row 3 (line 5)", "easting 'inf'"]),
    "an underscore": ("postprocessed.csv", b"500300.0", b"500_300", ["row 3 (line 5)", "easting '500_300'", "number"]),
    "an underscore in a frame": ("seq_info.csv", b"qseq,3", b"qseq,0_3", ["row 3 (line 5)", "'0_3' is not a number"]),
    "decimal comma": ("postprocessed.csv", b"500300.0", b'"500300,0"', ["row 3 (line 5)", "easting '500300,0'"]),
    "column twice": ("postprocessed.csv", b"northing", b"easting", ["header", "column 'easting' is repeated"]),
    "not UTF-8": ("raw.csv", b"q0004", b"q\xff004", ["row 4 (line 6)", "UTF-8"]),
    "NUL bytes": ("raw.csv", b"q0004", b"q\0004", ["row 4 (line 6)", "NUL"]),
    "a field too many": ("raw.csv", b"4,q0004", b"4,4,q0004", ["row 4 (line 6)", "8 fields", "header has 7"]),
    "a field too few": ("raw.csv", b"4,q0004", b"q0004", ["row 4 (line 6)", "6 fields"]),
    "missing column": ("postprocessed.csv", b"easting", b"east", ["column 'easting' is missing"]),
    "missing key column": ("raw.csv", b"key", b"name", ["column 'key' is missing"]),
    "empty key": ("seq_info.csv", b"q0002", b"", ["row 2 (line 4)", "key ''"]),
    "other key": ("raw.csv", b"q0002", b"q0009", ["row 2 (line 4)", "q0009", "seq_info.csv has 'q0002'"]),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_file_is_told_in_one_line(tree, fault):
    name, old, new, parts = MALFORMED[fault]
    path = tree / "train_val" / "cph" / "query" / name
    edit(path, old, new)
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, str(path), *parts)
    assert "; " in str(error.value), "the remedy follows a semicolon"


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("kept", [0, 0.4, 0.7, -1, -3])
def test_a_truncated_file_names_itself(tree, name, kept):
    """Cut to nothing, to a part, and by the last bytes."""
    path = tree / "train_val" / "cph" / "database" / name
    data = path.read_bytes()
    path.write_bytes(data[: kept if kept < 0 else int(kept * len(data))])
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, str(path), "metadata")


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_that_do_not_align_are_told(tree, name):
    """One file lost its third row, another one its last."""
    path = tree / "train_val" / "cph" / "query" / name
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:3] + whole[4:]))
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, "row 2", "q0002", "q0003", "again together")
    path.write_bytes(b"".join(whole[:-1]))
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, "5", "6", "again together")


def test_a_doubled_key_is_told(tree):
    rows = make_rows(6, "q").assign(key=["a", "b", "c", "d", "b", "c"])
    write_side(tree / "train_val" / "cph" / "query", rows)
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, "seq_info.csv, row 4 (line 6)", "'b' is already in row 1", "remove one")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_file_is_told(tree, name):
    path = tree / "train_val" / "cph" / "database" / name
    path.unlink()
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, str(path), "missing", "unpack")
    if name == "subtask_index.csv":
        assert load(tree, Protocol(split="train", cities=("cph",))).retrieval_set.counts()["database"] == 6


def test_a_city_without_queries_is_skipped(tree):
    write_city(tree, "sf", make_rows(3, "s", pano=True), make_rows(3, "t"))
    dataset = load(tree, Protocol())
    assert [city.name for city in dataset.cities] == ["cph"] and dataset.skipped == ("sf",)
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol(cities=("sf",)))
    assert_one_line(error, "no queries", "sf", "choose another")


def test_a_side_folder_that_is_missing(tree):
    (tree / "train_val" / "sf").mkdir()
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, "sf/query", "missing", "query/ and database/")


def test_a_test_city_without_ground_truth(tree):
    files = ("seq_info.csv", "subtask_index.csv")
    rows = make_rows(3, "q", all=[True, False, True], pano=[True, False, False])
    write_side(tree / "test" / "miami" / "query", rows, files)
    write_side(tree / "test" / "miami" / "database", make_rows(3, "d"), files)
    dataset = load(tree, Protocol(split="test"))
    (city,) = dataset.cities
    assert city.positives is None and dataset.positives is None and city.query.pano is None
    assert dataset.without_ground_truth == dataset.with_panoramas == ("miami",)
    assert city.query.names().tolist() == ["q0000", "q0002"]
    assert dataset.retrieval_set.counts() == {"queries": 2, "queries_without_positives": 0, "database": 3}
    with pytest.raises(DatasetError, match="raw.csv: the file is missing"):
        load(tree, Protocol(split="train", cities=("miami",)))
    write_side(tree / "test" / "miami" / "query", rows)
    write_side(tree / "test" / "miami" / "database", make_rows(3, "d"))
    dataset = load(tree, Protocol(split="test"))
    assert dataset.without_ground_truth == dataset.with_panoramas == ()
    assert [row.tolist() for row in dataset.positives] == [[2]]


def test_degrees_in_the_place_of_metres_are_told(tmp_path):
    """With them every image would lie within 25 m of every other one."""
    rows = make_rows(40, "q")
    degrees = rows.assign(easting=12.5 + rows.index / 1e4, northing=55.7 + rows.index / 1e4)
    write_city(tmp_path, "cph", degrees, make_rows(40, "d"))
    with pytest.raises(DatasetError) as error:
        load(tmp_path, Protocol(cities=("cph",)), cache=False)
    assert_one_line(error, "postprocessed.csv", "look like degrees (12.5, 55.7)", "give metres")
    for near in (rows.assign(easting=rows.index / 10, northing=0.0), rows.assign(easting=500_000.0, northing=6e6)):
        write_city(tmp_path, "cph", near, make_rows(40, "d"))
        load(tmp_path, Protocol(cities=("cph",)), cache=False)


def test_keys_with_other_white_space(tmp_path):
    keys = ["a\u00a0b", "c\u3000", "d\u0085e", "f\u2028g"]
    write_side(tmp_path, make_rows(4, "q").assign(key=keys))
    for _ in range(2):
        assert load_frames(tmp_path)[0].keys.tolist() == keys


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("tree/train_val", "give {root}/tree"),
        ("tree/train_val/cph", "give {root}/tree"),
        ("tree/train_val/cph/query", "give {root}/tree"),
        (".", "give {root}/tree"),
        ("other", "evaluate it with python -m eval.places"),
        ("other/queries", "evaluate it with python -m eval.places"),
        ("images/test", "evaluate it with python -m eval.places"),
        ("images/test/queries", "evaluate it with python -m eval.places"),
        ("images", "evaluate it with python -m eval.places"),
        ("empty", "give the folder that holds them"),
    ],
)
def test_a_folder_that_is_no_tree_says_which_is(tmp_path, given, hint):
    """A folder that is advised is a tree, so that no advice leads back to where one came from."""
    write_city(tmp_path / "tree", "cph", make_rows(2, "q"), make_rows(2, "d"))
    for name in ("other/database", "other/queries", "images/test/database", "images/test/queries", "empty"):
        (tmp_path / name).mkdir(parents=True)
    if hint.startswith("give {root}"):
        assert load(hint.removeprefix("give ").format(root=tmp_path), Protocol(cities=("cph",)), cache=False)
    with pytest.raises(DatasetError) as error:
        load(tmp_path / given, Protocol(), cache=False)
    assert_one_line(error, "not an MSLS tree", hint.format(root=tmp_path))


def test_folders_of_systems_are_no_cities(tmp_path):
    write_city(tmp_path, "cph", make_rows(2, "q"), make_rows(2, "d"))
    for name in ("@eaDir", "__MACOSX", "#recycle", ".hidden"):
        (tmp_path / "train_val" / name).mkdir()
    with pytest.raises(DatasetError) as error:
        load(tmp_path, Protocol(cities=("paris",)), cache=False)
    assert str(error.value).endswith("has no city 'paris'; it holds cph")
