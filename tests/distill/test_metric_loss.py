"""The losses on pairs of photos: against loops, and against the library itself, given labels or indices."""

import itertools

import numpy as np
import pytest
import torch
from pair_batches import NEITHER, PLACE, photo_batch, random_descriptors
from pytorch_metric_learning import losses, miners

from vpr.base.errors import VprError
from vpr.distill.losses.metric_loss import (
    FAST_AP,
    LOSSES,
    PROXY_ANCHOR,
    MetricLoss,
    check_memory,
    check_metric_structure,
    check_objective,
)
from vpr.distill.losses.miners import MINERS
from vpr.distill.losses.pairs import PhotoBatch
from vpr.distill.settings import Loss, Miner, ObjectiveConfig

ALL_LOSSES = [*LOSSES, FAST_AP, PROXY_ANCHOR]


def test_the_options_name_every_loss_and_miner():
    assert set(Loss.__args__) == set(ALL_LOSSES) and set(Miner.__args__) == {"none", *MINERS}


def test_infonce_is_the_mean_over_positive_pairs_against_the_anchors_negatives():
    x, batch = random_descriptors(), photo_batch(neither=NEITHER)
    positive, negative = batch.pairs().positive, batch.pairs().negative
    total, pairs = 0.0, 0
    for a in range(8):
        rivals = sum(np.exp(float(x[a] @ x[n]) / 0.07) for n in range(8) if negative[a, n])
        for p in range(8):
            if positive[a, p]:
                own = np.exp(float(x[a] @ x[p]) / 0.07)
                total, pairs = total - np.log(own / (own + rivals)), pairs + 1
    loss = MetricLoss(ObjectiveConfig(temperature=0.07), 6, 4)(x, batch)
    assert float(loss) == pytest.approx(total / pairs, rel=1e-6)


def test_multi_similarity_against_a_loop():
    """Wang et al., CVPR 2019, equation 11, over the anchors."""
    x, batch = random_descriptors(), photo_batch(neither=NEITHER)
    positive, negative = batch.pairs().positive, batch.pairs().negative
    total = 0.0
    for a in range(8):
        near = sum(np.exp(-2 * (float(x[a] @ x[p]) - 0.5)) for p in range(8) if positive[a, p])
        far = sum(np.exp(50 * (float(x[a] @ x[n]) - 0.5)) for n in range(8) if negative[a, n])
        total += np.log1p(near) / 2 + np.log1p(far) / 50
    loss = MetricLoss(ObjectiveConfig("multi-similarity"), 6, 4)(x, batch)
    assert float(loss) == pytest.approx(total / 8, rel=1e-6)


@pytest.mark.parametrize("beta", [0.6, 1.2])
def test_the_margin_loss_against_a_loop(beta):
    """Wu et al., ICCV 2017, equation 8 with one boundary, over triplets: the mean over the pairs that violate it."""
    x, batch = random_descriptors(), photo_batch(neither=NEITHER)
    positive, negative = batch.pairs().positive, batch.pairs().negative
    values = []
    for a, p, n in itertools.product(range(8), repeat=3):
        if positive[a, p] and negative[a, n]:
            values += [float((x[a] - x[p]).norm()) - beta + 0.2, beta - float((x[a] - x[n]).norm()) + 0.2]
    loss = MetricLoss(ObjectiveConfig("margin", margin=0.2, beta=beta), 6, 4)(x, batch)
    assert float(loss) == pytest.approx(np.mean([value for value in values if value > 0]), rel=1e-6)


@pytest.mark.parametrize("miner", ["none", "multi-similarity", "batch-hard"])
@pytest.mark.parametrize("name", ALL_LOSSES)
def test_if_all_pairs_follow_labels_the_loss_is_that_of_the_library(name, miner):
    x = random_descriptors()
    config = ObjectiveConfig(name, miner)
    loss = MetricLoss(config, 6, 4)
    library = losses.FastAPLoss() if name == FAST_AP else loss.loss
    mined = None if miner == "none" else MINERS[miner](loss._compare(x, photo_batch(), None))
    assert float(loss(x, photo_batch())) == pytest.approx(float(library(x, PLACE, mined)), rel=1e-6)


