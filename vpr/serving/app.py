"""The FastAPI application and its routes.

POST /locate                  a photo; the answer is the JSON of `vpr.locate`
POST /locate?drive=NAME       the next frame of a drive, which is located by the frames before it, too
GET  /                        the page
GET  /photos/VERSION/ROW      a thumbnail of a photo of the map
GET  /health, GET /metrics    for monitoring
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from vpr.description.images import ImageError
from vpr.maps.options import LocateConfig
from vpr.maps.results import Located
from vpr.serving.guards import Access, Guard, json_response, refusal_response
from vpr.serving.limits import Limits, Refused
from vpr.serving.metrics import LOCATED, MALFORMED, NOT_ON_MAP, OUTCOMES, Metrics
from vpr.serving.page import page
from vpr.serving.photos import picture_of
from vpr.serving.served import ServedMap, rows_of, version_of
from vpr.serving.service import Service
from vpr.serving.uploads import GONE, Upload, read_upload

log = logging.getLogger("vpr")
T = TypeVar("T")

DAY = "private, max-age=86400"
DRIVE = re.compile(r"[\w.-]{1,64}", re.ASCII)  # names of drives
ROW = re.compile(r"[0-9]{1,18}")
READ = ["GET", "HEAD"]
THUMBNAILS = "Vpr-Photos"  # response header: the relative addresses of the matches' thumbnails, in order


def create_app(served: ServedMap, config: LocateConfig, limits: Limits, access: Access) -> FastAPI:
    """The application that serves a map. Its `Service` is ``app.state.service``, which may be started before it."""
    service, metrics = Service(served, config, limits), Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(service.work()), asyncio.create_task(served.watch())]
        try:
            await service.start()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await service.close()

    app = FastAPI(title="vpr", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(Guard, access=access)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    _add_locate(app, service, metrics)
    _add_views(app, service)
    _add_monitoring(app, service, metrics, access)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal_response(error)


async def _not_found(request: Request, error: Exception) -> Response:
    """The answer for an unknown address or method."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})  # with 405 the methods that are allowed
    return json_response({"error": str(error.detail)}, error.status_code, headers)


def _add_locate(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.post("/locate")
    async def locate(request: Request) -> Response:
        start, outcome, name = time.perf_counter(), MALFORMED, "?"
        try:
            with service.slot():
                deadline = asyncio.get_running_loop().time() + service.limits.timeout
                slow = Refused(408, f"the upload took more than {service.limits.timeout:g} s; send a smaller copy")
                upload = await _until(deadline, read_upload(request, service.limits.max_bytes), slow)
                name = upload.name
                try:
                    drive = _drive_name(request)
                    located, headers = await _answer(service, request, upload, drive, deadline)
                finally:
                    await upload.file.close()
            outcome = LOCATED if located.on_map else NOT_ON_MAP
            return json_response(located.as_json(), headers=headers)
        except Refused as refused:
            outcome = OUTCOMES.get(refused.status, MALFORMED)
            return refusal_response(refused)
        except Exception:
            outcome = OUTCOMES[500]
            log.exception("a request failed")
            return refusal_response(Refused(500, "the service failed on this request; see its log for the reason"))
        finally:
            seconds = time.perf_counter() - start
            metrics.count(outcome, seconds)
            client = request.client.host if request.client else "?"
            log.info("%s %s: %s, %.0f ms", client, " ".join(name.split()), outcome, 1000 * seconds)


def _drive_name(request: Request) -> str:
    """The drive that a request names; empty if it names none. Raises Refused for an invalid name."""
    drive = request.query_params.get("drive")
    if drive is not None and not DRIVE.fullmatch(drive):
        raise Refused(400, "the name of a drive has 1 to 64 letters, digits, dots, hyphens and underscores")
    return drive or ""


async def _until(deadline: float, awaitable: Awaitable[T], late: Refused) -> T:
    """The result of an awaitable; raises ``late`` after the deadline, in the event loop's time."""
    try:
        return await asyncio.wait_for(awaitable, deadline - asyncio.get_running_loop().time())
    except asyncio.TimeoutError:
        raise late from None


async def _answer(
    service: Service, request: Request, upload: Upload, drive: str, deadline: float
) -> tuple[Located, dict[str, str]]:
    """The answer and its headers. If the client disconnects, work that has not started is cancelled."""
    work = asyncio.ensure_future(service.locate(upload, drive))
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        late = Refused(504, f"locating took more than {service.limits.timeout:g} s; try again later")
        waited = asyncio.wait({work, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        await _until(deadline, waited, late)
        if not work.done():
            raise Refused(408, GONE)
        located, photo_map = work.result()
    finally:
        for task in (work, disconnect):
            task.cancel()
            with suppress(asyncio.CancelledError, Refused):
                await task
    rows = rows_of(photo_map, [match.photo for match in located.matches])
    return located, {THUMBNAILS: " ".join(f"photos/{version_of(photo_map)}/{row}" for row in rows)}


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_views(app: FastAPI, service: Service) -> None:
    @app.api_route("/", methods=READ)
    async def front() -> Response:
        return page(service.served.photo_map, service.limits)

    @app.api_route("/photos/{version}/{row}", methods=READ)
    async def photo(version: str, row: str) -> Response:
        photo_map = service.served.photo_map
        keys = photo_map.content.table.keys
        if version != version_of(photo_map) or not ROW.fullmatch(row) or int(row) >= len(keys):
            raise Refused(404, "the map has no such photo, or has changed")
        try:
            picture = await service.picture(picture_of, Path(keys[int(row)]))
        except ImageError:
            raise Refused(404, "the photo's file is missing or cannot be read") from None
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": DAY})


def _add_monitoring(app: FastAPI, service: Service, metrics: Metrics, access: Access) -> None:
    @app.api_route("/health", methods=READ)
    async def health(request: Request) -> Response:
        served = service.served
        state = served.photo_map.content.state
        status = {"status": "stale" if served.fault else "ok"}
        if not access.is_authorised(request.headers):
            return json_response(status)
        content = {"map": str(served.photo_map.folder), "photos": state.photos, "change": state.change}
        model = {"model": served.photo_map.model.name, "fingerprint": state.fingerprint}
        return json_response({**status, **content, **model, "fault": served.fault or None})

    @app.api_route("/metrics", methods=READ)
    async def prometheus() -> Response:
        state = service.served.photo_map.content.state
        metrics.photos.set(state.photos)
        metrics.change.set(state.change)
        metrics.stale.set(bool(service.served.fault))
        metrics.active.set(service.active)
        metrics.decoders.set(service.decoders)
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
