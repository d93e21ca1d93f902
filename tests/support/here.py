"""Shards in this process, without Ray, some of which may not answer."""

from vpr.cluster import shards
from vpr.cluster.connecting import Cluster
from vpr.cluster.shard_actors import ShardFailure

CLUSTER = Cluster(3, 3, "")


class Here:
    """The parts in this process, some of which may not answer."""

    def __init__(self, cluster, makes):
        self.parts, self.failures, self.lose = [make() for make in makes], {}, []

    def __len__(self):
        return len(self.parts)

    def share(self, value):
        return value

    def failure_text(self):
        return f"shard {min(self.failures) + 1} does not answer"

    def ask(self, question, arguments, lost=frozenset()):
        """What is in ``lose`` holds the numbers of parts that fail, one set for each question."""
        away = self.lose.pop(0) if self.lose else lost
        self.failures = dict.fromkeys(away, "")
        return [
            None if given is None else ShardFailure("") if number in away else getattr(part, question)(*given)
            for number, (part, given) in enumerate(zip(self.parts, arguments))
        ]

    def end(self):
        self.parts = []


def hold_here(monkeypatch):
    """Have shards of maps and of databases lie in this process."""
    monkeypatch.setattr(shards, "ShardActors", Here)
