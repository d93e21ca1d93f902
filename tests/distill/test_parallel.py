"""The division of a batch among processes; tests/faults/test_parallel.py trains with several."""

from types import SimpleNamespace

import numpy as np
import pytest

from vpr.base.errors import VprError
from vpr.distill.sampling.augmentation import split_batch
from vpr.distill.training.parallel import Shards


def shards(size, rank, count):
    return Shards(SimpleNamespace(world_size=count, global_rank=rank), split_batch(size))


@pytest.mark.parametrize("size", [8, 9, 31, 32])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_photo_belongs_to_one_process_and_its_group_keeps_its_number(size, count):
    whole = dict(shards(size, 0, 1).own_groups)
    seen = []
    for rank in range(count):
        part = shards(size, rank, count)
        seen += part.own.tolist()
        for number, local in part.own_groups:
            assert (part.own[local] == whole[number]).all()
    assert sorted(seen) == list(range(size))


def test_more_processes_than_groups_are_refused():
    with pytest.raises(VprError, match="a batch has too few photos for 3 processes; start fewer"):
        shards(4, 0, 3)


def test_one_process_gets_the_batch_in_order():
    assert (shards(9, 0, 1).own == np.arange(9)).all()
