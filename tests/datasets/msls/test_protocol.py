"""The protocol's own rules, the cities of a tree, and the counts that real validation must give."""

import numpy as np
import pytest
from msls_tree import assert_one_line, make_rows, write_city

from vpr.datasets.default_data import MANIFEST, PARTIAL_MANIFEST
from vpr.datasets.errors import DatasetError
from vpr.datasets.msls import Protocol, load
from vpr.datasets.msls.cities import TEST_CITIES, TRAIN_CITIES, VAL_CITIES, official_split
from vpr.datasets.msls.foreign_keys import keys_of_other_cities
from vpr.datasets.msls.known_counts import count_remarks


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
        ({"radius_m": 0.0}, "radius of 0.0 m"),
        ({"radius_m": float("nan")}, "radius of nan m"),
        ({"scope": "world"}, "scope 'world'"),
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
    for root, part in (
        (tmp_path / "no", "does not exist"),
        (tree / "train_val", f"give {tree}"),
        (tmp_path, "not an MSLS"),
    ):
        with pytest.raises(DatasetError) as error:
            load(root, Protocol())
        assert_one_line(error, str(root), part)


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
    assert len(remarks) == 3 and "6 images in the CSVs, but MSLS has 12601" in remarks[0]
    assert "sf is missing" in remarks[-1]
    assert len(count_remarks(load(tree, Protocol(cities=("cph",))))) == 2
    assert count_remarks(load(tree, Protocol(radius_m=10.0))) == []
    for marker in (MANIFEST, PARTIAL_MANIFEST):
        (tree / marker).write_text("{}")
        assert count_remarks(load(tree, Protocol())) == []
        (tree / marker).unlink()


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
    assert dataset.retrieval_set.counts() == {"queries": 740, "queries_without_positives": 6, "database": 18_871}
    write("cph", 6_595, 497, 12_601, 12_555)
    first, second = count_remarks(load(tmp_path, Protocol()))
    assert "cph/database: 12555 images after the filters, but MSLS has 12556" in first
    assert "cph/query: 497 scored queries, but MSLS has 498" in second
