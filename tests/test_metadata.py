"""Reading the CSVs: columns by name, every malformed file in one line, the cache, and the tree."""

import os
from dataclasses import fields

import numpy as np
import pytest
from msls_tree import COLUMNS, make_rows, random_rows, write_city, write_side

from datasets import metadata_cache
from datasets.cities import TEST_CITIES, TRAIN_CITIES, VAL_CITIES, official_split
from datasets.errors import DatasetError
from datasets.known_counts import MINI_MARKER, count_remarks, image_remarks
from datasets.metadata import VIEW_DIRECTIONS, Frames
from datasets.metadata_cache import load_frames
from datasets.msls import Protocol, load
from datasets.tree_keys import keys_of_other_cities


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "metadata"


@pytest.fixture
def tree(tmp_path):
    """cph with 6 queries on 6 database images."""
    write_city(tmp_path / "msls", "cph", make_rows(6, "q"), make_rows(6, "d"))
    return tmp_path / "msls"


def assert_one_line(error, *parts):
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def same(first, second):
    """Whether two Frames hold equal arrays of equal type."""
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(Frames)]
    return all(
        (a is None and b is None) or (a.dtype.kind == b.dtype.kind and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
        for a, b in pairs
    )


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


def edit(path, old, new, count=1):
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


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
    "not UTF-8": ("raw.csv", b"q0004", b"q\xff004", ["row 4 (line 6)", "UTF-8"]),
    "NUL bytes": ("raw.csv", b"q0004", b"q\0004", ["row 4 (line 6)", "NUL"]),
    "a field too many": ("raw.csv", b"4,q0004", b"4,4,q0004", ["row 4 (line 6)", "8 fields", "names 7"]),
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
    assert_one_line(error, "seq_info.csv, row 4 (line 6)", "'b' stands already in row 1", "remove one")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_missing_file_is_told(tree, name):
    path = tree / "train_val" / "cph" / "database" / name
    path.unlink()
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol())
    assert_one_line(error, str(path), "missing", "unpack")
    if name == "subtask_index.csv":
        assert load(tree, Protocol.training(cities=("cph",))).counts()["database"] == 6


def test_a_city_without_queries_is_skipped(tree):
    write_city(tree, "sf", make_rows(3, "s", pano=True), make_rows(3, "t"))
    dataset = load(tree, Protocol())
    assert [city.name for city in dataset.cities] == ["cph"] and dataset.skipped == ("sf",)
    with pytest.raises(DatasetError) as error:
        load(tree, Protocol(cities=("sf",)))
    assert_one_line(error, "no queries", "sf", "choose another")


def test_where_cities_are_found(tree, tmp_path):
    write_city(tree, "sped", make_rows(2, "s"), make_rows(2, "t"))
    assert [city.name for city in load(tree, Protocol(cities=("sped", "cph"))).cities] == ["sped", "cph"]
    for arguments, parts in (
        ({"cities": ("atlantis",)}, ["no city 'atlantis'", "cph, sped"]),
        ({"cities": ("../cph",)}, ["no city '../cph'"]),
        ({"cities": ("cph", "cph")}, ["named twice"]),
        ({"split": "test"}, ["no official city of the test split", "--cities cph"]),
    ):
        with pytest.raises(DatasetError) as error:
            load(tree, Protocol(**arguments))
        assert_one_line(error, *parts)
    for root, part in ((tmp_path / "no", "does not exist"), (tree / "train_val", f"give {tree}"), (tmp_path, "not an MSLS")):
        with pytest.raises(DatasetError) as error:
            load(root, Protocol())
        assert_one_line(error, str(root), part)


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
    assert dataset.counts() == {"queries": 2, "queries_without_positives": 0, "database": 3}
    with pytest.raises(DatasetError, match="raw.csv: the file is missing"):
        load(tree, Protocol.training(cities=("miami",)))
    write_side(tree / "test" / "miami" / "query", rows)
    write_side(tree / "test" / "miami" / "database", make_rows(3, "d"))
    dataset = load(tree, Protocol(split="test"))
    assert dataset.without_ground_truth == dataset.with_panoramas == ()
    assert [row.tolist() for row in dataset.positives] == [[2]]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"split": "dev"}, "split 'dev'"),
        ({"task": "im2vid"}, "task 'im2vid'"),
        ({"subtask": "x2y"}, "subtask 'x2y'"),
        ({"task": "seq2seq", "seq_length": 4}, "odd"),
        ({"task": "seq2seq", "seq_length": -3}, "odd"),
        ({"task": "seq2im"}, "needs sequences"),
        ({"seq_length": 5}, "im2im"),
        ({"radius_m": 0.0}, "radius_m"),
        ({"radius_m": float("nan")}, "radius_m"),
        ({"split": "train", "radius_m": 30.0}, "positives would serve as negatives"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(arguments, part):
    with pytest.raises(DatasetError, match=part):
        Protocol(**arguments)


def test_lengths_follow_the_task():
    lengths = {
        task: (protocol.query_length, protocol.database_length)
        for task in ("im2seq", "seq2im", "seq2seq")
        for protocol in [Protocol(task=task, seq_length=5)]
    }
    assert lengths == {"im2seq": (1, 5), "seq2im": (5, 1), "seq2seq": (5, 5)}


def test_the_cache_is_used_and_gives_the_same(tree, cache_folder, monkeypatch):
    folder = tree / "train_val" / "cph" / "query"
    cold, fingerprint = load_frames(folder)
    (entry,) = cache_folder.iterdir()
    assert fingerprint in entry.name
    monkeypatch.setattr(metadata_cache, "read_frames", lambda *_: pytest.fail("parsed again"))
    warm, again = load_frames(folder)
    assert same(cold, warm) and again == fingerprint


def test_changed_metadata_is_read_anew(tree):
    before = load(tree, Protocol())
    path = tree / "train_val" / "cph" / "query" / "postprocessed.csv"
    stamp = path.stat()
    edit(path, b"500300.0", b"500350.0")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    after = load(tree, Protocol())
    assert before.counts()["queries"] == 6 and after.counts()["queries"] == 5
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "foreign", "empty"])
def test_a_damaged_cache_entry_is_written_anew(tree, cache_folder, damage):
    folder = tree / "train_val" / "cph" / "query"
    cold, _ = load_frames(folder)
    (entry,) = cache_folder.iterdir()
    data = entry.read_bytes()
    if damage == "foreign":
        np.savez(entry, keys=np.array([b"q"]), run=np.zeros(7, np.int32), frame_number=np.zeros(7))
    else:
        place = data.index(b"q0003")
        flipped = data[:place] + b"x" + data[place + 1 :]
        entry.write_bytes({"cut": data[:-100], "flip": flipped, "text": b"not a zip", "empty": b""}[damage])
    assert same(cold, load_frames(folder)[0])
    assert entry.read_bytes()[:2] == b"PK" and len(entry.read_bytes()) == len(data)
    assert [path.name for path in cache_folder.iterdir()] == [entry.name]


