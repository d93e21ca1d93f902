"""Several methods on several sets: each pair is evaluated once, and kept in a folder."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.command import one_line
from vpr.base.errors import VprError
from vpr.eval.comparison.intervals import resampling_groups
from vpr.eval.comparison.pair_results import PairEvaluator, PairResult, read_result, write_result
from vpr.eval.comparison.set_settings import MethodSettings, SetSettings, TableSettings
from vpr.eval.comparison.set_table import SetColumn, SetTable
from vpr.eval.sets.benchmark import Benchmark

if TYPE_CHECKING:
    import torch

log = logging.getLogger("vpr")

PAIR_ERRORS = (VprError, OSError, MemoryError, RuntimeError)  # of a pair; the last one is that of a full GPU, too


@dataclass(eq=False)
class SetComparison:
    """The work on a table: what is done, and what failed."""

    settings: TableSettings
    folder: Path  # that keeps the results
    evaluator: PairEvaluator
    results: dict[tuple[str, str], PairResult] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def table(self) -> SetTable:
        """Evaluate each method on each set, and return the table. A pair that fails is logged, and the others go on."""
        sets, methods = self.settings.sets, self.settings.methods
        columns = []
        self.folder.mkdir(parents=True, exist_ok=True)
        log.info("%d methods on %d sets; results are kept in %s", len(methods), len(sets), self.folder)
        for number, one in enumerate(sets, 1):
            log.info("set %d of %d, %s: reading it", number, len(sets), one.name)
            try:
                benchmark = one.load()
            except PAIR_ERRORS as error:
                reason = _reason(error)
                log.error("%s cannot be read, so no method is evaluated on it: %s", one.name, reason)
                self.failures |= {(method.name, one.name): reason for method in methods}
                columns.append(SetColumn(one.name, (), np.zeros(0, int), {}, {}))
                continue
            for note in benchmark.notes():
                log.warning("note: %s: %s", one.name, note)
            columns.append(_column(one, benchmark))
            for place, method in enumerate(methods, 1):
                self._add(benchmark, one.name, method, f"{one.name}, {method.name} ({place} of {len(methods)})")
        return SetTable([method.name for method in methods], columns, self.results, self.failures)

    def _add(self, benchmark: Benchmark, name: str, settings: MethodSettings, title: str) -> None:
        """Add the result of a pair, or the reason why there is none."""
        method = settings.method(name)
        if method is None:
            log.info("%s: no %s are given for this set", title, settings.kind)
            return
        start = time.monotonic()
        try:
            made_from = self.evaluator.made_from(benchmark, settings, method, name)
            path = self.folder / file_name(name, settings.name)
            result = read_result(path, made_from)
            done = "evaluated before, kept"
            if result is None:
                log.info("%s: evaluating", title)
                result = self.evaluator.evaluate(benchmark, settings, method, name)
                _keep(path, result, made_from)
                done = f"evaluated in {time.monotonic() - start:.0f} s"
            log.info("%s: %s, R@1 %.1f", title, done, 100 * result.metrics["recall@1"])
            self.results[settings.name, name] = result
        except PAIR_ERRORS as error:
            self.failures[settings.name, name] = _reason(error)
            log.error("%s: failed, the others go on: %s", title, self.failures[settings.name, name])


def compare_sets(settings: TableSettings, folder: Path, device: torch.device) -> SetTable:
    """The table of the methods and sets of a file of settings.

    folder: keeps the result of each pair; one that was made from the same inputs is not made again. Reasons of pairs
    that failed are in ``failures`` of the table.
    """
    return SetComparison(settings, folder, PairEvaluator(device)).table()


def file_name(name: str, method: str) -> str:
    """The name of the file of a pair: words of both names, and a digest, because other characters are left out."""
    words = [re.sub("[^A-Za-z0-9]+", "_", text).strip("_")[:40] for text in (name, method)]
    digest = hashlib.sha256(f"{name}\0{method}".encode()).hexdigest()[:8]
    return f"{'-'.join(filter(None, words))}-{digest}.json"


def _column(one: SetSettings, benchmark: Benchmark) -> SetColumn:
    data = benchmark.data
    return SetColumn(one.name, benchmark.header(), resampling_groups(data), benchmark.protocol(), data.counts())


def _keep(path: Path, result: PairResult, made_from: Mapping[str, Any]) -> None:
    """Write the file of a pair. If that fails, the figures are still in the table."""
    try:
        write_result(path, result, made_from)
    except OSError as error:
        log.warning("the result cannot be kept, so it is evaluated again next time: %s", _reason(error))


def _reason(error: Exception) -> str:
    """The error on one line."""
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"{os.fsdecode(error.filename)}: {str(error.strerror).lower()}")
    return one_line(" ".join(str(error).split())) or type(error).__name__
