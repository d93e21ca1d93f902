"""Mapillary Street-Level Sequences: ``load`` takes a folder and a protocol and returns queries, database, ground truth.

dataset = load(Path("msls"), Protocol(split="val"))
for city in dataset.cities:
    city.query.names(), city.database.image_paths(city.database.frames), city.positives[0]
"""

from vpr.datasets.msls.city import City, Side
from vpr.datasets.msls.dataset import MSLS, load
from vpr.datasets.msls.protocol import DEFAULT_SEQ_LENGTH, Protocol, Split, Subtask, Task

__all__ = ["DEFAULT_SEQ_LENGTH", "MSLS", "City", "Protocol", "Side", "Split", "Subtask", "Task", "load"]
