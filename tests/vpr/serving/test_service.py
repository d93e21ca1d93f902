"""Load, time, and a map that changes."""

import json
import re

import pytest
from photos import a_model, add, alike, write_photo, write_photos
from serving import (
    KINDS,
    PHOTO,
    client_of,
    encoded,
    in_work,
    limited,
    make_map,
    make_map_of,
    number_of,
    outcome,
    post,
    until,
)

from vpr import load
from vpr.maps.photo_map import Map
from vpr.maps.results import Located, MapMatch
from vpr.models.onnx_network import VARIABLE
from vpr.positions.map_frame import FRAMES
from vpr.serving.served import ServedMap, version_of


@pytest.fixture(autouse=True)
def still(monkeypatch):
    """The service checks the map on disk only if a test calls `refresh`."""
    monkeypatch.setattr("vpr.serving.served.POLL_S", 1000.0)


def test_a_full_queue_answers_503_with_retry_after(photo_map, gate, threads):
    with client_of(photo_map, queue=3) as client:
        first = [threads.submit(post, client, PHOTO) for _ in range(3)]
        until(lambda: in_work(client) == 3)
        busy = post(client, PHOTO)
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "2") and "again" in busy.json()["error"]
        assert client.get("/health").status_code == 200
        gate.set()
        assert [answer.result().status_code for answer in first] == [200] * 3
        assert post(client, PHOTO).status_code == 200 and in_work(client) == 0 and outcome(client, "busy") == 1


def test_a_request_that_times_out_frees_its_slot(photo_map, gate, threads):
    with client_of(photo_map, queue=2, timeout=100.0) as client:
        with limited(client, timeout=1.0):
            late = [threads.submit(post, client, PHOTO) for _ in range(2)]
            assert [answer.result().status_code for answer in late] == [504] * 2
        assert in_work(client) == 0
        gate.set()
        assert post(client, PHOTO).status_code == 200
        assert outcome(client, "timeout") == 2


def test_queued_photos_are_located_in_batches_with_the_same_answers(photo_map, gate, threads, tmp_path):
    files = [write_photo(tmp_path / f"{number}.jpg", None, seed=100 + number) for number in range(40)]
    with client_of(photo_map) as client:
        asked = [threads.submit(post, client, file.read_bytes(), file.name) for file in files]
        until(lambda: in_work(client) == 40)
        gate.set()
        answers = [answer.result().json() for answer in asked]
    assert max(gate.sizes) == 8 and sum(gate.sizes) == 40
    for file, answer in zip(files, answers):
        matches = tuple(MapMatch(**match) for match in answer.pop("matches"))
        alike([Located(**{**answer, "photo": str(file)}, matches=matches)], [photo_map.locate(file)])
        assert answer["photo"] == file.name


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_has_the_fields_of_the_kind_of_the_map(tmp_path, kind):
    photo_map = make_map_of(kind, tmp_path)
    path = write_photo(tmp_path / "q.jpg", None, seed=7)
    with client_of(photo_map) as client:
        answer, of_drive = (
            client.post(address, files={"photo": ("q.jpg", path.read_bytes())}).json()
            for address in ("/locate", "/locate?drive=a")
        )
    wanted = photo_map.locate(path)
    assert answer == json.loads(json.dumps({**wanted.as_json(), "photo": "q.jpg"}))
    assert of_drive.keys() == answer.keys() and "latitude" not in answer
    assert re.fullmatch(KINDS[kind][2], FRAMES[kind].answer_text(wanted.position, wanted.radius))


def test_the_frames_of_a_drive_are_located_by_the_frames_before_them(photo_map, tmp_path):
    files = [write_photo(tmp_path / f"{number}.jpg", None, seed=number) for number in (3, 4, 5, 6)]

    def ask(client, drive, file):
        answer = client.post("/locate", params={"drive": drive}, files={"photo": (str(file), file.read_bytes())}).json()
        return Located(**{**answer, "matches": tuple(MapMatch(**match) for match in answer["matches"])})

    tracker, other = photo_map.track(), photo_map.track()
    expected = [tracker.add(file) for file in files]
    with client_of(photo_map) as client:
        for file, one in zip(files, expected):
            alike([ask(client, "a", file)], [one])
            alike([ask(client, "b-2", files[0])], [other.add(files[0])])
        for drive in ("", "a/b", "x" * 65, "\u00e9"):
            refused = client.post("/locate", params={"drive": drive}, files={"photo": ("a.jpg", PHOTO)})
            assert refused.status_code == 400 and "the name of a drive has 1 to 64 letters" in refused.json()["error"]
    with client_of(photo_map, drives=1) as client:
        for drive in ("a", "b", "a"):  # each forgets the other one
            alike([ask(client, drive, files[0])], expected[:1])
    assert expected[0].probability != photo_map.locate(files[0]).probability


def test_a_failure_of_the_map_is_one_sentence_and_the_next_photo_is_located(photo_map, monkeypatch, caplog):
    with client_of(photo_map) as client:
        with monkeypatch.context() as broken:
            broken.setattr(Map, "locate_all", lambda *rest: 1 / 0)
            answer = post(client, PHOTO)
            assert answer.status_code == 500 and "ZeroDivision" not in answer.text
            assert "ZeroDivisionError" in caplog.text
        assert post(client, PHOTO).status_code == 200 and outcome(client, "failed") == 1


