"""Access control and security headers."""

import base64
import io
import re
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from serving import PHOTO, TOKEN, app_of, behind_proxy, client_of, make_map, number_of, post

from vpr.serving.guards import Access

ADDRESSES = ["/", "/health", "/metrics", "/photos/x/0", "/nothing"]


@pytest.fixture(scope="module")
def client(photo_map):
    with client_of(photo_map) as client:
        yield client


@pytest.fixture(scope="module")
def closed(photo_map):
    with client_of(photo_map, Access(TOKEN)) as client:
        yield client


def basic(password):
    return {"authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000"])
def test_the_service_answers_to_the_names_of_this_machine(client, host):
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[", "a@b"]
)
def test_and_to_no_other_name(client, host):
    for address in ADDRESSES:
        assert client.get(address, headers={"host": host}).status_code == 421
    assert client.post("/locate", files={"photo": PHOTO}, headers={"host": host}).status_code == 421


def test_with_a_token_any_name_will_do(closed):
    given = {"host": "maps.example", "authorization": f"Bearer {TOKEN}"}
    assert closed.get("/", headers=given).status_code == 200


@pytest.mark.parametrize(
    "given", [{"authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer  {TOKEN}"}, basic(TOKEN)]
)
def test_the_token_opens(closed, given):
    assert closed.post("/locate", files={"photo": PHOTO}, headers=given).status_code == 200
    assert closed.get("/health", headers=given).json()["photos"] == 24
    assert closed.get("/metrics", headers=given).status_code == 200


@pytest.mark.parametrize(
    "given",
    [{}, basic("x"), basic(""), basic(TOKEN[:-1]), {"authorization": "Basic %%%"}, {"authorization": TOKEN},
     {"authorization": f"Bearer {TOKEN}x"}, {"authorization": "Bearer"}, {"authorization": b"Bearer \xff\xfe"},
     {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()}],
)  # fmt: skip
def test_nothing_else_opens(closed, given):
    for address in ("/", "/metrics", "/photos/x/0", "/nothing"):
        answer = closed.get(address, headers=given)
        assert answer.status_code == 401 and answer.headers["www-authenticate"].startswith("Basic")
    assert closed.post("/locate", files={"photo": PHOTO}, headers=given).status_code == 401
    assert closed.get("/health", headers=given).json() == {"status": "ok"}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:99", "", "localhost"])
def test_pages_of_other_sites_may_not_send(client, origin):
    answer = client.post("/locate", files={"photo": PHOTO}, headers={"origin": origin})
    assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers


def test_the_page_may(client):
    assert client.post("/locate", files={"photo": PHOTO}, headers={"origin": "http://localhost"}).status_code == 200


def test_every_answer_has_security_headers(client):
    for address in [*ADDRESSES, "/locate"]:
        headers = client.get(address).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in headers if name.startswith("access-control")]


def test_the_page_runs_its_own_script_only(client):
    first, second = client.get("/"), client.get("/")
    policy = first.headers["content-security-policy"]
    nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
    assert first.text.count(f'nonce="{nonce}"') == 2 and nonce not in second.text
    assert "unsafe" not in policy and "http" not in policy
    assert 'src="http' not in first.text and '<link rel="icon" href="data:,">' in first.text


@pytest.mark.parametrize("address", ["/docs", "/redoc", "/openapi.json", "/nothing", "/photos/1"])
def test_nothing_else_is_there(client, address):
    answer = client.get(address)
    assert (answer.status_code, [*answer.json()]) == (404, ["error"])


def test_other_methods_are_refused(client):
    for method, address, allowed in (("GET", "/locate", {"POST"}), ("OPTIONS", "/locate", {"POST"}),
                                     ("PUT", "/", {"GET", "HEAD"}), ("POST", "/health", {"GET", "HEAD"})):  # fmt: skip
        answer = client.request(method, address)
        assert (answer.status_code, [*answer.json()]) == (405, ["error"])
        assert set(answer.headers["allow"].split(", ")) == allowed


