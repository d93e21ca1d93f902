"""Progress of long work: a bar on a terminal, otherwise lines in the log, at least one every `EVERY_S`."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

BAR_S = 15.0  # seconds between two log lines of a bar
EVERY_S = 20.0  # longest time without a log line, seconds
log = logging.getLogger("vpr")
_drawn_bars: weakref.WeakSet[tqdm] = weakref.WeakSet()  # bars on the terminal
_lock = threading.Lock()  # of this set, because one thread reads it while others add to it


def progress(
    items: Iterable[Any] | None = None, *, title: str | None, unit: str, total: int | None = None, done: int = 0
) -> tqdm:
    """A progress bar over the items. Without items the caller updates it from ``done`` to ``total``.

    On a terminal the bar is drawn. Otherwise it logs a line at the start and every `BAR_S`. Without a title it is
    disabled.
    """
    from tqdm import tqdm

    if title is None:
        return tqdm(items, disable=True)
    if sys.stderr.isatty():
        bar = tqdm(items, title, total, initial=done, unit=unit, dynamic_ncols=True)
        with _lock:
            _drawn_bars.add(bar)
        return bar
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    count = "{n_fmt}" if total is None else "{n_fmt} of {total_fmt}"
    shape = f"{{desc}}: {count} {plural(unit)}, {{elapsed}}{{postfix}}"
    return tqdm(
        items, title, total, initial=done, file=_LogLines(), leave=False, miniters=1,
        mininterval=BAR_S, maxinterval=BAR_S, bar_format=shape,
    )  # fmt: skip


def plural(noun: str) -> str:
    """The plural of a regular English noun.

    >>> plural("photo"), plural("batch"), plural("query"), plural("class")
    ('photos', 'batches', 'queries', 'classes')
    """
    if noun.endswith("y"):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("ch", "s", "x")) else "s")


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "photo"), counted(2000, "query")
    ('1 photo', '2,000 queries')
    """
    return f"{count:,} {noun if count == 1 else plural(noun)}"


class _LogLines(io.TextIOBase):
    """A stream that logs the text of a bar."""

    def write(self, text: str) -> int:
        """Log one drawing of the bar; a blank one clears it and is not logged."""
        if line := text.strip():
            log.info("%s", line)
        return len(text)


class _LastLine(logging.Handler):
    """Keeps the last log line that is not a heartbeat, its time, and the time of the last line of any kind."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.line_time, self.any_time = "the command started", time.monotonic(), time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Note a log line."""
        self.any_time = time.monotonic()
        if record.threadName != HEARTBEAT:
            self.line, self.line_time = record.getMessage(), self.any_time


HEARTBEAT = "heartbeat"  # name of the thread that logs it


@contextlib.contextmanager
def log_heartbeat(every_s: float = EVERY_S) -> Iterator[None]:
    """Log a heartbeat if nothing was logged or drawn for ``every_s``: the last line again, and the time since then.

    It shows that a long step without own progress is still running.
    """
    last, ended = _LastLine(), threading.Event()

    def watch() -> None:
        wait = every_s
        while not ended.wait(wait):
            now = time.monotonic()
            quiet = now - last.any_time
            with _lock:
                bars = list(_drawn_bars)
            drawn = any(not bar.disable and time.time() - bar.last_print_t < every_s for bar in bars)
            if quiet >= every_s and not drawn:
                log.info("still working, %.0f s after: %s", now - last.line_time, last.line)
                quiet = 0.0
            wait = every_s if drawn else max(0.05, every_s - quiet)

    log.addHandler(last)
    thread = threading.Thread(target=watch, name=HEARTBEAT, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        log.removeHandler(last)
