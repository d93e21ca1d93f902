"""Reports of made-up answers, and what a page holds."""

import base64
import json
from pathlib import Path

import numpy as np
from PIL import Image

from vpr.datasets.ragged import Ragged
from vpr.datasets.retrieval_set import Entries, RetrievalSet
from vpr.eval.report.matches import STEPS
from vpr.eval.report.subject import Stage, Subject

HOSTILE = "<script>alert(1)</script>$x^{\"'&\u202egpj.\u0007"  # of a key
QUERIES, ENTRIES = 6, 8


def small_set(root: Path, names: list[str] | None = None) -> RetrievalSet:
    """Six queries along a street, each answered by the entry of its number; photos of one colour each."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number in range(QUERIES + ENTRIES):
        colour = (17 * number % 256, 90, 255 - 13 * number % 256)
        Image.new("RGB", (64, 48), colour).save(root / f"images/{number}.jpg")
    files = np.array([f"images/{number}.jpg" for number in range(QUERIES + ENTRIES)])
    names = names or [f"query{number}" for number in range(QUERIES)]
    queries = Entries(files[:QUERIES, None], np.array(names), np.array([0, QUERIES]))
    database = Entries(files[QUERIES:, None], np.array([f"entry{n}" for n in range(ENTRIES)]), np.array([0, ENTRIES]))
    positions = np.stack([30.0 * np.arange(ENTRIES), np.zeros(ENTRIES)], 1)
    positives = Ragged.from_rows([[number] for number in range(QUERIES)])
    return RetrievalSet(root, queries, database, positives, "x", positions, positions[:QUERIES] + np.array([4.0, 3.0]))


def rankings(first: list[int]) -> np.ndarray:
    """(6, 8): each query's first answer, then the other entries in order."""
    return np.array([[one, *(entry for entry in range(ENTRIES) if entry != one)] for one in first])


def small_subject(data: RetrievalSet, **more) -> Subject:
    """Query 0 is right before and after, 1 is gained, 2 is lost, 3 stays wrong, 4 and 5 are right."""
    before, after = rankings([0, 5, 2, 1, 4, 5]), rankings([0, 1, 7, 2, 4, 5])
    score = np.tile(np.linspace(0.9, 0.1, ENTRIES, dtype=np.float32), (QUERIES, 1))
    sure, probability = np.arange(QUERIES, dtype=float), np.linspace(0.2, 0.9, QUERIES)
    stages = (
        Stage("shortlist", before, score, None, sure, probability),
        Stage("rerank", after, score, score, sure, probability),
    )
    results = {"shortlist": {"recall@1": 4 / 6}, "rerank": {"recall@1": 4 / 6}}
    facets = {"light": np.array(["day", "day", "night", "night", "day", "day"], dtype=object)}
    return Subject("A report", ("said",), data, stages, results, facets, **more)


def data_of(page: Path) -> dict:
    """What a page's script reads."""
    text = page.read_text(encoding="utf-8")
    start = text.index('<script type="application/json" id="data">') + len('<script type="application/json" id="data">')
    return json.loads(text[start : text.index("</script>", start)])


def unpack(packed: str, patches: int, targets: int, lines: int) -> dict[str, np.ndarray]:
    """The parts of a packed match, shares in [0, 1]."""
    values = np.frombuffer(base64.b64decode(packed), np.uint8)
    sizes = {"mu": patches, "nu": patches, "own": patches, "other": patches}
    sizes |= {"to": patches * targets, "mass": patches * targets, "count": 1, "lines": 2 * lines}
    sizes |= {"geometry": 1, "map": 12}
    parts, start = {}, 0
    for name, size in sizes.items():
        parts[name] = values[start : start + size]
        start += size
    for name in ("mu", "nu", "own", "other", "mass"):
        parts[name] = parts[name] / 255
    parts["map"] = np.frombuffer(parts["map"].tobytes(), "<i2").reshape(2, 3) / STEPS
    return parts
