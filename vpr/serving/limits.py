"""The limits of a request, and the error of one that is refused."""

from dataclasses import dataclass

from vpr.base.settings import PositiveFloat, PositiveInt, option

TOKEN = "VPR_TOKEN"  # environment variable
MEGABYTE = 1_000_000
HEADER_S = 10.0  # seconds that a connection may have no request, or only a part of its header
LAST_ANSWERS_S = 10  # seconds for open requests when the service is stopped, and for a client to take its answer
MOST_SCANS = 100  # of a JPEG; cameras and programs write 1 to 12
MOST_SEGMENTS = 10_000  # of a JPEG
MOST_PARTS = 70_000  # chunks of a PNG, strips or tiles of a TIFF; a strip may hold one row of one colour
MOST_JPEG_2000 = 12_000_000  # pixels of a JPEG 2000, whose decoder takes 65 bytes for each


@dataclass(frozen=True)
class Limits:
    """Limits."""

    max_mb: PositiveFloat = option(20.0, "largest upload, in megabytes of 1,000,000 bytes")
    max_pixels: PositiveInt = option(50_000_000, "maximum pixels of a photo")
    timeout: PositiveFloat = option(30.0, "seconds that a request may take, its upload included")
    decode_timeout: PositiveFloat = option(10.0, "seconds that decoding a photo may take")
    decode_mb: PositiveInt = option(1500, "memory that decoding a photo may take, in megabytes of 1,000,000 bytes")
    queue: PositiveInt = option(64, "maximum requests in progress or queued; more get HTTP 503")
    drives: PositiveInt = option(
        1000, "maximum drives that are followed; then the one that was idle longest starts anew with its next frame"
    )

    @property
    def max_bytes(self) -> int:
        """Of an upload."""
        return int(self.max_mb * MEGABYTE)


class Refused(Exception):
    """A request that gets no answer but the reason, in one sentence, and an HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
