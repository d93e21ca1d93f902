"""The processes that decode uploads: what takes too long or too much, crashes, or is killed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from serving import (
    HEAD,
    PHOTO,
    app_of,
    client_of,
    decoders_of,
    encoded,
    in_work,
    listening,
    outcome,
    post,
    raw,
    until,
)  # fmt: skip

from vpr.serving.decoder import Task
from vpr.serving.served import ServedMap

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
TASK = Task("a.jpg", "", len(PHOTO), (32, 32), "bicubic", "resize", 10**6)


@pytest.fixture
def hostile(monkeypatch):
    """Uploads are decoded by `hostile_decoder`, which does what their name says."""
    monkeypatch.setattr("vpr.serving.decoders.MODULE", "hostile_decoder")


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
    with client_of(photo_map, decode_timeout=1.0) as client:
        before, wanted = decoders_of(), post(client, PHOTO).json()
        for times in (1, 2, 3):
            answer = post(client, PHOTO, name)
            assert answer.status_code == 422 and said in answer.json()["error"]
            assert post(client, PHOTO).json() == wanted
            assert outcome(client, "malformed") == times
        until(lambda: len(decoders_of()) == len(before))
        assert decoders_of() != before and in_work(client) == 0


def test_others_are_answered_meanwhile(photo_map, hostile, threads):
    with client_of(photo_map, decode_timeout=2.0) as client:
        slow = threads.submit(post, client, PHOTO, "sleep")
        until(lambda: in_work(client) == 1)
        if len(decoders_of()) > 1:
            assert post(client, PHOTO).status_code == 200 and not slow.done()
        assert client.get("/health").status_code == 200
        assert slow.result().status_code == 422


def test_a_request_whose_time_is_over_ends_its_process(photo_map, hostile):
    with client_of(photo_map, timeout=1.0, decode_timeout=100.0) as client:
        before = decoders_of()
        answer = post(client, PHOTO, "sleep")
        assert answer.status_code == 504 and "more than 1 s" in answer.json()["error"]
        until(lambda: len(before - decoders_of()) == 1)
        until(lambda: len(decoders_of()) == len(before))


def test_a_client_that_goes_away_ends_its_process(photo_map, hostile):
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="sleep"\r\n\r\n' + PHOTO + b"\r\n--x--"
    kind = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with listening(ServedMap(photo_map), decode_timeout=100.0) as (_, port):
        before = decoders_of()
        with raw(port, HEAD + kind + body):
            time.sleep(1)
            assert decoders_of() == before
        until(lambda: len(before - decoders_of()) == 1)


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
    with pytest.raises(OSError, match="a process that decodes photos did not start"):
        with TestClient(app_of(ServedMap(photo_map))):
            pass


def test_one_that_cannot_be_started_again_is_tried_until_it_can(photo_map, monkeypatch, caplog, threads):
    monkeypatch.setattr("vpr.serving.decoders.FIRST_PAUSE_S", 0.1)
    with client_of(photo_map) as client:
        with monkeypatch.context() as broken:
            broken.setattr("vpr.serving.decoders.MODULE", "no_decoder")
            for number in decoders_of():
                os.kill(number, signal.SIGKILL)
            until(lambda: not decoders_of())
            asked = threads.submit(post, client, PHOTO)
            until(lambda: "did not start; the next try is in 0.2 s" in caplog.text)
            assert client.get("/health").status_code == 200 and not asked.done()
        assert asked.result().status_code == 200


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


def test_a_process_ends_when_its_service_is_gone():
    process = started()
    process.stdin.write(json.dumps(asdict(TASK)).encode() + b"\n" + PHOTO)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["status"] == 200 and len(process.stdout.read(32 * 32 * 3)) == 3072
    process.stdin.close()
    assert process.wait(10) == 0


def test_a_process_that_is_busy_when_its_service_is_gone_ends_after_its_time():
    process = started("hostile_decoder", seconds=1)
    task = {**asdict(TASK), "name": "sleep"}
    process.stdin.write(json.dumps(task).encode() + b"\n" + PHOTO)
    process.stdin.close()
    assert process.wait(10) == -signal.SIGALRM
