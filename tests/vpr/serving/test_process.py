"""The command itself: many clients at once, a map that grows beside it, and its end."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from commands import refused
from photos import write_photo, write_photos
from serving import BODIES, FILES, HEAD, TOKEN, decoders_of, in_work, post, raw, until

import vpr
from vpr import map as map_command
from vpr import serve
from vpr.models.onnx_network import VARIABLE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A map by the weights in the box, and photos to ask for. The network is kept: the service starts without torch."""
    folder = tmp_path_factory.mktemp("command")
    write_photos(folder / "photos", range(24))
    with pytest.MonkeyPatch.context() as own:
        own.setenv(VARIABLE, "auto")
        assert map_command.main([str(folder / "map"), "add", str(folder / "photos"), "--device", "cpu"]) == 0
    write_photos(folder / "asked", range(100, 100 + CLIENTS))
    return folder


@pytest.fixture
def started(folder):
    """Starts the command with options; gives the process and where it answers."""
    processes = []

    def start(*options, open_files=None, **variables):
        limited = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"] if open_files else []
        command = [
            *limited,
            sys.executable,
            "-m",
            "vpr.serve",
            str(folder / "map"),
            "--port",
            "0",
            "--device",
            "cpu",
            *options,
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: "auto", **variables}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(command, env=env, **pipes, text=True, start_new_session=True)
        processes.append(process)
        said = process.stdout.readline()
        assert "is served at http" in said, process.communicate()[1]
        return process, re.search(r"http://\S+:\d+", said)[0]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def ended(process, number):
    """The exit code and the output after a signal."""
    process.send_signal(number)
    _, err = process.communicate(timeout=100)
    assert "Traceback" not in err, err
    return process.returncode, err


def test_fifty_clients_at_once_among_hostile_ones(folder, started):
    process, where = started("--timeout", "60", "--max-mb", "2")
    files, at_once = sorted((folder / "asked").iterdir()), threading.Barrier(CLIENTS, timeout=60)

    def ask(number):
        with httpx.Client(base_url=where, timeout=90) as client:
            at_once.wait()
            return post(client, files[number].read_bytes(), files[number].name)

    def attack():
        with httpx.Client(base_url=where, timeout=90) as client:
            wrong = [post(client, data).status_code == status for data, status in FILES.values()]
            sent = BODIES.values()
            wrong += [client.post("/locate", content=b, headers=h).status_code == status for h, b, status in sent]
            return wrong

    with ThreadPoolExecutor(CLIENTS + 2) as threads:
        attacks = [threads.submit(attack) for _ in range(2)]
        answers = [*threads.map(ask, range(CLIENTS))]
        assert all(all(attack.result()) for attack in attacks)
    photo_map = vpr.Map.open(folder / "map")
    for file, answer in zip(files, answers):
        assert answer.status_code == 200, answer.text
        found, wanted = answer.json(), photo_map.locate(file).as_json()
        assert found["photo"] == file.name and found["on_map"] == wanted["on_map"]
        assert [match["photo"] for match in found["matches"]] == [match["photo"] for match in wanted["matches"]]
        for name in ("latitude", "longitude", "radius_m", "probability", "separation"):
            assert found[name] == pytest.approx(wanted[name], rel=1e-3, abs=1e-3)
    code, err = ended(process, signal.SIGINT)
    assert code == 130 and "python -m vpr.serve: interrupted" in err.splitlines()[-1]
    assert len([line for line in err.splitlines() if re.search(r": (located|not_on_map), \d+ ms$", line)]) == CLIENTS