def test_thumbnails_are_those_of_the_matches(client, photo_map):
    answer = post(client, PHOTO)
    places = answer.headers["vpr-photos"].split(" ")
    assert len(places) == len(answer.json()["matches"]) == 5
    for place, match in zip(places, answer.json()["matches"]):
        assert photo_map.content.table.keys[int(place.rpartition("/")[2])] == match["photo"]
        picture = client.get(place)
        assert picture.headers["content-type"] == "image/jpeg" and "private" in picture.headers["cache-control"]
        with Image.open(io.BytesIO(picture.content)) as image:
            assert image.size == (48, 40)


@pytest.mark.parametrize("row", ["-1", "24", "1e1", "x", "9" * 30, "..%2f..%2fetc%2fpasswd", "%00", "٣", "0x1", " 1"])
def test_no_other_thumbnail_is_there(client, row):
    version = post(client, PHOTO).headers["vpr-photos"].split("/")[1]
    assert client.get(f"/photos/{version}/0").status_code == 200
    assert client.get(f"/photos/{version}/{row}").status_code == 404
    assert client.get("/photos/000000000000/0").status_code == 404


def test_a_photo_whose_file_is_gone_has_no_thumbnail(tmp_path):
    gone = make_map(tmp_path)
    with client_of(gone) as client:
        place = post(client, PHOTO).headers["vpr-photos"].split(" ")[0]
        (tmp_path / "photos").rename(tmp_path / "away")
        answer = client.get(place)
        assert answer.status_code == 404 and str(tmp_path) not in answer.text


def test_health_and_metrics_tell_of_the_map(client, photo_map):
    state = photo_map.content.state
    told = client.get("/health").json()
    assert told == {"status": "ok", "map": str(photo_map.folder), "photos": 24, "change": 1, "model": "somewhere",
                    "fingerprint": state.fingerprint, "fault": None}  # fmt: skip
    before = client.get("/metrics").text
    post(client, PHOTO)
    post(client, b"hello")
    after = client.get("/metrics").text
    for name, grown in (('vpr_requests_total{outcome="malformed"}', 1), ("vpr_request_seconds_count", 2)):
        assert number_of(after, name) - number_of(before, name) == grown
    told_of = [number_of(text, 'vpr_requests_total{outcome="located"}')
               + number_of(text, 'vpr_requests_total{outcome="not_on_map"}') for text in (before, after)]  # fmt: skip
    assert told_of[1] - told_of[0] == 1
    assert number_of(after, "vpr_map_photos") == 24 and number_of(after, "vpr_requests_in_work") == 0


@pytest.mark.parametrize("address", ["/", "/health", "/metrics"])
def test_head_is_get_without_the_content(client, address):
    whole, head = client.get(address), client.head(address)
    assert (whole.status_code, head.status_code) == (200, 200)
    assert head.headers["content-type"] == whole.headers["content-type"] and head.headers["referrer-policy"]


def test_head_of_a_thumbnail_and_of_nothing(client, closed):
    place = post(client, PHOTO).headers["vpr-photos"].split(" ")[0]
    assert client.head(place).status_code == 200 and client.head("/nothing").status_code == 404
    assert client.head("/locate").status_code == 405
    assert closed.head("/").status_code == 401 and closed.head("/health").status_code == 200


@pytest.mark.parametrize("strips", [True, False])
def test_the_page_works_under_a_path(photo_map, strips):
    """As nginx takes the path away, and as ASGI servers name it in ``root_path``."""
    page = "http://maps.example/vpr/"
    app = app_of(photo_map, Access(TOKEN))
    token = {"authorization": f"Bearer {TOKEN}"}
    with TestClient(behind_proxy(app, "/vpr", strips)) as client:
        text = client.get(page, headers=token).text
        assert not re.findall(r"""["'`]/[a-z]""", text), "no address begins at the root"
        (locate,) = re.findall(r'fetch\("([^"]*)"', text)
        answer = client.post(urljoin(page, locate), files={"photo": PHOTO}, headers=token)
        assert answer.status_code == 200
        places = answer.headers["vpr-photos"].split(" ")
        assert len(places) == 5
        for base in (page, urljoin(page, locate)):  # a program may take them from where it sent the photo
            picture = client.get(urljoin(base, places[0]), headers=token)
            assert picture.headers["content-type"] == "image/jpeg"
        assert client.get(urljoin(page, "health")).json() == {"status": "ok"}, "without the token"
        assert client.get(urljoin(page, "metrics")).status_code == 401