def test_a_cache_folder_that_cannot_be_made_is_tolerated(tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path / "file"))
    assert load(tree, Protocol()).counts()["queries"] == 6


def test_without_the_cache_nothing_is_written(tree, cache_folder):
    load(tree, Protocol(), cache=False)
    assert not cache_folder.exists()


def test_official_cities():
    assert (len(TRAIN_CITIES), VAL_CITIES, len(TEST_CITIES)) == (22, ("cph", "sf"), 6)
    assert [official_split(name) for name in ("goa", "sf", "miami", "sped")] == ["train", "val", "test", None]


def test_keys_of_cities_that_were_not_loaded(tree):
    write_city(tree, "goa", make_rows(1, "g"), make_rows(1, "h"))
    write_city(tree, "miami", make_rows(1, "m"), make_rows(1, "n"), branch="test")
    (tree / "train_val" / "goa" / "query" / "seq_info.csv").write_text("broken")
    assert keys_of_other_cities(tree, {"cph"}) == {"h0000": "goa", "m0000": "miami", "n0000": "miami"}


def test_known_counts_speak_only_of_real_validation(tree):
    remarks = count_remarks(load(tree, Protocol()))
    assert len(remarks) == 3 and "6 images in the CSVs where MSLS has 12601" in remarks[0]
    assert "sf is missing" in remarks[-1]
    assert len(count_remarks(load(tree, Protocol(cities=("cph",))))) == 2
    assert count_remarks(load(tree, Protocol(radius_m=10.0))) == []
    (tree / MINI_MARKER).write_text("{}")
    assert count_remarks(load(tree, Protocol())) == []


def test_real_counts_raise_no_remark(tmp_path):
    """Trees with exactly the known numbers, some kept queries without a positive included; then one off."""
    def write(city, queries, scored, rows, entries):
        number = np.arange(queries)
        write_city(
            tmp_path, city,
            make_rows(queries, f"{city}q", all=number < scored + 3, easting=np.where(number < scored, 0.0, 1e6)),
            make_rows(rows, f"{city}d", pano=np.arange(rows) >= entries, easting=np.arange(rows) * 50.0),
        )  # fmt: skip

    write("sf", 4_525, 242, 6_315, 6_315)
    write("cph", 6_595, 498, 12_601, 12_556)
    dataset = load(tmp_path, Protocol())
    assert count_remarks(dataset) == []
    assert dataset.counts() == {"queries": 740, "queries_without_positives": 6, "database": 18_871}
    write("cph", 6_595, 497, 12_601, 12_555)
    first, second = count_remarks(load(tmp_path, Protocol()))
    assert "cph/database: 12555 images after the filters where MSLS has 12556" in first
    assert "cph/query: 497 scored queries where MSLS has 498" in second


def test_missing_and_cut_images_are_named(tree):
    images = tree / "train_val" / "cph" / "database" / "images"
    for number in range(6):
        (images / f"d{number:04d}.jpg").write_bytes(b"\xff\xd8 picture \xff\xd9")
    dataset = load(tree, Protocol())
    (remark,) = image_remarks(dataset)
    assert "cph/query: 6 of 6 images are missing, e.g. q0000.jpg" in remark and "volume" in remark
    (images / "d0004.jpg").write_bytes(b"\xff\xd8 pict")
    remarks = image_remarks(dataset)
    assert "1 of 6 images are cut, e.g. d0004.jpg" in remarks[0] and "patch" in remarks[0]
