"""Pairs of photos of a map that look alike, against a loop over all pairs."""

import os
from pathlib import Path

import numpy as np
import pytest
from commands import refused
from photos import a_model, write_photos

from vpr import map as map_command
from vpr.base.errors import VprError
from vpr.base.pair_files import check_pair_names
from vpr.maps.neighbours import neighbour_pairs, relative_names, write_neighbour_pairs
from vpr.maps.photo_map import Map

COUNT = 70  # more than are searched for at a time


@pytest.fixture(scope="module")
def a_map(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_photos(folder / "photos/a", range(40))
    write_photos(folder / "photos/b", range(40, COUNT))
    return Map.build(folder / "map", folder / "photos", model=a_model())


def read_pairs(path):
    """As COLMAP's: two names in a line, parted by a space; lines with # are skipped."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [tuple(line.split(" ")) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("count", [1, 3, 5 * COUNT])
def test_pairs_are_those_of_a_loop(a_map, tmp_path, count):
    vectors = np.asarray(a_map.content.global_descriptors)
    expected = set()
    for own in range(COUNT):
        others = sorted(
            (other for other in range(COUNT) if other != own), key=lambda o: -float(vectors[own] @ vectors[o])
        )
        expected |= {(min(own, other), max(own, other)) for other in others[:count]}
    assert neighbour_pairs(a_map.finder, count) == sorted(expected)
    number, folder = write_neighbour_pairs(a_map, tmp_path / "p.txt", count)
    written = read_pairs(tmp_path / "p.txt")
    assert number == len(written) == len(set(written)) == len(expected)
    assert folder == Path(os.path.realpath(a_map.folder.parent / "photos"))
    names = [Path(str(key)).relative_to(folder).as_posix() for key in map(os.path.realpath, a_map.content.table.keys)]
    assert set(written) == {(names[first], names[second]) for first, second in expected}
    assert all((folder / name).is_file() for pair in written for name in pair)


def test_reranked_pairs_have_the_order_of_locating(a_map):
    """The photo itself is first among its matches, and then come its neighbours."""
    expected = set()
    everything = a_map.finder.photos.images.read(np.arange(COUNT))
    for own, row in enumerate(a_map.finder.find_adapted(everything, COUNT).rows.tolist()):
        expected |= {(min(own, other), max(own, other)) for other in [other for other in row if other != own][:4]}
    found = neighbour_pairs(a_map.finder, 4, rerank=True)
    assert found == sorted(expected) != neighbour_pairs(a_map.finder, 4)


def test_names_are_relative_to_a_folder(tmp_path):
    files = [str(tmp_path / name) for name in ("x/a.jpg", "x/y/b.jpg")]
    assert relative_names(files, None) == (Path(os.path.realpath(tmp_path / "x")), ["a.jpg", "y/b.jpg"])
    assert relative_names(files, tmp_path)[1] == ["x/a.jpg", "x/y/b.jpg"]
    with pytest.raises(VprError, match="is not in --images .*; pass a folder above all photos"):
        relative_names(files, tmp_path / "x/y")


@pytest.mark.parametrize("name", ["a b.jpg", "a\u00a0b.jpg", "a\tb", "#a.jpg", "", "a\udcff.jpg"])
def test_names_that_a_list_of_pairs_cannot_have(tmp_path, name):
    with pytest.raises(VprError, match="cannot be written into a list of pairs; rename it"):
        check_pair_names(tmp_path / "p.txt", ["fine.jpg", name])


def test_the_command_writes_pairs(a_map, tmp_path, capsys, seams):
    seams.replace("vpr.map._model", lambda options: a_map.model)
    out = tmp_path / "pairs.txt"
    assert map_command.main([str(a_map.folder), "pairs", "--out", str(out), "--neighbours", "2"]) == 0
    count = len(neighbour_pairs(a_map.finder, 2))
    assert capsys.readouterr().out.startswith(f"{out}: {count} pairs of {COUNT} photos; names are below ")
    assert len(read_pairs(out)) == count
    images = ["--out", out, "--images", a_map.folder.parent / "photos/a"]
    assert "is not in --images" in refused(capsys, map_command.main, a_map.folder, "pairs", *images)
