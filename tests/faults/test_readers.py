"""Every reader, given damaged copies of a file that it can read: it reads them, or raises one error that names them."""

import json
import os
import shutil
import traceback
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import as_hloc
from photos import write_photo
from place_trees import objects, touch

from vpr import scratch
from vpr.base.errors import VprError
from vpr.cache import DescriptorCache, mend_truncated
from vpr.datasets.msls import Protocol, load
from vpr.datasets.places.layout import Places
from vpr.datasets.places.place_set import load as load_places
from vpr.description.foreign import read_foreign
from vpr.eval.files.faults import find_faults
from vpr.eval.files.foreign import read_rankings, read_shortlist
from vpr.maps.sources.video import read_track
from vpr.maps.store import MapContent
from vpr.models.weights import read_weights
from vpr.positions.exif import read_exif
from vpr.positions.tables import read_list
from vpr.run import load as load_run

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
TRIES = settings(  # the variable TRIES asks for a longer search
    max_examples=int(os.environ.get("TRIES", "60")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
SIDE = "tree/train_val/cph/query"


def read_cache(path):
    """Mend, open and read a cache as evaluation does."""
    mend_truncated(path)
    cache = DescriptorCache(path)
    rows = np.flatnonzero(cache.done)
    cache.find(cache.keys[:3].tolist())
    cache.require_numbers(rows, cache.read_patches(rows))


def read_tree(path):
    """Read a city, one of whose files is given."""
    load(path.parents[3], Protocol(cities=("cph",)), cache=False).retrieval_set.counts()


def read_run(path):
    """Read everything that evaluation reads of a run, one of whose files is given."""
    run = path.parent
    load_run(run, CPU)


def read_descriptors(path):
    """Read descriptors that were computed elsewhere, and look an image up."""
    foreign = read_foreign(path)
    foreign.look_up(foreign.names[:1])


def read_options(path):
    """Read a YAML file of options; a refusal is the command's."""
    if code := scratch.main(["--config", str(path), "--print-config"]):
        assert code == 2
        raise VprError(str(path))


def read_places(path):
    """Read a list of photos."""
    list(read_list(path))


def read_truth(path):
    """Read a set of four photos, whose truth is given."""
    folder = path.parent / "sides"
    load_places(Places(folder, folder / "database", folder / "queries", path))


def read_map(path):
    """Read a map, one of whose files is given."""
    MapContent.read(path.parent)


READERS = {
    "places.csv": read_places,
    "places.geojson": read_places,
    "track.gpx": read_track,
    "photo.jpg": read_exif,
    "x_gt.npy": read_truth,
    "ground_truth_new.npy": read_truth,
    "pairs.csv": read_truth,
    "map/map.json": read_map,
    "map/photos-1.csv": read_map,
    f"{SIDE}/seq_info.csv": read_tree,
    f"{SIDE}/raw.csv": read_tree,
    f"{SIDE}/postprocessed.csv": read_tree,
    f"{SIDE}/subtask_index.csv": read_tree,
    "a.h5": read_cache,
    "run/model.safetensors": read_weights,
    "weights.pth": read_weights,
    "legacy.pth": read_weights,
    "run/config.json": read_run,
    "run/metrics.json": read_run,
    "options.yaml": read_options,
    "global-feats.h5": read_descriptors,
    "d.npy": read_descriptors,
    "d.txt": lambda path: read_descriptors(path.with_suffix(".npy")),
}
PREDICTIONS = {
    "csv": lambda path, dataset: read_rankings(path, dataset, strict=False),
    "strict": lambda path, dataset: read_rankings(path, dataset, strict=True),
    "shortlist": lambda path, dataset: read_shortlist(path, dataset, 10),
    "check": find_faults,
}


@st.composite
def edits(draw):
    """Up to four changes of a file: where, as a share of its length, what goes, and what comes."""
    word = st.one_of(
        st.binary(max_size=8), st.sampled_from([b",", b"\n", b'"', b"nan", b"-1", b"9" * 400, b"\0", b"{"])
    )
    near = st.one_of(st.floats(0, 1), st.floats(0, 0.02))  # the beginning holds the structure
    return draw(st.lists(st.tuples(near, st.integers(0, 40), word), min_size=1, max_size=4))


def edited(whole, changes):
    """The bytes after the changes; one that takes and puts nothing cuts the file there."""
    data = whole
    for share, gone, put in changes:
        where = int(share * len(data))
        data = data[:where] + put + data[where + gone :] if gone or put else data[:where]
    return data


def fault(read, path):
    """What is wrong with how a reader takes a file; empty where nothing is."""
    try:
        read(path)
    except VprError as error:
        return "" if path.stem in str(error) or path.parent.name in str(error) else f"names no file: {error}"
    except Exception:  # noqa: BLE001  any other is the fault that is looked for
        return traceback.format_exc()
    return ""


def fault_in_child(read, path):
    """The same in a process of its own, which a damaged file may crash."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(theirs, fault(read, path).encode()[:60_000])
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or ("" if code == 0 else f"ended with {code}")


@pytest.fixture(scope="module")
def readable(whole, tmp_path_factory):
    """The tree, the run and its files, besides weights in torch's two formats and a file of options."""
    folder = tmp_path_factory.mktemp("readable")
    for name in ("tree", "run"):
        shutil.copytree(whole / name, folder / name)
    for name in ("a.h5", "p.csv"):
        shutil.copy(whole / name, folder)
    tensors = {"a.weight": torch.arange(6.0), "b": torch.ones(2, 3)}
    torch.save({"state_dict": tensors}, folder / "weights.pth")
    torch.save(tensors, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    descriptors = np.eye(4, 6, dtype=np.float32)
    as_hloc(folder, ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"], descriptors).rename(folder / "global-feats.h5")
    np.save(folder / "d.npy", descriptors)
    (folder / "d.txt").write_text("a/1.jpg\na/2.jpg\nb/1.jpg\nb/2.jpg\n")
    touch(*(folder / "sides" / side / name for side in ("database", "queries") for name in ("0.jpg", "1.jpg")))
    np.save(folder / "x_gt.npy", objects([[0, 1], np.array([1])]))
    np.save(folder / "ground_truth_new.npy", objects([[0, [0, 1]], [1, [1]]]))
    (folder / "pairs.csv").write_text("query,database\n0.jpg,1.jpg\n1.jpg,0.jpg\n")
    (folder / "options.yaml").write_text(
        "steps: 3\nlearning_rate: 0.001\ncities: [london, boston]\nbackbone: resnet18\n"
    )
    (folder / "places.csv").write_text("key,lat,lon,easting,northing,crs\na.jpg,1.5,2,,,\nb,,,5e5,12.5,EPSG:32631\n")
    point = {"type": "Point", "coordinates": [2.5, 47.25]}
    features = [{"type": "Feature", "properties": {"file": "a.jpg"}, "geometry": point}]
    (folder / "places.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    points = "".join(f'<trkpt lat="47" lon="8"><time>2026-05-01T12:00:0{n}Z</time></trkpt>' for n in range(3))
    track = f'<gpx version="1.1" creator="x"><trk><trkseg>{points}</trkseg></trk></gpx>'
    (folder / "track.gpx").write_text(track)
    write_photo(folder / "photo.jpg", (47.0, 8.0))
    shutil.copytree(whole / "map", folder / "map")
    return folder


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named(readable, name):
    path, read = readable / name, READERS[name]
    whole = path.read_bytes()
    assert fault(read, path) == ""
    apart = path.suffix == ".h5"  # whose library is C

    @TRIES
    @given(edits())
    def tries(changes):
        path.write_bytes(edited(whole, changes))
        assert (fault_in_child if apart else fault)(read, path) == ""

    try:
        tries()
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("suffix", [".csv", ".zip"])
def test_a_damaged_prediction_file_is_read_or_named(readable, tmp_path, kind, suffix):
    dataset = load(readable / "tree", Protocol())
    whole, path = (readable / "p.csv").read_bytes(), tmp_path / f"p{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("p.csv", whole)
        whole = path.read_bytes()

    @TRIES
    @given(edits())
    def tries(changes):
        path.write_bytes(edited(whole, changes))
        assert fault(lambda path: PREDICTIONS[kind](path, dataset), path) == ""

    tries()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_any_value_anywhere_in_a_runs_records_is_taken_or_named(readable, name):
    path = readable / "run" / name
    whole = path.read_bytes()
    places = list(paths_in(json.loads(whole)))

    @TRIES
    @given(st.sampled_from(places), JSON)
    def tries(place, value):
        content = json.loads(whole)
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        path.write_text(json.dumps(content))
        assert fault(read_run, path) == ""

    try:
        tries()
    finally:
        path.write_bytes(whole)


def paths_in(content, before=()):
    """Every key of nested tables, as the keys that lead to it."""
    for key, value in content.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths_in(value, (*before, key))
