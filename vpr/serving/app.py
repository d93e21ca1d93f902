"""The application: what is asked for at which address.

POST /locate                  a photo; the JSON of `vpr.locate` for it
GET  /                        the page
GET  /photos/VERSION/ROW      a thumbnail of a photo of the map
GET  /health, GET /metrics    for those who watch over the service
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
from vpr.serving.guards import Access, Guard, as_json, said
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
ROW = re.compile(r"[0-9]{1,18}")
SHOWN = "Vpr-Photos"  # header of an answer: where the thumbnails of its matches are, in their order


def create_app(served: ServedMap, config: LocateConfig, limits: Limits, access: Access) -> FastAPI:
    """The application that serves a map."""
    service, metrics = Service(served, config, limits), Metrics()

    @asynccontextmanager
    async def working(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(service.work()), asyncio.create_task(served.follow())]
        yield
        for task in tasks:
            task.cancel()
        service.close()

    app = FastAPI(title="vpr", docs_url=None, redoc_url=None, openapi_url=None, lifespan=working)
    app.add_middleware(Guard, access=access)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _no_such)
    _add_locate(app, service, metrics)
    _add_views(app, service)
    _add_watching(app, service, metrics, access)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return said(error)


async def _no_such(request: Request, error: Exception) -> Response:
    """An address or a method that there is not."""
    assert isinstance(error, HTTPException)
    return as_json({"error": str(error.detail)}, error.status_code)


def _add_locate(app: FastAPI, service: Service, metrics: Metrics) -> None:
    @app.post("/locate")
    async def locate(request: Request) -> Response:
        began, outcome, name = time.perf_counter(), MALFORMED, "?"
        try:
            with service.place():
                deadline = asyncio.get_running_loop().time() + service.limits.timeout
                slow = Refused(408, f"the upload took more than {service.limits.timeout:g} s; send a smaller copy")
                upload = await _until(deadline, read_upload(request, service.limits.max_bytes), slow)
                name = upload.name
                try:
                    located, headers = await _answer(service, request, upload, deadline)
                finally:
                    await upload.file.close()
            outcome = LOCATED if located.on_map else NOT_ON_MAP
            return as_json(located.as_json(), headers=headers)
        except Refused as refused:
            outcome = OUTCOMES.get(refused.status, MALFORMED)
            return said(refused)
        except Exception:
            outcome = OUTCOMES[500]
            log.exception("a request failed")
            return said(Refused(500, "the service failed on this request; its log says why"))
        finally:
            seconds = time.perf_counter() - began
            metrics.count(outcome, seconds)
            client = request.client.host if request.client else "?"
            log.info("%s %s: %s, %.0f ms", client, " ".join(name.split()), outcome, 1000 * seconds)


async def _until(deadline: float, wanted: Awaitable[T], late: Refused) -> T:
    """What is waited for, until the loop's time is ``deadline``; then ``late`` is raised."""
    try:
        return await asyncio.wait_for(wanted, deadline - asyncio.get_running_loop().time())
    except asyncio.TimeoutError:
        raise late from None


async def _answer(
    service: Service, request: Request, upload: Upload, deadline: float
) -> tuple[Located, dict[str, str]]:
    """The answer and its headers; a client that goes away ends the work, as far as it has not begun."""
    work = asyncio.ensure_future(service.locate(upload))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        late = Refused(504, f"locating took more than {service.limits.timeout:g} s; try again later")
        waited = asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        await _until(deadline, waited, late)
        if not work.done():
            raise Refused(408, GONE)
        located, photo_map = work.result()
    finally:
        for task in (work, gone):
            task.cancel()
            with suppress(asyncio.CancelledError, Refused):
                await task
    rows = rows_of(photo_map, [match.photo for match in located.matches])
    return located, {SHOWN: " ".join(f"/photos/{version_of(photo_map)}/{row}" for row in rows)}


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_views(app: FastAPI, service: Service) -> None:
    @app.get("/")
    async def front() -> Response:
        return page(service.served.photo_map, service.limits)

    @app.get("/photos/{version}/{row}")
    async def photo(version: str, row: str) -> Response:
        photo_map = service.served.photo_map
        keys = photo_map.content.table.keys
        if version != version_of(photo_map) or not ROW.fullmatch(row) or int(row) >= len(keys):
            raise Refused(404, "the map has no such photo, or has changed")
        try:
            picture = await service.picture(picture_of, Path(keys[int(row)]))
        except ImageError:
            raise Refused(404, "the photo's file is gone or cannot be read") from None
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": DAY})


def _add_watching(app: FastAPI, service: Service, metrics: Metrics, access: Access) -> None:
    @app.get("/health")
    async def health(request: Request) -> Response:
        served = service.served
        state = served.photo_map.content.state
        brief = {"status": "stale" if served.fault else "ok"}
        if not access.known(request.headers):
            return as_json(brief)
        known = {"map": str(served.photo_map.folder), "photos": state.photos, "change": state.change}
        model = {"model": served.photo_map.model.run, "fingerprint": state.fingerprint}
        return as_json({**brief, **known, **model, "fault": served.fault or None})

    @app.get("/metrics")
    async def measures() -> Response:
        state = service.served.photo_map.content.state
        metrics.photos.set(state.photos)
        metrics.change.set(state.change)
        metrics.stale.set(bool(service.served.fault))
        metrics.in_work.set(service.in_work)
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
