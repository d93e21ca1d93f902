"""A served map of made-up photos, and uploads that want to break it."""

import io
import os
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient
from photos import a_model, add, write_photos
from PIL import Image

from vpr.maps.options import LocateConfig
from vpr.maps.photo_map import Map
from vpr.serving.app import create_app
from vpr.serving.connections import make_server
from vpr.serving.guards import Access
from vpr.serving.limits import Limits
from vpr.serving.served import ServedMap

HEAD = b"POST /locate HTTP/1.1\r\nHost: localhost\r\n"
TOKEN = "a-token-that-nobody-guesses"


def make_map(folder, count=24, model=None):
    """A map of photos of noise, of a small random model."""
    model = model or a_model()
    add(folder / "map", model, write_photos(folder / "photos", range(count)))
    return Map.open(folder / "map", model)


KINDS = {  # of positions that are not on Earth: columns, the position of each photo, and how an answer reads
    "metres": ("x,y", "{0},2.5", r"x [\d.]+ m, y 2\.50 m, within [\d.]+ m"),
    "frames": ("frame", "{0}", r"frame \d+, within [\d.]+ frames?"),
    "names": ("place", "room {0}", r"room \d+"),
}


def make_map_of(kind, folder, count=24):
    """As `make_map`, with positions of a kind of `KINDS`."""
    columns, position, _ = KINDS[kind]
    photos, listed = write_photos(folder / "photos", range(count)), folder / "list.csv"
    rows = [f"{photos / f'{number:03d}.jpg'},{position.format(number // 2)}" for number in range(count)]
    listed.write_text("\n".join([f"file,{columns}", *rows]))
    return Map.build(folder / "map", listed, model=a_model())


def app_of(served, access=None, **limits):
    """The application for a served map, or a map."""
    served = served if isinstance(served, ServedMap) else ServedMap(served)
    return create_app(served, LocateConfig(), Limits(**limits), access or Access())


def client_of(served, access=None, **limits):
    """A client of the application, to be entered."""
    return TestClient(app_of(served, access, **limits), base_url="http://localhost")


@contextmanager
def limited(client, **limits):
    """Other limits for the requests of a block.

    A short time is for a hostile photo only: on a busy machine an ordinary one may need longer.
    """
    service = client.app.state.service
    before = service.limits
    service.limits = service._decoders._limits = replace(before, **limits)
    try:
        yield
    finally:
        service.limits = service._decoders._limits = before


