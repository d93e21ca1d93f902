"""The library's losses and miners on pairs of places: against loops, and against the library itself given labels."""

import itertools

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses
from torch.nn import functional

from vpr.base.errors import VprError
from vpr.distill.contrast import LOSSES, MINERS, WITHOUT_MEMORY, Contrast, Known, check, check_structure, pairs_by
from vpr.distill.settings import Loss, Miner, ObjectiveConfig

PLACE = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
NEITHER = [(0, 5), (5, 0), (3, 7), (7, 3)]  # too near to be negatives, too far to be positives
ALL_LOSSES = [*LOSSES, "proxy-anchor"]


def random_descriptors(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, 6, generator=generator), dim=1).double()


def known(place=PLACE, neither=()):
    """Photos 0, 1, ...; pairs by place, but for those that are neither."""
    same = place[:, None] == place[None]
    positive, negative = same & ~torch.eye(len(place), dtype=torch.bool), ~same
    for pair in neither:
        negative[pair] = False

    def pairs(some, others):
        return positive[some][:, others], negative[some][:, others]

    return Known(torch.arange(len(place)), place, pairs)


def test_the_options_name_every_loss_and_miner():
    assert set(Loss.__args__) == set(ALL_LOSSES) and set(Miner.__args__) == {"none", *MINERS}


def test_infonce_is_the_mean_over_positive_pairs_against_the_anchors_negatives():
    x, batch = random_descriptors(), known(neither=NEITHER)
    positive, negative = batch.within()
    total, pairs = 0.0, 0
    for a in range(8):
        rivals = sum(np.exp(float(x[a] @ x[n]) / 0.07) for n in range(8) if negative[a, n])
        for p in range(8):
            if positive[a, p]:
                own = np.exp(float(x[a] @ x[p]) / 0.07)
                total, pairs = total - np.log(own / (own + rivals)), pairs + 1
    assert float(Contrast(ObjectiveConfig(temperature=0.07), 6, 4)(x, batch)) == pytest.approx(total / pairs, rel=1e-6)


def test_multi_similarity_against_a_loop():
    """Wang et al., CVPR 2019, equation 11, over the anchors."""
    x, batch = random_descriptors(), known(neither=NEITHER)
    positive, negative = batch.within()
    total = 0.0
    for a in range(8):
        near = sum(np.exp(-2 * (float(x[a] @ x[p]) - 0.5)) for p in range(8) if positive[a, p])
        far = sum(np.exp(50 * (float(x[a] @ x[n]) - 0.5)) for n in range(8) if negative[a, n])
        total += np.log1p(near) / 2 + np.log1p(far) / 50
    found = float(Contrast(ObjectiveConfig("multi-similarity"), 6, 4)(x, batch))
    assert found == pytest.approx(total / 8, rel=1e-6)