@pytest.mark.parametrize("name", [*LOSSES, FAST_AP])
def test_a_pair_that_is_neither_does_not_matter(name):
    """Photo 7 is in no pair, so the loss has no gradient with respect to it."""
    x = random_descriptors().requires_grad_()
    alone = [(7, other) for other in range(8)] + [(other, 7) for other in range(8)]
    MetricLoss(ObjectiveConfig(name), 6, 4)(x, photo_batch(neither=alone)).backward()
    assert x.grad[7].abs().max() == 0 and x.grad[:7].abs().max() > 0


@pytest.mark.parametrize("name", [*LOSSES, FAST_AP])
def test_without_pairs_the_loss_is_zero(name):
    nothing = list(itertools.product(range(8), repeat=2))
    x = random_descriptors().requires_grad_()
    loss = MetricLoss(ObjectiveConfig(name), 6, 4)(x, photo_batch(torch.arange(8), nothing))
    loss.backward()
    assert float(loss) == 0 and x.grad.abs().max() == 0


@pytest.mark.parametrize("loss", ALL_LOSSES)
@pytest.mark.parametrize("miner", ["none", *MINERS])
def test_every_loss_goes_with_every_miner(loss, miner):
    torch.manual_seed(0)
    x = random_descriptors(24).float().requires_grad_()
    value = MetricLoss(ObjectiveConfig(loss, miner=miner), 6, 8)(x, photo_batch(torch.arange(24) // 3, NEITHER))
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all()


@pytest.mark.parametrize("miner", ["none", "multi-similarity", "semi-hard"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_memory_is_compared_with_by_place(name, miner):
    """A memory of two batches, against the library's loss with both batches as references."""
    place = torch.arange(16) // 2 % 4  # the second batch shows the places of the first again
    batch = photo_batch(place, [(8, 5), (9, 3)])
    x, rows = random_descriptors(16).float(), torch.arange(16)
    loss = MetricLoss(ObjectiveConfig(name, miner, memory=16), 6, 4)
    first, second = (PhotoBatch(rows[half], place[half], batch.find_pairs) for half in (slice(0, 8), slice(8, 16)))
    loss(x[:8], first)
    value = loss(x[8:], second)
    with torch.no_grad():
        pairs = batch.find_pairs(rows[8:], rows)
        compared = loss._compare(x[8:], second, None)
    assert torch.equal(compared.references[[*range(8, 16), *range(8)]], torch.cat([x[8:], x[8:]]))  # it has wrapped
    if miner == "none":
        expected = LOSSES[name](ObjectiveConfig(name))(x[8:], None, pairs.indices(), x, rows)
        assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert float(value) > 0


@pytest.mark.parametrize("name", LOSSES)
def test_with_a_memory_a_miner_ignores_the_copies_of_the_batch(name):
    """The memory holds the batch too. On labels the loss is the library's, which removes the copies."""
    place, rows = torch.arange(32) // 4 % 4, torch.arange(32)
    x, batch = random_descriptors(32, 4).float(), photo_batch(place)
    loss = MetricLoss(ObjectiveConfig(name, "multi-similarity", memory=24), 6, 4)
    library = losses.CrossBatchMemory(LOSSES[name](ObjectiveConfig(name)), 6, 24, miners.MultiSimilarityMiner())
    for half in (slice(0, 16), slice(16, 32)):
        value = loss(x[half], PhotoBatch(rows[half], place[half], batch.find_pairs))
        assert float(value) == pytest.approx(float(library(x[half], place[half])), rel=1e-5) and float(value) > 0


def test_the_same_photo_is_found_in_the_batch_and_in_the_memory():
    batch, x = photo_batch(), random_descriptors().float()
    twice = PhotoBatch(torch.tensor([2, 5, 2]), batch.classes[:3], batch.find_pairs)
    loss, with_memory = (MetricLoss(ObjectiveConfig(memory=memory), 6, 4) for memory in (0, 6))
    assert loss._compare(x[:3], twice, None).same_photo.nonzero().tolist() == [[0, 0], [0, 2], [1, 1], [2, 0], [2, 2]]
    other = PhotoBatch(torch.tensor([5, 7, 0]), batch.classes[:3], batch.find_pairs)
    with_memory(x[3:6], other)
    found = with_memory._compare(x[:3], twice, None).same_photo
    assert found.nonzero().tolist() == [[0, 3], [0, 5], [1, 0], [1, 4], [2, 3], [2, 5]]


def test_a_restored_memory_continues_where_it_was():
    batch, x = photo_batch(), random_descriptors().float()
    config = ObjectiveConfig(memory=12)
    loss, restored = (MetricLoss(config, 6, 4) for _ in range(2))
    loss(x, batch)
    restored.load_state_dict(loss.state_dict())
    for _ in range(2):
        assert float(restored(x.flip(0), batch)) == float(loss(x.flip(0), batch))


@pytest.mark.parametrize("loss", [*LOSSES, FAST_AP])
@pytest.mark.parametrize("miner", ["none", *MINERS])
def test_precomputed_replace_those_of_the_descriptors(loss, miner):
    """The cosines of a batch give its loss and its gradients, whatever the descriptors."""
    x, other = (random_descriptors(24, seed).float() for seed in (0, 1))
    x.requires_grad_(), other.requires_grad_()
    metric_loss, batch = (
        MetricLoss(ObjectiveConfig(loss, miner=miner), 6, 8),
        photo_batch(torch.arange(24) // 3, NEITHER),
    )
    values, gradients = [], []
    for descriptors, cosines in ((other, None), (other, other @ other.T), (x, other @ other.T)):
        torch.manual_seed(0)
        values.append(metric_loss(descriptors, batch, cosines))
        gradients.append(torch.autograd.grad(values[-1], other, materialize_grads=True)[0])
    torch.testing.assert_close(values, [values[0]] * 3, atol=2e-5, rtol=2e-5)
    for gradient in gradients[1:]:  # along the sphere, because the library scales descriptors to unit length
        across = [g - (g * other).sum(1, keepdim=True) * other for g in (gradient, gradients[0])]
        torch.testing.assert_close(*across, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ObjectiveConfig(PROXY_ANCHOR), "cannot be combined with --loss proxy-anchor; pass --loss margin"),
        (ObjectiveConfig(memory=8), "cannot be combined with --memory"),
    ],
)
def test_losses_without_cosines_are_refused(config, words):
    with pytest.raises(VprError, match=f"--structural-in metric {words}"):
        check_metric_structure(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ObjectiveConfig(FAST_AP, memory=8), "--memory cannot be combined with --loss fast-ap"),
        (ObjectiveConfig(PROXY_ANCHOR, memory=8), "--memory cannot be combined with --loss proxy-anchor"),
        (ObjectiveConfig("infonce", "distance-weighted", 8), "cannot be combined with --miner distance-weighted"),
    ],
)
def test_impossible_combinations_are_refused(config, words):
    with pytest.raises(VprError, match=words):
        check_objective(config)
    with pytest.raises(VprError, match=words):
        MetricLoss(config, 6, 4)


def test_a_memory_smaller_than_a_batch_is_refused():
    config = ObjectiveConfig(memory=7)
    with pytest.raises(VprError, match="--memory 7 is smaller than a batch of 8 photos; pass a larger --memory, or 0"):
        check_memory(config, 8)
    check_memory(config, 7)
    check_memory(ObjectiveConfig(), 8)
