"""The figures of one method on one set, and the file that keeps them while all that they were made from is the same.

What they are made from: the photos and the answers of the set, the weights and the calibration of the run or the bytes
of the file, the options, the device, and the code. A digest of each is in the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vpr.base.files import file_digest, write_bytes
from vpr.base.run_folder import LIBRARIES, code_digest
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.description.cache_filling import image_states
from vpr.description.coding import digest_of_images
from vpr.description.model_spec import cache_spec
from vpr.eval.comparison.methods import Method
from vpr.eval.comparison.set_settings import MethodSettings
from vpr.eval.evaluation import external_shortlist
from vpr.eval.evaluator import Answers, Evaluator
from vpr.eval.metrics import KS, evaluate, first_hits
from vpr.eval.ranking import foreign_shortlist, read_descriptors
from vpr.eval.sets.benchmark import Benchmark
from vpr.models.loading import load_teacher
from vpr.run import load

if TYPE_CHECKING:
    import torch

    from vpr.run import Run

log = logging.getLogger("vpr")

CODE = (
    "vpr/eval/*.py", "vpr/eval/files/*.py", "vpr/eval/comparison/pair_results.py", "vpr/retrieval/*.py",
    "vpr/transport/**/*.py", "vpr/models/**/*.py", "vpr/description/*.py", "vpr/patch_codes.py",
)  # fmt: skip
TIMED_PHOTOS = 32  # are described to time it
FLOAT_BYTES = 4  # of a number of a global descriptor
# options that change no figure, or are in the digests in another form
NOT_MADE_FROM = ("run", "cache", "shortlist", "workers", "device", "memory_mb", "trust")


@dataclass(frozen=True, eq=False)
class PairResult:
    """The figures of a method on a set, with T trainings and S scored queries."""

    first_right: np.ndarray  # (T, S) int, the rank of the first right answer, from 1; 0 if there is none
    metrics: dict[str, float]  # means over the trainings, in [0, 1]
    depth: int  # number of answers of a query that were looked at
    latency_ms: dict[str, float] = field(default_factory=dict)  # of the first training
    bytes_per_image: int | None = None  # of the descriptors of a database image; None of a prediction file

    def hits(self, k: int) -> np.ndarray:
        """(T, S) float: 1.0 if a right answer is among the first k."""
        found: np.ndarray = (self.first_right > 0) & (self.first_right <= k)
        return found.astype(float)

    @property
    def query_ms(self) -> float | None:
        """Milliseconds of a query: shortlist and re-ranking; None if they were not timed."""
        stages = [
            self.latency_ms[name] for name in ("shortlist_per_query", "rerank_per_query") if name in self.latency_ms
        ]
        return sum(stages) if stages else None

    @property
    def image_ms(self) -> float | None:
        """Milliseconds to describe an image, from the file on; None if it was not timed."""
        return self.latency_ms.get("describe_per_image")


@dataclass(eq=False)
class PairEvaluator:
    """Evaluates methods on one set after another, and keeps what the methods of a set share."""

    device: torch.device
    _runs: dict[tuple[Path, bool], Run] = field(default_factory=dict)  # by source, and whether its code is trusted
    _digests: dict[Path, str] = field(default_factory=dict)  # of files

    def made_from(self, benchmark: Benchmark, settings: MethodSettings, method: Method, name: str) -> dict[str, Any]:
        """Digests of all that the figures of a method on the set ``name`` are made from, as JSON has them.

        Raises VprError for a run that cannot be read, and ImageError for a missing photo.
        """
        options = asdict(settings.source) | asdict(settings.ranking) | asdict(settings.rerank)
        sources = [settings.source_on(name, path) for path in method.sources]
        shortlist = Path(sources[0].shortlist)
        record = {
            "set": digest_of_set(benchmark.data),
            "kind": method.kind,
            "sources": [self._digest_of_source(settings, method, path) for path in method.sources],
            "shortlist": self._digest_of_file(shortlist) if shortlist.exists() else sources[0].shortlist,
            "options": {option: value for option, value in options.items() if option not in NOT_MADE_FROM},
            "device": str(self.device),
            "code": code_digest(CODE),
            "versions": {library: version(library) for library in LIBRARIES},
        }
        if method.is_run:
            record["photos"] = _digest_of_photos(benchmark.data)
        if sources[0].shortlist == "teacher":
            record["teachers"] = [cache_spec(load_teacher(run, self.device)).fingerprint for run in method.sources]
        copied: dict[str, Any] = json.loads(json.dumps(record))
        return copied

    def evaluate(self, benchmark: Benchmark, settings: MethodSettings, method: Method, name: str) -> PairResult:
        """The figures of a method on the set ``name``; errors as `Evaluator.answer` and `rank_by_file`."""
        if not method.is_run:
            return self._evaluate_file(benchmark, settings, method)
        opened = {run: self._run(run, settings) for run in method.sources}
        evaluator = Evaluator(settings.ranking, settings.rerank, self.device, opened=opened)
        answers: list[Answers] = []
        for run in method.sources:
            source = settings.source_on(name, run)
            shortlist = external_shortlist(benchmark, source.shortlist, settings.ranking.depth)
            answers.append(evaluator.answer(benchmark.data, source, shortlist))
        latency = answers[0].latency_ms()
        if answers[0].described is not None:  # not those that happened to be missing in the cache
            latency["describe_per_image"] = _describing_ms(self._run(method.sources[0], settings), benchmark.data)
        size = _bytes_per_image(answers[0])
        return pair_result(benchmark.data, [one.ranked for one in answers], settings.ranking.depth, latency, size)

    def _evaluate_file(self, benchmark: Benchmark, settings: MethodSettings, method: Method) -> PairResult:
        depth, data = settings.ranking.depth, benchmark.data
        if method.kind == "predictions":
            ranked = benchmark.read_rankings(method.sources[0], strict=False)
            return pair_result(data, [ranked], max(KS), {}, None)
        foreign = read_descriptors(data, method.sources[0])
        shortlist = foreign_shortlist(data, foreign, depth)
        latency = {} if shortlist.latency_ms is None else {"shortlist_per_query": shortlist.latency_ms}
        return pair_result(data, [shortlist.ranked], depth, latency, foreign.dim * FLOAT_BYTES)

    def _run(self, path: Path, settings: MethodSettings) -> Run:
        key = path, settings.ranking.trust
        if key not in self._runs:
            self._runs[key] = load(path, self.device, trust=settings.ranking.trust)
        return self._runs[key]

    def _digest_of_file(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest_of_file(path)
        return self._digests[path]

    def _digest_of_source(self, settings: MethodSettings, method: Method, path: Path) -> Any:
        """Of a run its weights and its calibration, of a file its bytes."""
        if not method.is_run:
            return self._digest_of_file(path)
        run = self._run(path, settings)
        return {"weights": run.spec.fingerprint, "calibration": asdict(run.calibration), "curves": run.curves.record()}


def pair_result(
    data: RetrievalSet, rankings: Sequence[np.ndarray], depth: int, latency: Mapping[str, float], size: int | None
) -> PairResult:
    """The figures of the rankings (Q, K) of each training. depth: the longest that they can be."""
    ks = [k for k in KS if k <= depth]
    scores = [evaluate(ranked, data.answers, ks, data.unanswered) for ranked in rankings]
    ranks = np.stack([_first_right(ranked, data, depth) for ranked in rankings])
    metrics = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    return PairResult(ranks, metrics, depth, dict(latency), size)


def _first_right(ranked: np.ndarray, data: RetrievalSet, depth: int) -> np.ndarray:
    """(S,) the rank of the first right answer of each scored query, from 1; 0 if there is none."""
    hits, _ = first_hits(ranked, data.answers, depth, data.unanswered)
    ranks: np.ndarray = np.where(hits.any(1), hits.argmax(1) + 1, 0)
    return ranks


def _describing_ms(run: Run, data: RetrievalSet) -> float:
    """Milliseconds to describe a photo, measured on some queries of the set, after one that is not timed."""
    images = [*dict.fromkeys(data.queries.images.ravel().tolist())][:TIMED_PHOTOS]
    files = [data.root / image for image in images]
    run.describe(files[:1])
    start = time.perf_counter()
    run.describe(files)
    return 1000 * (time.perf_counter() - start) / len(files)


def _bytes_per_image(answers: Answers) -> int | None:
    """The bytes of the descriptors that a database image is ranked by; None if they are another model's."""
    if answers.described is None:
        return None
    spec = answers.described.cache.spec
    patches = spec.patches * (spec.patch_bytes + (FLOAT_BYTES if spec.weights else 0))
    return spec.global_dim * FLOAT_BYTES + (patches if answers.reranking is not None else 0)


