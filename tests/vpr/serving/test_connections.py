"""Clients that send slowly, go away, say nothing, come in numbers or speak no HTTP; a service behind uvicorn."""

import json
import resource
import socket
import time

import httpx
import pytest
from serving import HEAD, PHOTO, in_work, listening, post, raw, until

from vpr.base.errors import VprError
from vpr.serving.connections import _most_connections
from vpr.serving.served import ServedMap

JPEG = b"Content-Type: image/jpeg\r\n"


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
    with listening(ServedMap(photo_map), timeout=100.0, max_mb=2) as (_, port):
        yield port


@pytest.fixture
def web(port):
    with httpx.Client(base_url=f"http://localhost:{port}", timeout=100) as client:
        yield client
        assert post(client, PHOTO).status_code == 200
        until(lambda: in_work(client) == 0)


def test_an_upload_that_takes_too_long_is_ended(photo_map):
    with listening(ServedMap(photo_map), timeout=0.5) as (_, port):
        with raw(port, HEAD + JPEG + b"Content-Length: 5000\r\n\r\n" + PHOTO[:50]) as line:
            status, content = answered(line)
    assert status == 408 and "0.5 s" in content["error"]


def test_clients_that_go_away_leave_nothing_behind(web, port, gate):
    lines = [raw(port, HEAD + JPEG + b"Content-Length: 5000\r\n\r\n" + PHOTO[:50]) for _ in range(10)]
    lines += [raw(port, HEAD + JPEG + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO) for _ in range(10)]
    until(lambda: in_work(web) == 20)
    for line in lines:
        line.close()
    until(lambda: in_work(web) == 0)  # before their time is over
    begun = len(gate.sizes)
    gate.set()
    assert post(web, PHOTO).status_code == 200
    assert set(gate.sizes[begun:]) == {1}, "nothing is done for those who went away"


def test_connections_that_say_nothing_keep_nobody_waiting(web, port):
    lines = [raw(port, b"POST /locate HTTP/1.1\r\nHost: loc") for _ in range(100)] + [raw(port) for _ in range(100)]
    assert post(web, PHOTO).status_code == 200
    for line in lines:
        line.close()


def is_closed(line, seconds=60.0):
    """Whether the service closes a connection, and sends nothing more."""
    line.settimeout(seconds)
    try:
        return line.recv(100) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


HALF = b"GET /health HTTP/1.1\r\nHost: loc"
WHOLE = HALF + b"alhost\r\n\r\n"


@pytest.fixture
def brief(monkeypatch, photo_map):
    """A service that waits for a header for a second; gives its port."""
    monkeypatch.setattr("vpr.serving.connections.HEADER_S", 1.0)
    with listening(ServedMap(photo_map), timeout=100.0) as (server, port):
        server.config.timeout_keep_alive = 100
        yield port


@pytest.mark.parametrize("sent", [b"", b"G", HALF, HALF + b"alhost\r\nA: b\r\n", b"POST /loc"])
def test_a_header_has_a_time(brief, sent):
    with raw(brief, sent) as line:
        assert not is_closed(line, 0.2) and is_closed(line)


def test_a_header_that_comes_byte_by_byte_has_no_more_time(brief):
    sent = 0
    with raw(brief) as line:
        with pytest.raises(ConnectionError):
            for byte in WHOLE * 3:
                line.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.1)
    assert sent < len(WHOLE), "no header came whole"


def test_the_header_of_a_second_request_has_a_time(brief):
    with raw(brief, WHOLE) as line:
        assert answered(line)[0] == 200
        line.sendall(HALF)
        assert is_closed(line)
    with raw(brief, WHOLE + HALF) as line:
        assert answered(line)[0] == 200 and is_closed(line)


def test_the_rest_of_a_body_has_a_time_once_its_answer_was_sent(brief):
    body = b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
    with raw(brief, body) as line:
        assert answered(line)[0] == 404
        with pytest.raises(ConnectionError):
            for _ in range(100):
                line.sendall(b"x")
                time.sleep(0.05)


def test_a_request_that_is_worked_on_has_more_time(brief, gate):
    with raw(brief, HEAD + JPEG + b"Content-Length: %d\r\n\r\n" % len(PHOTO)) as line:
        for place in range(0, len(PHOTO), 100):
            line.sendall(PHOTO[place : place + 100])
            time.sleep(0.2)
        assert not is_closed(line, 2)
        gate.set()
        assert answered(line)[0] == 200
        line.sendall(WHOLE)
        assert answered(line)[0] == 200


