"""The page: everything in one HTML file, filled in by Jinja2, which escapes what it is given."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import replacing
from vpr.base.pages import asset, environment, style
from vpr.description.thumbnails import SIZES, next_size, thumbnails
from vpr.eval.confidence import first_is_right
from vpr.eval.report.charts import precision_recall, recall_curves, reliability, sure_enough
from vpr.eval.report.gallery import Gallery
from vpr.eval.report.matches import Packed, packed_matches
from vpr.eval.report.subject import ReportOptions, Subject, Table
from vpr.eval.report.tables import by_facet, headline

log = logging.getLogger("vpr")

OTHER_BYTES = 400_000  # of a page beside what its script reads
MATCHES_SHARE = 0.35  # of the page that matches may take; beyond that fewer pairs have one
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
BASE64 = 4 / 3  # bytes of base64 a byte


@dataclass(frozen=True)
class Content:
    """What a page holds beside its tables and figures."""

    gallery: Gallery
    record: dict[str, Any]  # what its script reads, but for the two below
    images: list[str]  # thumbnails, base64
    matches: Packed | None

    def embedded(self) -> str:
        """All that the script reads, as JSON."""
        matches = None if self.matches is None else self.matches.record()
        return _embedded(self.record | {"thumbnails": self.images, "matches": matches})


def write_report(path: Path, subject: Subject, options: ReportOptions) -> str:
    """Write the page, whole or not at all; returns what to say of it.

    Raises ImageError for an image that is missing, and VprError where not even one query fits into the size.
    """
    content = _fitted(subject, options)
    page = _render(subject, content)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    shown, asked = len(content.gallery.queries), len(subject.data.scored)
    part = f"{shown} queries" if shown == asked else f"{shown} of {asked} queries in the gallery"
    return f"report: {path} ({part}, {len(page.encode()) / 1e6:.1f} MB)"


def _fitted(subject: Subject, options: ReportOptions) -> Content:
    """As many queries, as large thumbnails and as many matches as fit together into the page."""
    most = options.report_queries
    while most:
        gallery = Gallery.of(subject, most)
        record = gallery.record() | {"results": subject.results}
        room = options.report_mb * 1_000_000 - OTHER_BYTES - len(_embedded(record))
        matches = _matches(subject, gallery, int(MATCHES_SHARE * room)) if room > 0 else None
        images = _images(subject, gallery, room - (0 if matches is None else matches.bytes))
        if images is not None:
            return Content(gallery, record, images, matches)
        most = min(most, len(gallery.queries)) // 2
        if most:
            log.info("the report would be larger than %d MB: %d queries are shown", options.report_mb, most)
    raise VprError(f"--report-mb {options.report_mb} holds no query; give more")


def _images(subject: Subject, gallery: Gallery, room: int) -> list[str] | None:
    """The thumbnails as base64, as large as the room, in bytes, allows; None where it is too small for any."""
    files, first = gallery.files, 0
    while (first := next_size(subject.data.root, files, int(room / BASE64), first)) < len(SIZES):
        images = [base64.b64encode(image).decode() for image in thumbnails(subject.data.root, files, SIZES[first])]
        if sum(len(image) + 3 for image in images) <= room:
            return images
        first += 1
    return None


def _matches(subject: Subject, gallery: Gallery, budget: int) -> Packed | None:
    """The matches of the gallery's pairs, as many as the budget, in bytes, holds."""
    if subject.answers is None or subject.answers.described is None:
        return None
    pairs = gallery.pairs()
    if not pairs:
        return None
    first = packed_matches(subject.answers, pairs[:1], ["0"])
    if first is None:
        return None
    pairs = pairs[: max(1, budget // max(1, first.bytes))]
    queries, entries = (np.array(side) for side in zip(*pairs))
    numbers = zip(np.searchsorted(gallery.queries, queries), np.searchsorted(gallery.entries, entries))
    return packed_matches(subject.answers, pairs, [f"{query}-{entry}" for query, entry in numbers])


def _render(subject: Subject, content: Content) -> str:
    parts = {"css": style("vpr.eval.report", "report.css"), "js": asset("vpr.eval.report", "report.js")}
    return (
        environment("vpr.eval.report")
        .get_template("report.html")
        .render(
            title=subject.title,
            policy=POLICY,
            subject=subject,
            tables=_tables(subject),
            charts=_charts(subject),
            shown=len(content.gallery.queries),
            data=content.embedded(),
            **parts,
        )
    )


def _tables(subject: Subject) -> list[Table]:
    if not subject.results:
        return []
    return [headline(subject.results), *by_facet(subject), *subject.tables]


def _charts(subject: Subject) -> list[dict[str, str]]:
    """Title, SVG and a line under it, of each figure that the answers allow."""
    data, last = subject.data, subject.stages[-1]
    if data.positives is None:
        return []
    charts = [{"title": "Recall@N", "svg": recall_curves(subject.stages, data), "said": ""}]
    if last.separation is not None:
        charts.append({"title": "Confidence", "svg": precision_recall(last, data), "said": ""})
    if last.probability is not None:
        rows = data.scored
        rows = rows[np.isfinite(last.probability[rows])]
        sure, right = last.probability[rows], first_is_right(last.ranked[rows], data, rows)
        charts.append({"title": "Calibration", "svg": reliability(sure, right), "said": sure_enough(sure, right)})
    return charts


def _embedded(record: dict[str, Any]) -> str:
    """JSON that may stand inside a script element, whatever its strings hold."""
    text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