def digest_of_set(data: RetrievalSet) -> str:
    """A digest of the names, the answers and all else of a set, but not of its photos."""
    digest = hashlib.sha256(f"{data.fingerprint} {data.unanswered}".encode())
    for side in (data.queries, data.database):
        digest.update("\n".join(["", *side.images.ravel().tolist(), *side.names.tolist()]).encode())
        digest.update(np.asarray(side.offsets, np.int64).tobytes())
    for array in (data.positions, data.query_positions, data.drives, data.own):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    digest.update(data.answers.offsets.tobytes() + np.asarray(data.answers.values, np.int64).tobytes())
    return digest.hexdigest()


def _digest_of_photos(data: RetrievalSet) -> str:
    """A digest of the sizes and modification times of all photos; raises ImageError for one that is missing."""
    states, _ = image_states(data.root, [*dict.fromkeys(data.image_files().tolist())])
    return digest_of_images(*states)


def digest_of_file(path: Path) -> str:
    """A digest of the bytes of a file, or of all files of a folder."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    if path.suffix.lower() == ".npy" and path.with_suffix(".txt").is_file():
        files.append(path.with_suffix(".txt"))  # the names of its rows
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file_digest(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def write_result(path: Path, result: PairResult, made_from: Mapping[str, Any]) -> None:
    """Keep the figures in a file, atomically."""
    record = {**vars(result), "first_right": result.first_right.tolist(), "made_from": made_from}
    write_bytes(path, (json.dumps(record) + "\n").encode())


def read_result(path: Path, made_from: Mapping[str, Any]) -> PairResult | None:
    """The figures of a file; None if there is none, it is damaged, or they were made from something else."""
    try:
        record = json.loads(path.read_bytes())
        if record.pop("made_from") != made_from:
            log.info("%s was made from other inputs; it is made again", path)
            return None
        result = PairResult(**record | {"first_right": np.array(record["first_right"], np.int64)})
        is_whole = (
            result.first_right.ndim == 2 and isinstance(result.metrics, dict) and f"recall@{KS[0]}" in result.metrics
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("%s is damaged (%s); it is made again", path, error)
        return None
    if not is_whole:
        log.warning("%s is damaged; it is made again", path)
    return result if is_whole else None
