"""Clients that send slowly, go away, say nothing or speak no HTTP; a service behind uvicorn."""

import json
import socket

import httpx
import pytest
from serving import PHOTO, in_work, listening, post, until

from vpr.serving.served import ServedMap

HEAD = b"POST /locate HTTP/1.1\r\nHost: localhost\r\n"
JPEG = b"Content-Type: image/jpeg\r\n"


def raw(port, data=b""):
    """A connection to the service, which has sent some bytes."""
    line = socket.create_connection(("127.0.0.1", port), 20)
    line.sendall(data)
    return line


def answered(line):
    """The status and the content of the answer."""
    response = b""
    while b"\r\n\r\n" not in response or b"}" not in response:
        piece = line.recv(65536)
        if not piece:
            break
        response += piece
    head, _, content = response.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(content)


@pytest.fixture(scope="module")
def port(photo_map):
    with listening(ServedMap(photo_map), timeout=2.5, max_mb=2) as (_, port):
        yield port


@pytest.fixture
def web(port):
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=20) as client:
        yield client
        until(lambda: post(client, PHOTO).status_code == 200)  # on a busy machine not within the time at once
        until(lambda: in_work(client) == 0)


def test_an_upload_that_takes_too_long_is_ended(web, port):
    with raw(port, HEAD + JPEG + b"Content-Length: 5000\r\n\r\n" + PHOTO[:50]) as line:
        status, content = answered(line)
    assert status == 408 and "2.5 s" in content["error"]


def test_clients_that_go_away_leave_nothing_behind(web, port, gate):
    lines = [raw(port, HEAD + JPEG + b"Content-Length: 5000\r\n\r\n" + PHOTO[:50]) for _ in range(10)]
    lines += [raw(port, HEAD + JPEG + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO) for _ in range(10)]
    until(lambda: in_work(web) == 20)
    for line in lines:
        line.close()
    until(lambda: in_work(web) == 0, 2)  # before their time is over
    begun = len(gate.sizes)
    gate.set()
    until(lambda: post(web, PHOTO).status_code == 200)
    assert set(gate.sizes[begun:]) == {1}, "nothing is done for those who went away"


def test_connections_that_say_nothing_keep_nobody_waiting(web, port):
    lines = [raw(port, b"POST /locate HTTP/1.1\r\nHost: loc") for _ in range(100)] + [raw(port) for _ in range(100)]
    until(lambda: post(web, PHOTO).status_code == 200)
    for line in lines:
        line.close()


@pytest.mark.parametrize("form", [False, True])
def test_a_body_without_a_length_is_measured_as_it_comes(web, port, form):
    kind = b"Content-Type: multipart/form-data; boundary=x\r\n" if form else JPEG
    begun = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n' if form else PHOTO
    with raw(port, HEAD + kind + b"Transfer-Encoding: chunked\r\n\r\n") as line:
        for piece in [begun, *[bytes(50_000)] * 45]:  # and then the client waits
            line.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        status, content = answered(line)
    assert status == 413 and "larger than 2 MB" in content["error"]


def test_a_client_that_sends_all_before_it_listens_reads_the_refusal(web):
    answer = web.post("/locate", content=bytes(30_000_000), headers={"content-type": "image/jpeg"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000, b"GET /" + b"x" * 200_000,
     HEAD + b"Content-Length: -5\r\n\r\n", HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     HEAD + JPEG + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", HEAD + b"A: b\r\n" * 20_000 + b"\r\n"],
)  # fmt: skip
def test_what_is_no_http_is_refused(web, port, sent):
    with raw(port) as line:
        try:
            line.sendall(sent)
            assert line.recv(1000)[9:10] in (b"", b"4")
        except ConnectionError:
            pass  # it hung up while we sent


def test_when_it_ends_what_is_in_work_is_answered(photo_map, gate, threads):
    with listening(ServedMap(photo_map)) as (server, port):
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=20) as client:
            asked = threads.submit(post, client, PHOTO)
            until(lambda: gate.sizes)
            server.should_exit = True
            gate.set()
            assert asked.result().status_code == 200
