"""Mapillary Street-Level Sequences: one call from a folder and a protocol to queries, database and ground truth.

dataset = load(Path("msls"), Protocol(split="val"))
for city in dataset.cities:
    city.query.names(), city.database.image_paths(city.database.frames), city.positives[0]
"""

from vpr.datasets.msls.city import City, Side
from vpr.datasets.msls.dataset import MSLS, load
from vpr.datasets.msls.protocol import DEFAULT_SEQ_LENGTH, Protocol, Split, Subtask, Task

__all__ = ["DEFAULT_SEQ_LENGTH", "MSLS", "City", "Protocol", "Side", "Split", "Subtask", "Task", "load"]