def test_a_map_that_changes_is_opened_again(tmp_path, gate, threads, caplog):
    caplog.set_level("INFO", "vpr")
    model = a_model()
    served = ServedMap(make_map(tmp_path, model=model))
    before = version_of(served.photo_map)
    with client_of(served) as client:
        old = [threads.submit(post, client, PHOTO)]
        until(lambda: gate.sizes)
        old.append(threads.submit(post, client, PHOTO))
        until(lambda: in_work(client) == 2)
        path = write_photo(tmp_path / "more" / "a.jpg", (48.0, 9.0), size=(64, 48), seed=77)
        add(tmp_path / "map", model, path)
        assert served.refresh() and len(served.photo_map) == 25
        new = threads.submit(post, client, path.read_bytes())
        until(lambda: in_work(client) == 3)
        gate.set()
        version, other = (answer.result().headers["vpr-photos"].split("/")[1] for answer in old)
        answer = new.result()
        assert version == other == before
        assert (
            answer.json()["matches"][0]["photo"] == str(path) and answer.headers["vpr-photos"].split("/")[1] != version
        )
        assert client.get("/health").json()["photos"] == 25 and "opened again: 25 photos" in caplog.text
        assert served.refresh() and caplog.text.count("opened again") == 1


@pytest.mark.parametrize("damage", ["gone", "cut", "other files", "other model"])
def test_a_state_that_cannot_be_opened_leaves_the_map_as_it_is(tmp_path, caplog, damage):
    model = a_model()
    served = ServedMap(make_map(tmp_path, model=model), pinned=True)
    state, whole = tmp_path / "map" / "map.json", (tmp_path / "map" / "map.json").read_bytes()
    if damage == "gone":
        state.unlink()
    elif damage == "cut":
        state.write_bytes(whole[:50])
    elif damage == "other files":
        state.write_bytes(whole.replace(b'"photos": 24', b'"photos": 25'))
    else:
        make_other(tmp_path)
    with client_of(served) as client:
        assert not served.refresh() and not served.refresh()
        told = client.get("/health").json()
        assert told["status"] == "stale" and told["photos"] == 24
        assert ("has changed since it made" in told["fault"]) == (damage == "other model")
        assert post(client, PHOTO).status_code == 200
        assert caplog.text.count("cannot be opened; the state before is served") == 1, "said once"
        assert number_of(client.get("/metrics").text, "vpr_map_stale") == 1
        if damage != "other model":
            state.write_bytes(whole)
            assert served.refresh() and client.get("/health").json()["status"] == "ok"


def make_other(folder):
    """A map of another model in the place of a map."""
    (folder / "map").rename(folder / "away")
    add(folder / "map", a_model(seed=5), write_photos(folder / "few", range(3)))


def test_a_map_of_another_model_is_served_by_that_model_unless_one_was_chosen(tmp_path, seams):
    served = ServedMap(make_map(tmp_path))
    make_other(tmp_path)
    seams.replace("vpr.maps.photo_map.load", lambda run, device, trust: a_model(seed=5))
    with client_of(served) as client:
        assert served.refresh() and client.get("/health").json()["photos"] == 3
        assert post(client, PHOTO).status_code == 200


def test_the_service_refreshes_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr("vpr.serving.served.POLL_S", 0.05)
    model = a_model()
    served = ServedMap(make_map(tmp_path, model=model))
    with client_of(served) as client:
        add(tmp_path / "map", model, write_photo(tmp_path / "more" / "a.jpg", (48.0, 9.0), seed=77))
        until(lambda: client.get("/health").json()["photos"] == 25)


def test_a_large_upload_goes_by_way_of_a_file(photo_map, tmp_path):
    data = encoded("BMP", (900, 900))
    (tmp_path / "a.bmp").write_bytes(data)
    with client_of(photo_map) as client:
        answer = post(client, data, "a.bmp").json()
    wanted = photo_map.locate(tmp_path / "a.bmp").as_json()
    assert len(data) > 2_000_000 and answer == json.loads(json.dumps({**wanted, "photo": "a.bmp"}))


@pytest.mark.slow
def test_the_model_in_the_box_is_served_by_onnx_runtime(tmp_path, monkeypatch, caplog):
    """The other tests of the service take torch (tests/conftest.py)."""
    caplog.set_level("INFO", "vpr")
    monkeypatch.delenv(VARIABLE)
    photo_map = make_map(tmp_path, count=8, model=load("builtin", "cpu"))
    files = [write_photo(tmp_path / f"{number}.jpg", None, size=(96, 80), seed=number) for number in range(3)]
    with client_of(photo_map, timeout=100.0) as client:
        answers = [post(client, file.read_bytes(), str(file)).json() for file in files]
    assert "engine: ONNX Runtime" in caplog.text
    for file, answer in zip(files, answers):
        matches = tuple(MapMatch(**match) for match in answer.pop("matches"))
        alike([Located(**answer, matches=matches)], [photo_map.locate(file)])
        assert matches[0].photo.endswith(f"{int(file.stem):03d}.jpg"), "the same noise"
