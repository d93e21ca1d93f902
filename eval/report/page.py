"""The page: one HTML file without external parts, rendered by Jinja2 with escaping."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpr.base.errors import VprError
from vpr.base.files import replace_file
from vpr.base.pages import asset, environment, style
from vpr.description.thumbnails import SIZES, fitting_size, thumbnails
from vpr.eval.confidence import first_is_right
from vpr.eval.report.charts import precision_line, precision_recall, recall_curves, reliability
from vpr.eval.report.gallery import Gallery
from vpr.eval.report.matches import PackedMatches, packed_matches
from vpr.eval.report.subject import ReportOptions, Subject, Table
from vpr.eval.report.tables import facet_tables, headline

log = logging.getLogger("vpr")

OTHER_BYTES = 400_000  # of a page without the data of its script
MATCHES_SHARE = 0.35  # largest share of the page for matches; if they need more, fewer pairs have a match
POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
BASE64 = 4 / 3  # bytes of base64 for each byte


@dataclass(frozen=True)
class Content:
    """The data for the script of a page."""

    gallery: Gallery
    record: dict[str, Any]  # all data except the thumbnails and the matches
    images: list[str]  # thumbnails, base64
    matches: PackedMatches | None

    def json(self) -> str:
        """All data as JSON that is safe inside a script element."""
        matches = None if self.matches is None else self.matches.record()
        return _script_json(self.record | {"thumbnails": self.images, "matches": matches})


def write_report(path: Path, subject: Subject, options: ReportOptions) -> str:
    """Write the page atomically; returns a line for the user.

    Raises ImageError for a missing image, and VprError if not even one query fits into the size.
    """
    content = _fit(subject, options)
    page = _render(subject, content)
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    count, scored = len(content.gallery.queries), len(subject.data.scored)
    part = f"{count} queries" if count == scored else f"{count} of {scored} queries in the gallery"
    return f"report: {path} ({part}, {len(page.encode()) / 1e6:.1f} MB)"


def _fit(subject: Subject, options: ReportOptions) -> Content:
    """The data with as many queries, as large thumbnails and as many matches as fit into the page."""
    limit = options.report_queries
    while limit:
        gallery = Gallery.sample(subject, limit)
        record = gallery.record() | {"results": subject.results}
        room = options.report_mb * 1_000_000 - OTHER_BYTES - len(_script_json(record))
        matches = _matches(subject, gallery, int(MATCHES_SHARE * room)) if room > 0 else None
        images = _images(subject, gallery, room - (0 if matches is None else matches.bytes))
        if images is not None:
            return Content(gallery, record, images, matches)
        limit = min(limit, len(gallery.queries)) // 2
        if limit:
            log.info("the report would exceed %d MB: its gallery gets %d queries", options.report_mb, limit)
    raise VprError(f"--report-mb {options.report_mb} is too small for a single query; pass a larger size")


def _images(subject: Subject, gallery: Gallery, room: int) -> list[str] | None:
    """The thumbnails as base64, as large as fit into the room, in bytes; None if the smallest do not fit."""
    files, first = gallery.files, 0
    while (first := fitting_size(subject.data.root, files, int(room / BASE64), first)) < len(SIZES):
        images = [base64.b64encode(image).decode() for image in thumbnails(subject.data.root, files, SIZES[first])]
        if sum(len(image) + 3 for image in images) <= room:
            return images
        first += 1
    return None


def _matches(subject: Subject, gallery: Gallery, budget: int) -> PackedMatches | None:
    """The matches of as many pairs of the gallery as fit into the budget, in bytes; None if there are none."""
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
            data=content.json(),
            **parts,
        )
    )


def _tables(subject: Subject) -> list[Table]:
    if not subject.results:
        return []
    return [headline(subject.results), *facet_tables(subject), *subject.tables]


def _charts(subject: Subject) -> list[dict[str, str]]:
    """Title, SVG and note of each figure that can be drawn from the answers."""
    data, last = subject.data, subject.stages[-1]
    if data.positives is None:
        return []
    charts = [{"title": "Recall@N", "svg": recall_curves(subject.stages, data), "note": ""}]
    if last.separation is not None:
        charts.append({"title": "Confidence", "svg": precision_recall(last, data), "note": ""})
    if last.probability is not None:
        rows = data.scored
        rows = rows[np.isfinite(last.probability[rows])]
        predicted, right = last.probability[rows], first_is_right(last.ranked[rows], data, rows)
        note = precision_line(predicted, right)
        charts.append({"title": "Calibration", "svg": reliability(predicted, right), "note": note})
    return charts


def _script_json(record: dict[str, Any]) -> str:
    """JSON that is safe inside a script element, whatever its strings contain."""
    text = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
