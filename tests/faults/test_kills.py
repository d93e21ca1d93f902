"""Writing commands, killed before their n-th file operation: given again they end as if undisturbed.

By default every operation of `eval.msls`, and a sample of those of the others, which write in the same ways. With the
variable ``SWEEP`` every operation of all commands: an hour.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from tiny import LABELS, SMALL, TEACHER, small_config

from vpr.cache import DescriptorCache
from vpr.maps.store import DESCRIPTORS, MapContent

pytestmark = pytest.mark.slow

QUICK = ["--steps", "1", "--structural-from", "0", "--checkpoint-every", "1", "--held-out", ""]
COMMANDS = [
    ("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "new/a.h5", "--device", "cpu"]),
    (
        "eval.msls",
        [
            "--run",
            "run",
            "--data",
            "tree",
            "--cache",
            "a.h5",
            "--device",
            "cpu",
            "--json",
            "new/a.json",
            "--submission",
            "new/a.zip",
        ],
    ),
    ("vpr.teacher", ["--data", "tree", "--out", "new", "--clusters", "4", *TEACHER, "--steps", "1"]),
    ("vpr.distill", ["--data", "tree", "--out", "new", "--teacher", "teacher", *SMALL, *QUICK]),
]
TABLE = ["--data", "tree", "--out", "new", "--seeds", "1", "--training", "tiny.yaml", "--device", "cpu"]
COMPARE = ["run", "--data", "tree", "--device", "cpu", "--submission", "new/a.zip", "--curves", "new/c"]
COMPARE += ["--report", "new/a.html"]
RETRIEVAL = ["--data", "set", "--out", "new", *LABELS, "--steps", "1", "--checkpoint-every", "1"]
SCORE = ["--run", "run", "--data", "set", "--cache", "new/a.h5", "--json", "new/a.json", "--device", "cpu"]
LONG = [("vpr.scratch", ["--data", "tree", "--out", "new", *SMALL, *QUICK])]
LONG += [("eval.table", TABLE), ("eval.compare", COMPARE), ("tiny_world", ["new"])]  # with the variable SWEEP: minutes
STUDY = ["--run", "run", "--data", "tree", "--device", "cpu", "--masses", "1,0.5", "--out", "new"]
LONG += [("vpr.retrieval", RETRIEVAL), ("eval.retrieval", SCORE), ("eval.partial", STUDY), ("tiny_set", ["new"])]
CPH = "tree/train_val/cph"
ANSWER = [
    "--run",
    "run",
    "--database",
    f"{CPH}/database/images",
    "--queries",
    f"{CPH}/query/images",
    "--cache",
    "new/a.h5",
    "--json",
    "new/a.json",
    "--submission",
    "new/a.csv",
]
LONG += [("eval.places", [*ANSWER, "--confidence", "new/c.csv", "--device", "cpu"])]
MATCH = ["A.jpg", "B.jpg", "--run", "run", "--device", "cpu", "--out", "new/m.png", "--json", "new/m.json"]
PATCHES = [
    "--run",
    "run",
    "--data",
    "tree",
    "--device",
    "cpu",
    "--images",
    "4",
    "--pair",
    "A.jpg,B.jpg",
    "--out",
    "new",
]
LONG += [("vpr.match", MATCH), ("eval.patches", PATCHES)]
PLACES = "tree/train_val/cph/database/postprocessed.csv"
ADD = ["new/map", "add", PLACES, "--crs", "EPSG:32631", "--run", "run", "--device", "cpu"]
LOCATE = ["map", "tree/train_val/cph/query", "--run", "run", "--device", "cpu", "--json", "new/a.json"]
LOCATE += ["--geojson", "new/a.geojson", "--csv", "new/a.csv", "--report", "new/a.html"]
COMMANDS += [("vpr.map", ADD)]
LONG += [("vpr.locate", LOCATE)]
TRAININGS = "seed0"  # of a table, which are those of the commands above and stay
TIMED = b'"latency_ms"'


def outputs(folder):
    """The bytes of each file but logs and locks; what holds times is left out."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if name.name != "log.txt" and name.suffix != ".lock"}
    return {name: b"" if TIMED in (data := path.read_bytes()) else data for name, path in kept.items()}


