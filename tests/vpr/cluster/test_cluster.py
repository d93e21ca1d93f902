"""A real cluster of two nodes on this machine: equal answers, and what dies is replaced or said."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commands import evaluate, refused
from photos import BETWEEN_BATCHES, a_model, alike, write_photos

from vpr import extract, map
from vpr.cache import DescriptorCache
from vpr.cluster import connecting, shard_actors
from vpr.cluster.connecting import connect
from vpr.cluster.describing import cluster_fill_options
from vpr.cluster.errors import ClusterError
from vpr.cluster.shards import sharded
from vpr.description.cache_filling import DEFAULT_FILL
from vpr.maps.building import add_photos
from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.maps.sources.positions import find_photos

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")
ROOT = Path(__file__).resolve().parents[3]
STORE_BYTES = 80 << 20
HEALTH = {"health_check_period_ms": 1000, "health_check_timeout_ms": 4000, "health_check_failure_threshold": 5}


class Nodes:
    """Two nodes, the second of which may be taken away and comes back."""

    def __init__(self, folder):
        from ray.cluster_utils import Cluster

        head = {"include_dashboard": False, "temp_dir": folder, "_system_config": HEALTH}
        self.cluster = Cluster(initialize_head=True, head_node_args=head | self.size())
        self.second = self.cluster.add_node(**self.size())
        self.address = self.cluster.address

    @staticmethod
    def size():
        return {"num_cpus": 1, "object_store_memory": STORE_BYTES}

    def take_second(self):
        self.cluster.remove_node(self.second, allow_graceful=False)

    def bring_second(self):
        self.second = self.cluster.add_node(**self.size())


@pytest.fixture(scope="module")
def nodes():
    folder = Path(tempfile.mkdtemp(prefix="vpr-", dir=connecting.socket_folder()))
    (folder / "ray").mkdir()  # Ray's cluster for tests writes its address there, and does not make the folder
    with pytest.MonkeyPatch.context() as own:
        for name, value in {**connecting.RAY_ENVIRONMENT, "RAY_TMPDIR": str(folder)}.items():
            own.setenv(name, value)
        both = Nodes(str(folder))
        yield both
        both.cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A map of 30 photos and other photos to be located."""
    folder = tmp_path_factory.mktemp("town")
    photo_map = Map.build(folder / "map", write_photos(folder / "photos", range(30)), model=a_model())
    return photo_map, sorted(write_photos(folder / "asked", range(500, 520)).iterdir())


def processes(held):
    """Those that answered last, by shard."""
    return {number: int(name.split()[-1]) for number, name in held.finder.shards.actors.names.items()}


def actors(kind):
    """The processes of the cluster's living actors of a kind."""
    from ray._private.state import actors as known

    return [one["Pid"] for one in known().values() if kind in one["ActorClassName"] and one["State"] == "ALIVE"]


