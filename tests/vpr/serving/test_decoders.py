"""The processes that decode uploads: what takes too long or too much, crashes, or is killed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from serving import (
    HEAD,
    PHOTO,
    TOKEN,
    app_of,
    client_of,
    decoders_of,
    encoded,
    in_work,
    limited,
    listening,
    number_of,
    outcome,
    post,
    raw,
    until,
)  # fmt: skip

from vpr.base.errors import VprError
from vpr.serving.decoder import Task
from vpr.serving.served import ServedMap

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
TASK = Task("a.jpg", "", len(PHOTO), (32, 32), "bicubic", "resize", 10**6)


@pytest.fixture
def hostile(monkeypatch):
    """Uploads are decoded by `hostile_decoder`, which does what their name says."""
    monkeypatch.setattr("vpr.serving.decoders.MODULE", "hostile_decoder")
    monkeypatch.setattr("vpr.serving.decoders.ORPHAN_S", 100)  # `limited` is for the service alone


def running(client):
    """How many processes decode, as the service says."""
    return number_of(client.get("/metrics").text, "vpr_decoders")


def test_the_processes_live_as_long_as_the_service(photo_map):
    assert not decoders_of()
    with client_of(photo_map) as client:
        before = decoders_of()
        assert 1 <= len(before) <= 4
        for _ in range(6):
            assert post(client, PHOTO).status_code == 200
        assert decoders_of() == before, "they decode one photo after another"
    assert not decoders_of()


@pytest.mark.parametrize(
    ("name", "said"),
    [("crash", "makes its decoder crash"), ("exit", "makes its decoder crash"),
     ("sleep", "takes more than 1 s to decode"), ("take memory", "takes too much memory to decode")],
)  # fmt: skip
def test_a_process_that_fails_costs_one_request_and_is_replaced(photo_map, hostile, name, said):
    with client_of(photo_map, decode_timeout=100.0, timeout=100.0) as client:
        before, wanted = decoders_of(), post(client, PHOTO).json()
        for times in (1, 2, 3):
            with limited(client, decode_timeout=1.0) if name == "sleep" else nullcontext():
                answer = post(client, PHOTO, name)
            assert answer.status_code == 422 and said in answer.json()["error"]
            assert post(client, PHOTO).json() == wanted
            assert outcome(client, "malformed") == times
        until(lambda: len(decoders_of()) == len(before) == running(client))
        assert decoders_of() != before and in_work(client) == 0


def test_others_are_answered_meanwhile(photo_map, hostile, threads, tmp_path):
    with client_of(photo_map, decode_timeout=100.0, timeout=100.0) as client:
        slow = threads.submit(post, client, PHOTO, f"until {tmp_path}/end")
        until(lambda: waiting(tmp_path))
        if len(decoders_of()) > 1:
            assert post(client, PHOTO).status_code == 200
        assert client.get("/health").status_code == 200 and not slow.done()
        (tmp_path / "end").touch()
        assert slow.result().status_code == 200


def test_a_request_whose_time_is_over_leaves_its_process_at_work(photo_map, hostile, tmp_path):
    with client_of(photo_map, timeout=100.0, decode_timeout=100.0) as client:
        before = decoders_of()
        with limited(client, timeout=1.0):
            answer = post(client, PHOTO, f"until {tmp_path}/end")
        assert answer.status_code == 504 and "more than 1 s" in answer.json()["error"] and in_work(client) == 0
        (tmp_path / "end").touch()
        assert [post(client, PHOTO).status_code for _ in range(2 * len(before))] == [200] * 2 * len(before)
        assert decoders_of() == before


def waiting(folder):
    """The processes that wait for a file of a folder."""
    return {int(path.suffix[1:]) for path in folder.glob("*.*")}


def asked_for(name):
    """A whole request to locate a photo of this name."""
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="' + name.encode() + b'"\r\n\r\n'
    body += PHOTO + b"\r\n--x--"
    kind = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n" % len(body)
    return HEAD + kind + body


def test_clients_that_go_away_leave_the_processes_at_work(photo_map, hostile, tmp_path):
    with listening(ServedMap(photo_map), decode_timeout=100.0, timeout=100.0) as (_, port):
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=100) as client:
            before = decoders_of()
            lines = [raw(port, asked_for(f"until {tmp_path}/end")) for _ in range(2 * len(before))]
            until(lambda: in_work(client) == len(lines) and len(waiting(tmp_path)) == len(before))
            for line in lines:
                line.close()
            until(lambda: in_work(client) == 0)
            assert decoders_of() == before and running(client) == len(before)
            (tmp_path / "end").touch()
            assert [post(client, PHOTO).status_code for _ in range(2 * len(before))] == [200] * 2 * len(before)
            assert decoders_of() == before, "no process is started anew"


def test_a_process_that_works_for_nobody_is_ended_after_the_time_for_a_photo(photo_map, hostile, tmp_path):
    with listening(ServedMap(photo_map), decode_timeout=2.0) as (_, port):
        before = decoders_of()
        with raw(port, asked_for(f"until {tmp_path}/never")):
            until(lambda: waiting(tmp_path))
        until(lambda: before - decoders_of() == waiting(tmp_path))
        until(lambda: len(decoders_of()) == len(before))


def test_what_a_decoder_prints_is_no_answer(photo_map, hostile, capfd):
    with client_of(photo_map) as client:
        assert post(client, PHOTO, "print").json() == {**post(client, PHOTO).json(), "photo": "print"}
    out, err = capfd.readouterr()
    assert "warning" not in out + err and "status" not in out


def test_an_error_of_ours_is_logged_and_not_told(photo_map, hostile, caplog):
    with client_of(photo_map) as client:
        before, answer = decoders_of(), post(client, PHOTO, "fail")
        assert answer.status_code == 500 and "ZeroDivision" not in answer.text
        assert "ZeroDivisionError" in caplog.text
        assert decoders_of() == before, "the process has done nothing wrong"


def test_processes_that_were_killed_while_they_waited_cost_nothing(photo_map):
    with client_of(photo_map) as client:
        before = decoders_of()
        for number in before:
            os.kill(number, signal.SIGKILL)
        until(lambda: not decoders_of())
        assert post(client, PHOTO).status_code == 200
        until(lambda: len(decoders_of()) == len(before))


def test_a_process_whose_death_is_not_seen_yet_costs_nothing(photo_map, seams):
    """The upload is given to another one, since the dead one got no byte of it."""
    seams.replace("asyncio.StreamReader.at_eof", lambda self: False)
    with client_of(photo_map, timeout=100.0) as client:
        before = decoders_of()
        dead = min(before)
        os.kill(dead, signal.SIGKILL)
        until(lambda: dead not in decoders_of())
        assert [post(client, PHOTO).status_code for _ in before] == [200] * len(before)
        until(lambda: len(decoders_of()) == len(before))


def test_a_service_whose_processes_are_all_dead_says_that_it_is_busy(photo_map, monkeypatch, seams):
    seams.replace("asyncio.StreamReader.at_eof", lambda self: False)
    with client_of(photo_map, timeout=100.0) as client:
        before = decoders_of()
        with monkeypatch.context() as broken:
            broken.setattr("vpr.serving.decoders.Decoder.start", failing("no memory"))
            for number in before:
                os.kill(number, signal.SIGKILL)
            until(lambda: not decoders_of())
            if len(before) > 1:
                answer = post(client, PHOTO)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert post(client, PHOTO).status_code == 200


def failing(message):
    """A coroutine function that raises RuntimeError."""

    async def fail(*arguments, **options):
        raise RuntimeError(message)

    return fail


def test_signals_to_the_service_do_not_end_them(photo_map):
    with client_of(photo_map) as client:
        before = decoders_of()
        for number in before:
            os.kill(number, signal.SIGINT)
            os.kill(number, signal.SIGTERM)
        assert all(post(client, PHOTO).status_code == 200 for _ in before) and decoders_of() == before
        assert all(os.getsid(number) == number for number in before), "Ctrl-C is for the service alone"


def test_a_process_that_cannot_be_started_ends_the_start(photo_map, monkeypatch):
    monkeypatch.setattr("vpr.serving.decoders.MODULE", "no_decoder")
    with pytest.raises(VprError, match=r"a process that decodes photos did not start \(.*No module named no_decoder"):
        with TestClient(app_of(ServedMap(photo_map))):
            pass
    assert not decoders_of()


@pytest.mark.parametrize(
    ("place", "broken", "reason"),
    [("vpr.serving.decoders.MODULE", "no_decoder", "No module named no_decoder"),
     ("asyncio.create_subprocess_exec", failing("can't start new thread"), "can't start new thread")],
    ids=["module", "thread"],
)  # fmt: skip
def test_one_that_cannot_be_started_again_is_tried_until_it_can(
    photo_map, monkeypatch, caplog, threads, place, broken, reason
):
    monkeypatch.setattr("vpr.serving.decoders.FIRST_PAUSE_S", 0.1)
    with client_of(photo_map, timeout=100.0) as client:
        before = decoders_of()
        assert running(client) == len(before)
        with monkeypatch.context() as context:
            context.setattr(place, broken)
            for number in before:
                os.kill(number, signal.SIGKILL)
            until(lambda: running(client) == 0)  # a process that the service does not know to be dead is tried
            asked = threads.submit(post, client, PHOTO)
            until(lambda: "the next try is in 0.2 s" in caplog.text)
            assert f"{reason}); " in caplog.text
            assert client.get("/health").status_code == 200 and running(client) == 0 and not asked.done()
        assert asked.result().status_code == 200
        until(lambda: running(client) == len(before))


def test_a_process_imports_nothing_of_the_working_folder(photo_map, tmp_path, monkeypatch):
    """``python -m`` puts that folder first in the import path of the service."""
    for module in ("json", "numpy", "PIL", "vpr"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "", *sys.path])
    with client_of(photo_map, timeout=100.0) as client:
        assert post(client, PHOTO).status_code == 200
    assert not (tmp_path / "executed").exists()


def test_a_process_does_not_get_the_token(photo_map, monkeypatch):
    monkeypatch.setenv("VPR_TOKEN", TOKEN)
    with client_of(photo_map):
        given = [Path(f"/proc/{number}/environ").read_bytes() for number in decoders_of()]
    assert given and all(b"OMP_NUM_THREADS" in one and TOKEN.encode() not in one for one in given)


@pytest.mark.parametrize(("decode_mb", "status"), [(100, 422), (500, 200)])
def test_memory_is_limited_for_each_photo_anew(photo_map, decode_mb, status):
    data = encoded("PNG", size=(3000, 3000), mode="RGBA", colour=(1, 2, 3, 100))  # 36 MB, three or four times
    with client_of(photo_map, decode_mb=decode_mb) as client:
        for _ in range(3):
            answer = post(client, data)
            assert answer.status_code == status and ("memory" in answer.text) == (status == 422)
        assert post(client, PHOTO).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_the_largest_photos_have_memory_enough(photo_map, kind):
    buffer = io.BytesIO()
    mode, colour = ("RGB", (1, 2, 3)) if kind == "JPEG" else ("RGBA", (1, 2, 3, 100))
    Image.new(mode, (7071, 7071), colour).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    with client_of(photo_map, decode_timeout=100.0, timeout=100.0, max_mb=1000.0) as client:
        assert post(client, buffer.getvalue()).status_code == 200


def started(module="vpr.serving.decoder", seconds=100):
    """A process without its service."""
    path = os.pathsep.join([str(Path.cwd()), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", module, "1000000000", str(seconds)], env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert json.loads(process.stdout.readline())["status"] == 200
    return process


def decode_in(process):
    """Have the process decode a photo."""
    process.stdin.write(json.dumps(asdict(TASK)).encode() + b"\n" + PHOTO)
    process.stdin.flush()
    assert [json.loads(process.stdout.readline())["status"] for _ in range(2)] == [200, 200]
    assert len(process.stdout.read(32 * 32 * 3)) == 3072


def test_a_process_ends_when_its_service_is_gone():
    process = started()
    decode_in(process)
    process.stdin.close()
    assert process.wait(60) == 0


def test_a_process_that_has_nothing_to_do_lives_on():
    process = started(seconds=2)
    decode_in(process)
    time.sleep(3)
    decode_in(process)
    process.stdin.close()
    assert process.wait(60) == 0


def test_a_process_that_is_busy_when_its_service_is_gone_ends_after_its_time():
    process = started("hostile_decoder", seconds=1)
    task = {**asdict(TASK), "name": "sleep"}
    process.stdin.write(json.dumps(task).encode() + b"\n" + PHOTO)
    process.stdin.close()
    assert process.wait(60) == -signal.SIGALRM
