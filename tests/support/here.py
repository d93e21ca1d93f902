"""Shards in this process, without Ray, some of which may be gone."""

from vpr.cluster import shards
from vpr.cluster.connecting import Cluster
from vpr.cluster.holders import Unavailable

CLUSTER = Cluster(3, 3, "")


class Here:
    """The parts in this process, some of which may be gone."""

    def __init__(self, cluster, makes):
        self.parts, self.gone, self.lose = [make() for make in makes], {}, []

    def __len__(self):
        return len(self.parts)

    def share(self, value):
        return value

    def why(self):
        return f"shard {min(self.gone) + 1} is gone"

    def ask(self, question, arguments, lost=frozenset()):
        """What is in ``lose`` are numbers of parts that go away, one set for each question."""
        away = self.lose.pop(0) if self.lose else lost
        self.gone = dict.fromkeys(away, "")
        return [
            None if given is None else Unavailable("") if number in away else getattr(part, question)(*given)
            for number, (part, given) in enumerate(zip(self.parts, arguments))
        ]

    def end(self):
        self.parts = []


def hold_here(monkeypatch):
    """Have shards of maps and of databases lie in this process."""
    monkeypatch.setattr(shards, "Holders", Here)
