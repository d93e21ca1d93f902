"""The errors that a command prints as one line.

    ValueError
    └── VprError                    bad input: options, runs, weights, photos
        ├── TransportError          vpr/transport/errors.py: arrays or settings of a transport problem
        ├── CacheError              vpr/cache.py: a descriptor cache that is missing or damaged
        │   └── CacheMismatch       a cache of another model, or of another layout
        ├── ImageError              vpr/description/images.py: a photo that is missing or cannot be decoded
        ├── MapError                vpr/positions/errors.py: a map, a list of positions or a track
        ├── ClusterError            vpr/cluster/errors.py: a cluster that does not answer, or lost a shard
        ├── DatasetError            vpr/datasets/errors.py: a dataset that is missing or damaged
        └── PredictionError         vpr/eval/files/prediction_file.py: a prediction file or submission

`vpr.serving.limits.Refused` is not one of them: it is an HTTP answer.
"""

from __future__ import annotations

SEPARATOR = "; "


class VprError(ValueError):
    """Bad input that the user can correct.

    `str` of it is one line: the problem, and after a semicolon the remedy.

    >>> error = VprError("a.h5 is damaged", thing="a.h5", remedy="pass --overwrite")
    >>> str(error), error.what, error.remedy
    ('a.h5 is damaged; pass --overwrite', 'a.h5 is damaged', 'pass --overwrite')
    """

    what: str  # the problem, which names the thing
    thing: str  # the path, option or key that the problem is about; may be empty
    remedy: str  # what the user can do about it; may be empty

    def __init__(self, what: object = "", *, thing: object = "", remedy: str = "") -> None:
        """what: the problem. Without a remedy it may be the whole line, which is split at its last semicolon."""
        problem = str(what)
        super().__init__(f"{problem}{SEPARATOR}{remedy}" if remedy else problem)
        if not remedy and SEPARATOR in problem:
            problem, _, remedy = problem.rpartition(SEPARATOR)
        self.what, self.thing, self.remedy = problem, str(thing), remedy