@pytest.mark.parametrize("name", ALL_LOSSES)
def test_where_pairs_are_those_of_labels_the_loss_is_the_librarys_of_labels(name):
    x = random_descriptors()
    contrast = Contrast(ObjectiveConfig(name), 6, 4)
    assert float(contrast(x, known())) == pytest.approx(float(contrast.loss(x, PLACE)), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_pair_that_is_neither_does_not_matter(name):
    """Photo 7 is alone; when it is no pair with anybody, the loss has no gradient by it."""
    x = random_descriptors().requires_grad_()
    alone = [(7, other) for other in range(8)] + [(other, 7) for other in range(8)]
    Contrast(ObjectiveConfig(name), 6, 4)(x, known(neither=alone)).backward()
    assert x.grad[7].abs().max() == 0 and x.grad[:7].abs().max() > 0


@pytest.mark.parametrize("name", MINERS)
def test_miners_choose_among_the_pairs_of_places(name):
    torch.manual_seed(0)
    place = torch.arange(24) // 3
    neither = [(0, 5), (5, 0), (1, 8), (8, 1), (10, 2), (2, 10)]
    batch = known(place, neither)
    positive, negative = batch.within()
    contrast = Contrast(ObjectiveConfig("triplet", miner=name), 6, 8)
    count = 0
    for seed in range(20):
        with pairs_by(batch.pairs):
            mined = contrast._mined(random_descriptors(24, seed).float(), batch)
        first, near, second, far = mined if len(mined) == 4 else (mined[0], mined[1], mined[0], mined[2])
        assert positive[first, near].all() and negative[second, far].all()
        count += len(first)
    assert count > 20


@pytest.mark.parametrize("loss", ALL_LOSSES)
@pytest.mark.parametrize("miner", ["none", *MINERS])
def test_every_loss_goes_with_every_miner(loss, miner):
    torch.manual_seed(0)
    x = random_descriptors(24).float().requires_grad_()
    value = Contrast(ObjectiveConfig(loss, miner=miner), 6, 8)(x, known(torch.arange(24) // 3, NEITHER))
    value.backward()
    assert value.isfinite() and x.grad.isfinite().all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in WITHOUT_MEMORY])
def test_the_memory_compares_with_earlier_batches_by_their_places(name):
    """A memory of two batches against the same loss with both batches as references."""
    place = torch.arange(16) // 2 % 4  # the second batch shows the places of the first again
    neither = [(8, 5), (9, 3)]
    batch = known(place, neither)
    x = random_descriptors(16).float()
    contrast = Contrast(ObjectiveConfig(name, memory=16), 6, 4)
    rows = torch.arange(16)
    parts = [Known(rows[half], place[half], batch.pairs) for half in (slice(0, 8), slice(8, 16))]
    contrast(x[:8], parts[0])
    found = contrast(x[8:], parts[1])
    positive, negative = batch.pairs(rows[8:], rows)
    indices = *positive.nonzero(as_tuple=True), *negative.nonzero(as_tuple=True)
    expected = LOSSES[name](ObjectiveConfig(name))(x[8:], None, indices, x, rows)
    assert float(found) == pytest.approx(float(expected), rel=1e-5) and float(found) > 0
    again = Contrast(ObjectiveConfig(name, memory=16), 6, 4)
    again.load_state_dict(contrast.state_dict())
    assert float(again(x[:8], parts[0])) == float(contrast(x[:8], parts[0]))  # it stands where the other stood


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("miner", ["none", *(name for name in MINERS if name != "angular")])
def test_given_cosines_take_the_place_of_the_descriptors(loss, miner):
    """The descriptors' own change nothing; those of other descriptors give the loss of those, gradients included."""
    x, other = (random_descriptors(24, seed).float() for seed in (0, 1))
    x.requires_grad_(), other.requires_grad_()
    contrast, batch = Contrast(ObjectiveConfig(loss, miner=miner), 6, 8), known(torch.arange(24) // 3, NEITHER)
    values, gradients = [], []
    for descriptors, cosines in ((other, None), (other, other @ other.T), (x, other @ other.T)):
        torch.manual_seed(0)
        values.append(contrast(descriptors, batch, cosines))
        gradients.append(torch.autograd.grad(values[-1], other, materialize_grads=True)[0])
    torch.testing.assert_close(values, [values[0]] * 3, atol=2e-5, rtol=2e-5)
    for gradient in gradients[1:]:  # along the sphere: the library scales its descriptors to unit length
        across = [g - (g * other).sum(1, keepdim=True) * other for g in (gradient, gradients[0])]
        torch.testing.assert_close(*across, atol=2e-4, rtol=2e-3)


def test_what_goes_by_no_cosines_is_said():
    for config, words in (
        (ObjectiveConfig("proxy-anchor"), "does not go with --loss proxy-anchor"),
        (ObjectiveConfig("triplet", "angular"), "does not go with --miner angular"),
        (ObjectiveConfig(memory=8), "does not go with --memory"),
    ):
        with pytest.raises(VprError, match=f"--structural-in metric {words}"):
            check_structure(config)


def test_what_does_not_go_together_is_said():
    for config, words in (
        (ObjectiveConfig("fast-ap", memory=8), "--memory does not go with --loss fast-ap"),
        (ObjectiveConfig("infonce", "distance-weighted", 8), "--memory does not go with --miner distance-weighted"),
    ):
        with pytest.raises(VprError, match=words):
            check(config)


def test_the_library_is_as_before_outside():
    x, batch = random_descriptors(), known(neither=NEITHER)
    before = float(losses.NTXentLoss()(x, PLACE))
    Contrast(ObjectiveConfig(), 6, 4)(x, batch)
    assert float(losses.NTXentLoss()(x, PLACE)) == before


@pytest.mark.parametrize("beta", [0.6, 1.2])
def test_the_margin_loss_against_a_loop(beta):
    """Wu et al., ICCV 2017, equation 8 with one boundary, over triplets: the mean over the pairs that break it."""
    x, batch = random_descriptors(), known(neither=NEITHER)
    positive, negative = batch.within()
    found = []
    for a, p, n in itertools.product(range(8), repeat=3):
        if positive[a, p] and negative[a, n]:
            found += [float((x[a] - x[p]).norm()) - beta + 0.2, beta - float((x[a] - x[n]).norm()) + 0.2]
    broken = [value for value in found if value > 0]
    loss = Contrast(ObjectiveConfig("margin", margin=0.2, beta=beta), 6, 4)(x, batch)
    assert float(loss) == pytest.approx(np.mean(broken), rel=1e-6)