@contextmanager
def listening(served, prefix="", send_buffer=None, **limits):
    """The application behind the server, in a thread; gives the server and its port.

    prefix: the path under which a proxy serves it. send_buffer: bytes that the kernel takes before a client reads.
    """
    app = app_of(served, **limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        server, port = (
            make_server(behind_proxy(app, prefix) if prefix else app, Limits(**limits)),
            listener.getsockname()[1],
        )
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        until(lambda: server.started)
        try:
            yield server, port
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def raw(port, data=b""):
    """A connection to the service, which has sent some bytes."""
    line = socket.create_connection(("127.0.0.1", port), 60)
    line.sendall(data)
    return line


def behind_proxy(app, prefix, strips=True):
    """An application as a proxy serves it under a path: the path is taken away, or named in ``root_path``."""

    async def proxy(scope, receive, send):
        if scope["type"] == "http":
            path = scope["path"]
            inside = path.removeprefix(prefix) if path.startswith(f"{prefix}/") else "/outside"
            scope = {**scope, "path": inside} if strips else {**scope, "root_path": prefix}
        await app(scope, receive, send)

    return proxy


def decoders_of(parent=None):
    """The numbers of the processes that decode for a service, by default for one in this process."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, number = status.read_text().rpartition(")")[2].split()[:2]
            command = (status.parent / "cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if int(number) == (parent or os.getpid()) and b"decoder\0" in command and state != "Z":
            found.add(int(status.parent.name))
    return found


def until(holds, seconds=60.0):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def number_of(text, name):
    """The value of a metric in Prometheus' text."""
    return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")))


def in_work(client):
    """Requests that are worked on or wait."""
    return number_of(client.get("/metrics").text, "vpr_requests_in_work")


def outcome(client, name):
    """How many requests ended so."""
    return number_of(client.get("/metrics").text, f'vpr_requests_total{{outcome="{name}"}}')


def post(client, data, name="a.jpg", field="photo"):
    """Send a photo as a form."""
    return client.post("/locate", files={field: (name, data)})


def encoded(kind="JPEG", size=(64, 48), mode="RGB", colour=(90, 120, 40), **more):
    """A photo of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, kind, **more)
    return buffer.getvalue()


def many_frames(count):
    """A GIF with ``count`` frames."""
    buffer, frames = io.BytesIO(), [Image.new("P", (16, 16), number % 256) for number in range(count)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def many_scans(count):
    """A progressive JPEG whose last scan comes again and again; each takes a decoder over all pixels."""
    data = encoded(size=(640, 480), progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def png_of(width, height):
    """The beginning of a PNG that says it is so large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def form(*parts, boundary=b"x", end=True):
    """A multipart body of parts, each a line of headers and a content."""
    body = b"".join(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return body + (b"--" + boundary + b"--\r\n" if end else b"")


def part(name, file=None, data=b"x"):
    """A part of a form."""
    named = b'Content-Disposition: form-data; name="' + name + b'"'
    return (named if file is None else named + b'; filename="' + file + b'"'), data


FORM = {"content-type": "multipart/form-data; boundary=x"}
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="file:///etc/passwd"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (r) file\n%%EOF\n"
PHOTO = encoded()

FILES = {  # a photo that is none, and the status of the answer
    "empty": (b"", 400),
    "text": (b"hello", 415),
    "svg": (SVG, 415),
    "eps": (EPS, 415),
    "html": (b"<!doctype html><script>alert(1)</script>", 415),
    "cut": (encoded(size=(640, 480))[:-400], 422),
    "cut in the header": (PHOTO[:100], 422),
    "bomb": (png_of(60_000, 60_000), 413),
    "bomb of a format in letters": (b"P3 60000 60000 255 " + b"0 " * 100, 413),
    "larger than allowed": (png_of(8000, 8000), 413),
    "pixels that are not there": (png_of(3000, 3000), 422),
    "scans": (many_scans(300), 422),
    "segments": (b"\xff\xd8" + b"\xff\xe0\x00\x02" * 400_000, 422),
    "floats": (encoded("TIFF", mode="F", colour=0.5), 422),
    "no TIFF behind its head": (encoded("TIFF")[:8] + bytes(200), 415),
}
HARMLESS = {  # a photo with something behind it or in it
    "zip behind": PHOTO + b"PK\x03\x04" + bytes(100),
    "html behind": PHOTO + b"<script>alert(1)</script>",
    "frames": many_frames(2000),
    "png": encoded("PNG"),
    "webp": encoded("WEBP"),
    "progressive": encoded(progressive=True),
}
BODIES = {  # headers, body, status
    "no type": ({}, PHOTO, 415),
    "json": ({"content-type": "application/json"}, b"{}", 415),
    "letters": ({"content-type": "application/x-www-form-urlencoded"}, b"photo=x", 415),
    "nothing": ({"content-type": "image/jpeg"}, b"", 400),
    "no boundary": ({"content-type": "multipart/form-data"}, form(part(b"photo", b"a", PHOTO)), 400),
    "long boundary": ({"content-type": "multipart/form-data; boundary=" + "x" * 4000}, PHOTO, 400),
    "empty form": (FORM, form(), 400),
    "no form": (FORM, PHOTO, 400),
    "no end": (FORM, form(part(b"photo", b"a", PHOTO), end=False)[:-9], 400),
    "no name": (FORM, form((b"X-A: b", PHOTO)), 400),
    "other field": (FORM, form(part(b"picture", b"a", PHOTO)), 400),
    "field, no file": (FORM, form(part(b"photo", None, PHOTO)), 400),
    "two photos": (FORM, form(part(b"photo", b"a", PHOTO), part(b"photo", b"b", PHOTO)), 400),
    "many files": (FORM, form(*[part(b"photo", b"a")] * 5000), 400),
    "many fields": (FORM, form(*[part(b"a%d" % number) for number in range(5000)]), 400),
    "large field": (FORM, form(part(b"a", None, bytes(1_000_000))), 400),
    "many headers": (FORM, form((b"X: y\r\n" * 50_000 + b"Z: z", PHOTO)), 400),
    "large header": (FORM, form((b"X: " + b"y" * 1_000_000, PHOTO)), 400),
    "junk before": (FORM, b"\r\n" * 500_000, 400),
    "charset": (
        {"content-type": "multipart/form-data; boundary=x; charset=undefined"},
        form(part(b"photo", b"a")),
        400,
    ),
    "zipped charset": ({"content-type": "multipart/form-data; boundary=x; charset=zip"}, form(part(b"a", b"b")), 400),
    "too large": ({"content-type": "image/jpeg"}, PHOTO + bytes(2_100_000), 413),
    "too large a form": (FORM, form(part(b"photo", b"a", PHOTO + bytes(2_100_000))), 413),
}