def parent(process):
    with open(f"/proc/{process}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def raylet(node):
    return node.all_processes["raylet"][0].process.pid


@pytest.fixture(scope="class")
def held(nodes, town):
    """The map in three shards, on both nodes."""
    with connect(nodes.address) as cluster:
        assert cluster.machines == 2
        for _ in range(5):  # Ray spreads processes by the load that it knows of, which may be old
            with sharded(town[0], cluster, 3) as held:
                held.locate(town[1][0])
                if len({parent(process) for process in processes(held).values()}) == 2:
                    yield held
                    return
        pytest.fail("shards never lie on both nodes")


class TestMapInThreeShards:
    """One after another on the same shards, which are whole at the start of each."""

    def test_they_answer_as_one_machine(self, held, town):
        photo_map, asked = town
        for config in (LocateConfig(depth=12, top=12), LocateConfig(sequence=True)):
            alike(held.locate_all(asked, config), photo_map.locate_all(asked, config))
        assert len({*processes(held).values()}) == 3, "a process for each shard"

    def test_a_process_and_a_node_that_die_while_they_are_asked_are_replaced(self, held, town, nodes, monkeypatch):
        photo_map, asked = town
        whole, first = photo_map.locate_all(asked), processes(held)
        on_node = [number for number, process in first.items() if parent(process) == raylet(nodes.second)]
        assert 0 < len(on_node) < 3, "shards lie on both nodes"
        other = first[next(number for number in range(3) if number not in on_node)]
        ask, faults = shard_actors.ShardActors.ask, ["process", "node"]

        def ask_with_a_fault(self, question, arguments):
            fault = faults.pop(0) if question == "compare" and faults else ""
            if fault:
                stopped = other if fault == "process" else raylet(nodes.second)
                os.kill(stopped, signal.SIGSTOP)  # it is asked, and dies before it answers
                kill = (lambda: os.kill(other, signal.SIGKILL)) if fault == "process" else nodes.take_second
                threading.Timer(0.5, kill).start()
            return ask(self, question, arguments)

        monkeypatch.setattr(shard_actors.ShardActors, "ask", ask_with_a_fault)
        assert held.locate_all(asked) == whole and held.locate_all(asked) == whole and not faults
        assert held.locate_all(asked) == whole and all(one.not_searched == 0 for one in whole)
        assert other not in processes(held).values()
        assert all(processes(held)[number] != first[number] for number in on_node)
        nodes.bring_second()

    def test_a_shard_whose_file_is_gone_is_said_and_comes_back_with_it(self, held, town, caplog):
        photo_map, asked = town
        config, path = LocateConfig(top=30), photo_map.finder.photos.images.cache.path
        whole = held.locate(asked[0], config)
        away = path.rename(path.with_suffix(".away"))
        os.kill(processes(held)[1], signal.SIGKILL)
        found = held.locate(asked[0], config)
        away.rename(path)
        assert found.not_searched == 10 and "10 photos of the map were not searched" in found.summary()
        gone = set(photo_map.content.table.keys[10:20])
        assert [m.photo for m in found.matches] == [m.photo for m in whole.matches if m.photo not in gone]
        assert "shard 2 of 3 does not answer: there is no descriptor cache at" in caplog.text
        alike([held.locate(asked[0], config)] * 2, [whole, photo_map.locate(asked[0], config)])

    def test_a_shard_that_does_not_answer_is_gone_after_a_while(self, held, town):
        photo_map, asked = town
        held.locate(asked[0])
        stopped, asking = processes(held)[2], held.finder.shards.actors
        asking.answer_s = 2.0
        os.kill(stopped, signal.SIGSTOP)
        found = held.locate(asked[0])
        assert found.not_searched == 10 and "no answer within 2 s" in asking.failures[2]
        asking.answer_s = 60.0
        while asking.failures:  # until there is another process
            found = held.locate(asked[0])
        alike([found], [photo_map.locate(asked[0])])
        assert processes(held)[2] != stopped


def test_describing_whose_workers_are_killed_ends_with_the_same_bytes(nodes, tmp_path, monkeypatch):
    model, photos = a_model(), find_photos([write_photos(tmp_path / "photos", range(300))]).photos
    add_photos(tmp_path / "one", model, photos)
    write, killed = DescriptorCache.write, []

    def killing(self, *arguments):
        if not killed:
            killed.extend(actors("Worker"))
            for process in killed:
                os.kill(process, signal.SIGKILL)
        write(self, *arguments)

    with connect(nodes.address) as cluster:
        monkeypatch.setattr(DescriptorCache, "write", killing)
        done = add_photos(tmp_path / "two", model, photos, cluster_fill_options(cluster))
        assert killed and done.described == 300
        for name in ("descriptors.h5", "globals-1.npy", "photos-1.csv"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
        photos[7].path.write_bytes(b"no photo")
        again = [
            add_photos(tmp_path / name, model, photos, how)
            for name, how in (("one", DEFAULT_FILL), ("two", cluster_fill_options(cluster)))
        ]
    assert again[0] == again[1] and again[1].photos == 300
    ((path, why),) = again[1].left_out.unreadable.items()
    assert path == str(photos[7].path) and "cannot be decoded" in why


def test_extraction_on_a_cluster_is_extraction(nodes, tiny_tree, tmp_path, monkeypatch, capsys):
    given = ["--run", "builtin", "--data", tiny_tree, "--device", "cpu", "--cache"]
    for name, more in (("one", []), ("two", ["--cluster", nodes.address])):
        assert extract.main([str(word) for word in (*given, tmp_path / f"{name}.h5", *more)]) == 0
    one, two = (DescriptorCache(tmp_path / f"{name}.h5") for name in ("one", "two"))
    assert one.keys.tolist() == two.keys.tolist() and one.spec == two.spec and two.done.all()
    # a worker has other threads than this process, which changes last digits
    np.testing.assert_allclose(two.globals_, one.globals_, atol=BETWEEN_BATCHES)
    np.testing.assert_allclose(two.patches, one.patches, atol=1e-3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = refused(capsys, extract.main, *given, tmp_path / "x.h5", "--cluster", "local")
    assert "torchrun and --cluster both distribute the work" in said


def test_the_table_is_the_same_on_a_cluster(nodes, tiny_tree, tmp_path):
    given = ["--rerank", "--depth", "8", "--cache", tmp_path / "a.h5"]
    results = []
    for name, more in (("one", []), ("two", ["--cluster", nodes.address, "--shards", "3"])):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "a.csv"
        found = evaluate(tiny_tree, "builtin", tmp_path / name, *given, "--submission", file, *more)
        rounded = json.loads(json.dumps({**found, "latency_ms": None}), parse_float=lambda text: round(float(text), 5))
        results.append((rounded, file.read_bytes()))  # S_struct of other batches may differ in its last digits
    assert results[0] == results[1] and {"shortlist", "rerank"} <= set(results[0][0]["results"])


def test_a_user_without_a_cluster_says_local(tmp_path):
    write_photos(tmp_path / "photos", range(3))
    assert map.main([str(word) for word in (tmp_path / "map", "add", tmp_path / "photos", "--device", "cpu")]) == 0
    command = ["-m", "vpr.locate", "map", "photos/001.jpg", "--cluster", "local", "--shards", "3", "--json", "a.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = (side.decode() for side in started.communicate(timeout=300))
    assert started.returncode == 0 and out.startswith("photos/001.jpg: ") and "raylet" not in out, err
    assert [line for line in err.splitlines() if "Traceback" in line or re.match(r"\[\d{4}-", line)] == []
    photo = json.loads((tmp_path / "a.json").read_text())["photos"][0]
    assert photo["matches"][0]["photo"] == str(tmp_path / "photos/001.jpg") and photo["not_searched"] == 0
    assert not list(Path(connecting.socket_folder()).glob(f"vpr-ray-{started.pid}-*")), "nothing is left"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_cluster_is_told_within_seconds(answer, monkeypatch):
    monkeypatch.setattr(connecting, "ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.sendall(answer)
                done.wait(5)

        done = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ClusterError, match="no Ray answers there .*ray start --head"):
            with connect(f"127.0.0.1:{server.getsockname()[1]}"):
                pass
        done.set()
        thread.join()


def test_without_ray_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'vpr-ot\[cluster\]'"):
        with connect("local"):
            pass


def test_what_a_part_raises_is_raised_and_other_code_is_refused(nodes):
    with connect(nodes.address) as cluster:
        asking = shard_actors.ShardActors(cluster, [partial(Path, "/nowhere")])
        with pytest.raises(FileNotFoundError):
            asking.ask("read_bytes", [()])
        assert asking.ask("with_suffix", [(".jpg",)]) == [Path("/nowhere.jpg")] and asking.ask("x", [None]) == [None]
        other = shard_actors.ShardActors(connecting.Cluster(1, 1, "other"), [partial(Path, "/nowhere")])
        assert "has another version of vpr" in other.ask("exists", [()])[0].reason
