"""The queries and database entries of each subtask, of a dataset that was loaded with subtask ``all``."""

from dataclasses import dataclass, replace

import numpy as np

from vpr.datasets.errors import DatasetError
from vpr.datasets.msls.dataset import MSLS, load
from vpr.datasets.msls.metadata import SUBTASK_NAMES


@dataclass(frozen=True, eq=False)
class SubtaskMembers:
    """The queries and database entries of a dataset that a subtask keeps."""

    queries: np.ndarray  # (q,) int64, ascending numbers of queries
    database: np.ndarray  # (N,) bool


def subtask_members(dataset: MSLS) -> dict[str, SubtaskMembers]:
    """The members of each subtask that keeps queries and database.

    Empty if the dataset is itself a subtask, or of the training split, which has no subtasks.
    """
    if dataset.protocol.split == "train" or dataset.protocol.subtask != "all":
        return {}
    found = {}
    for name in SUBTASK_NAMES[1:]:
        try:
            part = load(dataset.root, replace(dataset.protocol, subtask=name))  # type: ignore[arg-type]
        except DatasetError:  # nothing is left in any city
            continue
        whole, kept = dataset.retrieval_set, part.retrieval_set
        # an entry is identified by the file of its first frame
        queries = np.flatnonzero(np.isin(whole.queries.images[:, 0], kept.queries.images[:, 0]))
        found[name] = SubtaskMembers(queries, np.isin(whole.database.images[:, 0], kept.database.images[:, 0]))
    return found