def test_half_headers_in_numbers_hold_nobody_up(folder, started):
    process, where = started("--timeout", "100", open_files=128)
    with httpx.Client(base_url=where, timeout=100) as client:
        photo = next((folder / "asked").iterdir()).read_bytes()
        lines = [raw(int(where.rpartition(":")[2]), b"GET /health HTTP/1.1\r\nHost: loc") for _ in range(600)]
        for _ in range(5):
            assert httpx.get(f"{where}/health", timeout=100).status_code == 200
        assert post(client, photo).status_code == 200
    for line in lines:
        line.close()
    code, err = ended(process, signal.SIGINT)
    assert code == 130 and "Too many open files" not in err and len(err.splitlines()) < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(started, number):
    process, where = started()
    assert httpx.get(f"{where}/health", timeout=100).status_code == 200
    decoders = decoders_of(process.pid)
    assert decoders
    process.send_signal(number)
    process.communicate(timeout=100)
    until(lambda: not any(is_running(decoder) for decoder in decoders))


def is_running(number):
    """Whether a process runs; one that has ended may be listed until its parent looks."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_ctrl_c_answers_what_is_in_work(folder, started):
    process, where = started()
    photo = next((folder / "asked").iterdir()).read_bytes()
    length = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(photo)
    lines = [raw(int(where.rpartition(":")[2]), HEAD + length + photo[:100]) for _ in range(4)]
    with httpx.Client(base_url=where, timeout=100) as client:
        until(lambda: in_work(client) == 4)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes of the command
    time.sleep(0.5)
    for line in lines:
        line.sendall(photo[100:])
    assert [line.recv(12) for line in lines] == [b"HTTP/1.1 200"] * 4
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130 and "Traceback" not in err


def test_a_map_that_grows_beside_it(folder, started, tmp_path):
    process, where = started("--host", "0.0.0.0", VPR_TOKEN=TOKEN)
    where = where.replace("0.0.0.0", "127.0.0.1")
    given = {"authorization": f"Bearer {TOKEN}"}
    photo = write_photo(tmp_path / "new.jpg", (48.5, 9.5), size=(96, 80), seed=999)
    with httpx.Client(base_url=where, timeout=60, headers=given) as client:
        assert httpx.get(f"{where}/").status_code == 401
        before = client.get("/health").json()["photos"]
        assert map_command.main([str(folder / "map"), "add", str(photo), "--device", "cpu"]) == 0
        until(lambda: client.get("/health").json()["photos"] == before + 1)
        found = post(client, photo.read_bytes()).json()
    assert found["matches"][0]["photo"] == str(photo) and abs(found["latitude"] - 48.5) < 1e-3
    code, err = ended(process, signal.SIGTERM)
    assert code == -signal.SIGTERM and TOKEN not in err


def test_a_port_that_is_taken_is_named(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, serve.main, folder / "map", "--port", port)
    assert f"cannot listen on 127.0.0.1, port {port} (address already in use)" in line and "--port" in line


def test_a_decoder_that_cannot_start_is_one_line(folder, capfd, monkeypatch):
    monkeypatch.setattr("vpr.serving.decoders.MODULE", "no_decoder")
    assert serve.main([str(folder / "map"), "--port", "0", "--device", "cpu"]) == 1
    out, err = capfd.readouterr()
    assert "is served" not in out and "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "error: " in line]
    assert "a process that decodes photos did not start (" in line and "No module named no_decoder" in line
    assert err.endswith(f"{line}\n") and not decoders_of()


@pytest.mark.parametrize("package", serve.PACKAGES)
def test_a_package_that_is_missing_is_named(folder, capsys, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    line = refused(capsys, serve.main, folder / "map", "--port", "0")
    assert f"{package} is not installed" in line and "pip install 'vpr-ot[serve]'" in line


def test_small_answers_are_sent_at_once():
    """Otherwise the kernel waits 40 ms for the client's acknowledgement of the headers before it sends the body."""
    listener, _ = serve._bind("127.0.0.1", 0)
    accepted = []

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            accepted.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def connect():
        server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        while not accepted:
            await asyncio.sleep(0.01)
        writer.close()
        server.close()

    asyncio.run(connect())
    assert accepted == [1]
