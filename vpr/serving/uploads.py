"""Uploads: the one photo of a request, taken in piece by piece and no further than the limit."""

from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from vpr.serving.limits import MEGABYTE, Refused

FIELD = "photo"  # of the form
MOST_FIELDS, LONGEST_FIELD, LONGEST_NAME = 8, 10_000, 255  # besides the photo; bytes; characters
HOW = f"send the photo as the field '{FIELD}' of a multipart form, or as the body with its type, such as image/jpeg"
GONE = "the client went away"


@dataclass(frozen=True)
class Upload:
    """A photo that came; in memory up to 1 MB, beyond that in a file without a name, which goes when it is closed."""

    name: str  # as the client gave it; it is shown, and never opened
    kind: str  # the content type that the client gave
    file: UploadFile


async def read_upload(request: Request, most: int) -> Upload:
    """The photo of a request of at most ``most`` bytes; whoever takes it closes its file.

    Raises Refused for a body that is too large, by its declared length or by what comes, or holds no photo.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise _too_large(most)
    limited = Request(request.scope, _counted(request.receive, most))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            return await _of_form(limited)
        if kind.startswith("image/") or kind == "application/octet-stream":
            return await _of_body(limited, kind)
    except ClientDisconnect:
        raise Refused(408, GONE) from None
    raise Refused(415, HOW)


def _too_large(most: int) -> Refused:
    return Refused(413, f"the upload is larger than {most / MEGABYTE:g} MB; send a smaller copy of the photo")


def _counted(receive: Receive, most: int) -> Receive:
    """The messages of a request, until they hold more than ``most`` bytes."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise _too_large(most)
        return message

    return counted


async def _of_form(request: Request) -> Upload:
    try:
        form = await request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=LONGEST_FIELD)
    except HTTPException as error:
        raise Refused(400, f"the form cannot be read ({str(error.detail).rstrip('.')}); {HOW}") from None
    except ValueError:  # of a charset that decodes nothing
        raise Refused(400, f"the form cannot be read; {HOW}") from None
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files or files[0][0] != FIELD:
        await form.close()
        raise Refused(400, f"the form has no file '{FIELD}'; {HOW}")
    return Upload((files[0][1].filename or FIELD)[:LONGEST_NAME], files[0][1].content_type or "", files[0][1])


async def _of_body(request: Request, kind: str) -> Upload:
    spooled = SpooledTemporaryFile(max_size=MEGABYTE)  # noqa: SIM115 - whoever takes the upload closes it
    file = UploadFile(spooled, filename=FIELD)  # type: ignore[arg-type]
    try:
        async for piece in request.stream():
            await file.write(piece)
        await file.seek(0)
    except BaseException:
        await file.close()
        raise
    return Upload(FIELD, kind, file)