def test_a_client_that_takes_no_answers_is_closed(monkeypatch, photo_map):
    monkeypatch.setattr("vpr.serving.connections.LAST_ANSWERS_S", 0.3)
    page = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with listening(ServedMap(photo_map), timeout=0.3) as (server, port), raw(port) as line:
        line.settimeout(0.2)
        with pytest.raises((TimeoutError, ConnectionError)):
            while True:  # until the service takes no more
                line.sendall(page * 100)
        until(lambda: not server.server_state.connections)


@pytest.mark.parametrize("reads", [True, False])
def test_a_last_answer_that_nobody_takes_has_a_time(monkeypatch, photo_map, reads):
    monkeypatch.setattr("vpr.serving.connections.HEADER_S", 100.0 if reads else 0.5)
    with listening(ServedMap(photo_map), send_buffer=2048, timeout=100.0) as (server, port), socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.connect(("127.0.0.1", port))
        line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        until(lambda: server.server_state.total_requests == 1)
        if reads:
            line.settimeout(60)
            assert b"".join(iter(lambda: line.recv(65536), b"")).endswith(b"</html>")
        until(lambda: not server.server_state.connections)


@pytest.fixture
def small(monkeypatch, photo_map):
    """A service of at most 8 connections; gives its server and port."""
    monkeypatch.setattr("vpr.serving.connections.SPARE", 4)
    monkeypatch.setattr("vpr.serving.connections.FEWEST", 1)
    with listening(ServedMap(photo_map), queue=4) as found:
        yield found


def test_new_connections_take_the_place_of_the_oldest_without_a_request(small):
    server, port = small
    lines, asked = [raw(port, HALF) for _ in range(8)], []
    until(lambda: len(server.server_state.connections) == 8)
    for number in range(7):
        asked.append(raw(port, WHOLE))
        assert answered(asked[-1])[0] == 200
        assert is_closed(lines[number]) and not is_closed(lines[number + 1], 0.05)
    assert len(server.server_state.connections) == 8
    lines = [raw(port, HALF) for _ in range(300)]
    until(lambda: is_closed(lines[291]))
    assert len(server.server_state.connections) == 8 and not is_closed(lines[292], 0.05)


def test_no_connection_with_a_request_is_closed(photo_map, monkeypatch, gate, threads):
    monkeypatch.setattr("vpr.serving.connections.SPARE", 0)
    monkeypatch.setattr("vpr.serving.connections.FEWEST", 1)
    with listening(ServedMap(photo_map), queue=4) as (server, port):
        length = b"Content-Length: %d\r\n\r\n" % len(PHOTO)
        lines = [raw(port, HEAD + JPEG + length + PHOTO) for _ in range(4)]
        until(lambda: len(server.server_state.tasks) == 4)
        assert all(is_closed(raw(port, WHOLE)) for _ in range(20)), "there is no place"
        gate.set()
        assert [answered(line)[0] for line in lines] == [200] * 4
        with raw(port, WHOLE) as line:
            assert answered(line)[0] == 200, "a connection without a request makes room"


@pytest.mark.parametrize(
    ("soft", "hard", "most", "raised"),
    [(256, 256, 128, None), (256, 1024, 896, 1024), (1024, 1024, 896, None), (1024, 524288, 1064, 1192),
     (256, resource.RLIM_INFINITY, 1064, 1192), (20000, 20000, 1064, None),
     (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1064, None), (128, 128, 32, None), (80, 80, None, None)],
)  # fmt: skip
def test_connections_are_fewer_than_open_files(monkeypatch, soft, hard, most, raised):
    given = []

    def change(kind, limits):
        given.append(limits)

    monkeypatch.setattr(resource, "getrlimit", {resource.RLIMIT_NOFILE: (soft, hard)}.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", change)
    if most is None:
        with pytest.raises(VprError, match="may open 80 files, too few for a service; raise it"):
            _most_connections(64)
    else:
        assert _most_connections(64) == most
    assert given == ([] if raised is None else [(raised, hard)])


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
        with httpx.Client(base_url=f"http://localhost:{port}", timeout=100) as client:
            asked = threads.submit(post, client, PHOTO)
            until(lambda: gate.sizes)
            server.should_exit = True
            gate.set()
            assert asked.result().status_code == 200
