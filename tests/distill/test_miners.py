"""The miners: against the library's on labels, and on pairs that may be neither positive nor negative."""

import pytest
import torch
from pair_batches import photo_batch, random_descriptors
from pytorch_metric_learning import miners
from torch.nn import functional

from vpr.distill.losses.miners import MINERS, Comparison
from vpr.distill.losses.pairs import Pairs

# The library's miner that chooses the same on labels; None if the library has none.
LIBRARY = {
    "multi-similarity": miners.MultiSimilarityMiner(),
    "batch-hard": miners.BatchHardMiner(),
    "batch-easy-hard": miners.BatchEasyHardMiner(),
    "distance-weighted": miners.DistanceWeightedMiner(),
    "triplet-margin": miners.TripletMarginMiner(type_of_triplets="all"),
    "semi-hard": miners.TripletMarginMiner(type_of_triplets="semihard"),
    "pair-margin": miners.PairMarginMiner(),
}
IN_LIBRARY = [name for name, miner in LIBRARY.items() if miner is not None]
LABELS = torch.arange(24) // 3
NEITHER = [(0, 5), (5, 0), (1, 8), (8, 1), (10, 2), (2, 10)]


def comparison(x, pairs, precomputed=None):
    """A batch with same_photo, each photo once."""
    return Comparison(x, pairs, torch.eye(len(x), dtype=torch.bool), precomputed=precomputed)


def same_choice(first, second):
    return len(first) == len(second) and all(torch.equal(*sides) for sides in zip(first, second))


def test_every_miner_is_compared_with_the_library():
    assert set(LIBRARY) == set(MINERS)


@pytest.mark.parametrize("name", IN_LIBRARY)
@pytest.mark.parametrize("seed", range(5))
def test_on_labels_a_miner_chooses_what_the_library_chooses(name, seed):
    x = random_descriptors(24, seed).float()
    torch.manual_seed(seed)
    expected = LIBRARY[name](x, LABELS)
    torch.manual_seed(seed)
    assert same_choice(MINERS[name](comparison(x, photo_batch(LABELS).pairs())), expected) and len(expected[0])


@pytest.mark.parametrize("name", [name for name in IN_LIBRARY if name != "distance-weighted"])
def test_with_references_a_miner_chooses_what_the_library_chooses(name):
    x, references = random_descriptors(12, 1).float(), random_descriptors(24, 2).float()
    labels = LABELS[:12] + 2
    positive = labels[:, None] == LABELS[None]
    expected = LIBRARY[name](x, labels, references, LABELS)
    compared = Comparison(x, Pairs(positive, ~positive), torch.zeros_like(positive), references)
    assert same_choice(MINERS[name](compared), expected)


@pytest.mark.parametrize("name", ["multi-similarity", "triplet-margin", "semi-hard", "pair-margin"])
def test_copies_of_the_anchors_among_the_references_have_no_influence(name):
    """The choice is the library's, without the copies, which are positives to it."""
    places = random_descriptors(8, 1)[LABELS]
    x, others = (functional.normalize(places + random_descriptors(24, seed), dim=1).float() for seed in (2, 3))
    photos = torch.arange(24).roll(5)  # no copy has the number of its anchor
    references, labels = torch.cat([x[photos], others]), torch.cat([LABELS[photos], LABELS])
    same_photo = torch.arange(24)[:, None] == torch.cat([photos, photos + 24])
    same = LABELS[:, None] == labels
    chosen = LIBRARY[name](x, LABELS, references, labels)
    kept = ~same_photo[chosen[0], chosen[1]]
    expected = [side[kept] for side in chosen[:2]]
    expected += [side[kept] for side in chosen[2:]] if len(chosen) == 3 else chosen[2:]
    mined = MINERS[name](Comparison(x, Pairs(same & ~same_photo, ~same), same_photo, references))
    assert same_choice(mined, expected)
    assert len(mined[0])
    if name == "multi-similarity":
        assert len(mined[0]) < int((same & ~same_photo).sum()), "not every positive is as hard as the rule wants"


def test_multi_similarity_if_a_photo_is_in_the_batch_twice():
    """Wang et al., CVPR 2019, equations 10 and 11, by a loop."""
    photos = torch.tensor([0, 1, 0, 3, 4, 4, 6, 7])
    place = torch.arange(8) // 4
    x = random_descriptors(8, 3).float()
    x[2], x[5] = x[0], x[4]
    same_photo = photos[:, None] == photos
    same = place[:, None] == place
    cosines, expected = x @ x.T, [set(), set()]
    for a in range(8):
        positives = [b for b in range(8) if same[a, b] and not same_photo[a, b]]
        negatives = [b for b in range(8) if not same[a, b]]
        most, least = max(cosines[a, n] for n in negatives), min(cosines[a, p] for p in positives)
        expected[0] |= {(a, p) for p in positives if cosines[a, p] < most + 0.1}
        expected[1] |= {(a, n) for n in negatives if cosines[a, n] > least - 0.1}
    mined = MINERS["multi-similarity"](Comparison(x, Pairs(same & ~same_photo, ~same), same_photo))
    found = [set(zip(*(side.tolist() for side in mined[first : first + 2]))) for first in (0, 2)]
    assert found == expected and 0 < len(expected[0]) < int((same & ~same_photo).sum())


@pytest.mark.parametrize("name", MINERS)
def test_a_pair_that_is_neither_is_never_chosen(name):
    torch.manual_seed(0)
    pairs, count = photo_batch(LABELS, NEITHER).pairs(), 0
    for seed in range(20):
        mined = MINERS[name](comparison(random_descriptors(24, seed).float(), pairs))
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
    first, second = (MINERS[name](comparison(descriptors, pairs)) for descriptors in (x, changed))
    assert same_choice(first, second) and len(first[0])


@pytest.mark.parametrize("name", MINERS)
def test_precomputed_replace_the_descriptors(name):
    x, pairs = random_descriptors(24).float(), photo_batch(LABELS, NEITHER).pairs()
    torch.manual_seed(0)
    expected = MINERS[name](comparison(x, pairs))
    torch.manual_seed(0)
    assert same_choice(MINERS[name](comparison(x.flip(0), pairs, x @ x.T)), expected)
