"""The miners: against the library's on labels, and on pairs that may be neither positive nor negative."""

import pytest
import torch
from pair_batches import photo_batch, random_descriptors
from pytorch_metric_learning import miners

from vpr.distill.losses.miners import MINERS, Comparison
from vpr.distill.losses.pairs import Pairs

LIBRARY = {
    "multi-similarity": miners.MultiSimilarityMiner(),
    "batch-hard": miners.BatchHardMiner(),
    "batch-easy-hard": miners.BatchEasyHardMiner(),
    "distance-weighted": miners.DistanceWeightedMiner(),
    "triplet-margin": miners.TripletMarginMiner(type_of_triplets="all"),
    "semi-hard": miners.TripletMarginMiner(type_of_triplets="semihard"),
    "pair-margin": miners.PairMarginMiner(),
}
LABELS = torch.arange(24) // 3
NEITHER = [(0, 5), (5, 0), (1, 8), (8, 1), (10, 2), (2, 10)]


def same_choice(first, second):
    return len(first) == len(second) and all(torch.equal(*sides) for sides in zip(first, second))


@pytest.mark.parametrize("name", MINERS)
@pytest.mark.parametrize("seed", range(5))
def test_on_labels_a_miner_chooses_what_the_library_chooses(name, seed):
    x = random_descriptors(24, seed).float()
    torch.manual_seed(seed)
    expected = LIBRARY[name](x, LABELS)
    torch.manual_seed(seed)
    assert same_choice(MINERS[name](Comparison(x, photo_batch(LABELS).pairs())), expected) and len(expected[0])


@pytest.mark.parametrize("name", [name for name in MINERS if name != "distance-weighted"])
def test_with_references_a_miner_chooses_what_the_library_chooses(name):
    x, references = random_descriptors(12, 1).float(), random_descriptors(24, 2).float()
    labels = LABELS[:12] + 2
    positive = labels[:, None] == LABELS[None]
    expected = LIBRARY[name](x, labels, references, LABELS)
    assert same_choice(MINERS[name](Comparison(x, Pairs(positive, ~positive), references)), expected)


@pytest.mark.parametrize("name", MINERS)
def test_a_pair_that_is_neither_is_never_chosen(name):
    torch.manual_seed(0)
    pairs, count = photo_batch(LABELS, NEITHER).pairs(), 0
    for seed in range(20):
        mined = MINERS[name](Comparison(random_descriptors(24, seed).float(), pairs))
        first, positive, *second, negative = mined
        assert pairs.positive[first, positive].all()
        assert pairs.negative[second[0] if second else first, negative].all()
        count += len(first)
    assert count > 20


@pytest.mark.parametrize("name", ["batch-hard", "batch-easy-hard", "triplet-margin", "semi-hard", "pair-margin"])
def test_a_pair_that_is_neither_has_no_influence(name):
    """The descriptor of photo 23, which is in no pair, does not change the choice."""
    alone = [pair for other in range(24) for pair in ((23, other), (other, 23))]
    pairs = photo_batch(LABELS, alone).pairs()
    pairs.positive[23], pairs.positive[:, 23] = False, False
    x = random_descriptors(24).float()
    changed = torch.cat([x[:23], x[:1]])
    first, second = (MINERS[name](Comparison(descriptors, pairs)) for descriptors in (x, changed))
    assert same_choice(first, second) and len(first[0])


@pytest.mark.parametrize("name", MINERS)
def test_precomputed_replace_the_descriptors(name):
    x, pairs = random_descriptors(24).float(), photo_batch(LABELS, NEITHER).pairs()
    torch.manual_seed(0)
    expected = MINERS[name](Comparison(x, pairs))
    torch.manual_seed(0)
    assert same_choice(MINERS[name](Comparison(x.flip(0), pairs, precomputed=x @ x.T)), expected)