def start_anew(folder):
    """Remove what a command wrote."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != TRAININGS:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


SAMPLED = {"vpr.distill": 12, "vpr.teacher": 4, "vpr.map": 5, "vpr.extract": 3}  # killed before every n-th operation


@pytest.mark.parametrize(("command", "options"), COMMANDS if "SWEEP" not in os.environ else COMMANDS + LONG)
def test_a_kill_before_any_file_operation_costs_nothing_but_time(pair, case, tmp_path, command, options):
    def run(warm, folder, stop_before=0):
        return warm(command, options, cwd=folder, stop_before=stop_before)

    small_config(case / "tiny.yaml")
    for name, photo in zip(("A.jpg", "B.jpg"), sorted((case / "tree").rglob("*.jpg"))):
        shutil.copy(photo, case / name)
    assert run(pair[0], case).code == 0
    start_anew(case / "new")
    undisturbed = run(pair[0], case)
    assert undisturbed.code == 0 and undisturbed.writes >= 4, undisturbed.err

    def sweep(warm, folder, numbers):
        start_anew(folder / "new")
        assert run(warm, folder).code == 0  # names of caches, and photos of a map, carry the folder of the tree
        expected = outputs(folder / "new")
        assert expected and not any(".tmp" in str(name) for name in expected)
        for number in numbers:
            start_anew(folder / "new")
            assert run(warm, folder, stop_before=number).code == -9
            again = run(warm, folder)
            assert again.code == 0, f"killed before operation {number}: {again.err}"
            assert outputs(folder / "new") == expected, f"killed before operation {number}"

    folders = case, shutil.copytree(case, tmp_path / "second")
    step = 1 if "SWEEP" in os.environ else SAMPLED.get(command, 1)
    numbers = sorted({*range(1, undisturbed.writes + 1, step), undisturbed.writes})
    halves = numbers[::2], numbers[1::2]
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(sweep, pair, folders, halves))


def read_map(folder):
    """The photos of a map with their global descriptors, and how many rows its cache has; raises where readers do."""
    content, cache = MapContent.read(folder), DescriptorCache(folder / DESCRIPTORS)
    cache.rows(content.table.described_as)
    return dict(zip(content.table.keys, content.global_descriptors.tolist(), strict=True)), len(cache)


def test_a_kill_while_changed_photos_are_added_leaves_the_map_of_before_or_after(warm, case):
    """A third of the photos are others now: they are described, the map is swapped, old descriptors are dropped."""
    new, before = case / "new", case / "before"
    assert warm("vpr.map", ADD, cwd=case).code == 0
    new.rename(before)
    images = sorted((case / PLACES).parent.glob("images/*.jpg"))
    for path in images[::3]:
        path.write_bytes(images[1].read_bytes() + b" ")

    def run(stop_before=0):
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(before, new)
        return warm("vpr.map", ADD, cwd=case, stop_before=stop_before)

    undisturbed = run()
    assert undisturbed.code == 0 and f"{len(images[::3])} changed" in undisturbed.out, undisturbed.err
    old, expected, states = read_map(before / "map"), outputs(new), []
    after = read_map(new / "map")
    assert after[1] == old[1] == len(images) and after[0] != old[0] and after[0].keys() == old[0].keys()
    step = 1 if "SWEEP" in os.environ else 12
    for number in sorted({*range(1, undisturbed.writes + 1, step), undisturbed.writes}):
        assert run(number).code == -9
        photos, _ = read_map(new / "map")
        assert photos in (old[0], after[0]), f"killed before operation {number}"
        states.append(photos == after[0])
        assert warm("vpr.map", ADD, cwd=case).code == 0
        assert outputs(new) == expected, f"killed before operation {number}"
    assert {*states} == {False, True}
