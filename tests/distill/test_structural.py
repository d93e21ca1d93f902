"""The structural loss: its pairs, its marginals, its mass; and the similarity of the metric loss."""

import itertools

import pytest
import torch
from descriptor_batches import STRUCTURAL, described, targets
from torch.nn import functional

from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.pairs import Pairs
from vpr.distill.losses.structural import ProcessRank, combined_similarity, sample_pairs, structural_loss
from vpr.distill.settings import ObjectiveConfig, StructuralConfig
from vpr.models.descriptors import Descriptors
from vpr.similarity import structural_similarity

PAIRS = targets().photos.pairs()


def test_marginals_depend_on_the_mean_patch_if_lengths_differ():
    """Global descriptors of another length must not matter, those of the same length must."""
    patches = described(5).patch_descriptors
    mean = functional.normalize(patches.mean(1), dim=-1)
    values = []
    for global_descriptors in (mean, described(7).global_descriptor, described(5).global_descriptor):
        torch.manual_seed(0)
        values.append(float(structural_loss(Descriptors(global_descriptors, patches), PAIRS, STRUCTURAL)))
    assert values[0] == pytest.approx(values[1], abs=1e-6) and abs(values[0] - values[2]) > 1e-4


def test_a_model_without_patches_has_no_structural_loss():
    with pytest.raises(ValueError, match="needs a model with patch descriptors"):
        structural_loss(Descriptors(described(5).global_descriptor, None), PAIRS, STRUCTURAL)


@pytest.mark.slow
@pytest.mark.parametrize("pairs_at_once", [100, 4])
def test_the_metric_loss_uses_both_similarities_of_a_pair(pairs_at_once):
    """Margin loss over all triplets against a loop that solves each pair alone; in parts, the same gradient."""
    config, margin = StructuralConfig(structural_in="metric", sinkhorn_iterations=30), ObjectiveConfig("margin")
    descriptors, metric_loss, batch = described(5), MetricLoss(margin, 5, 3), targets().photos
    patches, globals_ = descriptors.patch_descriptors.requires_grad_(), descriptors.global_descriptor
    loss = metric_loss(globals_, batch, combined_similarity(descriptors, config, pairs_at_once))
    distance = torch.zeros(6, 6)
    for i, j in itertools.permutations(range(6), 2):
        alone = structural_similarity(
            patches[i].detach(), patches[[j]].detach(), globals_[i], globals_[[j]], epsilon=config.epsilon,
            backend="torch", tolerance=0, max_iterations=2000,
        ).score  # fmt: skip
        distance[i, j] = (2 - (globals_[i] @ globals_[j] + alone[0])).sqrt()
    parts = []
    for a, p, n in itertools.product(range(6), repeat=3):
        if a != p and a // 2 == p // 2 != n // 2:
            parts += [max(0, distance[a, p] - 1.2 + 0.2), max(0, 1.2 - distance[a, n] + 0.2)]
    parts = [float(part) for part in parts]
    assert float(loss.detach()) == pytest.approx(sum(parts) / sum(part > 0 for part in parts), abs=1e-4)
    (gradient,) = torch.autograd.grad(loss, patches)
    whole = metric_loss(globals_, batch, combined_similarity(descriptors, config))
    torch.testing.assert_close(gradient, torch.autograd.grad(whole, patches)[0])
    assert gradient.abs().sum() > 0 and gradient.isfinite().all()


def test_an_anchor_with_few_negatives_is_compared_with_all_of_them():
    few = PAIRS.negative.clone()
    few[0] = False
    few[0, 4] = True
    sample = sample_pairs(Pairs(PAIRS.positive, few), 20)
    assert sample.anchors.tolist() == list(range(6)) and sample.valid.sum(1).tolist() == [2, 5, 5, 5, 5, 5]
    for anchor, row, valid in zip(sample.anchors.tolist(), sample.others.tolist(), sample.valid.tolist()):
        kept = [other for other, is_valid in zip(row, valid) if is_valid]
        assert PAIRS.positive[anchor, kept[0]] and all(few[anchor, other] for other in kept[1:])
        assert len(set(kept)) == len(kept)
    many = StructuralConfig(structural_negatives=20)
    assert structural_loss(described(5), Pairs(PAIRS.positive, few), many).isfinite()
    nothing = Pairs(PAIRS.positive, torch.zeros(6, 6, dtype=torch.bool))
    assert structural_loss(described(5), nothing, many) == 0


def test_the_mass_of_a_step_is_drawn_between_the_minimum_and_one():
    descriptors = described(5)
    partial = StructuralConfig(structural_negatives=2, structural_mass=0.5, sinkhorn_iterations=200)
    torch.manual_seed(3)
    mass = 1 - 0.5 * float(torch.rand(()))
    sample = sample_pairs(PAIRS, 2)
    torch.manual_seed(3)
    loss = float(structural_loss(descriptors, PAIRS, partial))
    total = 0.0
    for anchor, row in zip(sample.anchors.tolist(), sample.others):
        own = [side[anchor] for side in (descriptors.patch_descriptors, descriptors.global_descriptor)]
        others = [side[row] for side in (descriptors.patch_descriptors, descriptors.global_descriptor)]
        scores = structural_similarity(own[0], others[0], own[1], others[1], mass=mass).score
        total -= float(torch.log_softmax(scores / partial.structural_temperature, 0)[0])
    assert 0.5 < mass < 1 and loss == pytest.approx(total / len(sample.anchors), rel=1e-3)


def test_with_all_of_the_mass_no_mass_is_drawn():
    losses = []
    for minimum in (1.0, 0.5):
        torch.manual_seed(0)
        config = StructuralConfig(structural_negatives=2, structural_mass=minimum)
        losses.append(float(structural_loss(described(5), PAIRS, config)))
        after = float(torch.rand(()))
        torch.manual_seed(0)
        sample_pairs(PAIRS, 2)
        assert (after == float(torch.rand(()))) == (minimum == 1)
    assert losses[0] != losses[1]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_mean_over_processes_is_the_loss_of_the_batch(count):
    values = []
    for rank in range(count):
        torch.manual_seed(0)
        values.append(float(structural_loss(described(5), PAIRS, STRUCTURAL, ProcessRank(rank, count))))
    torch.manual_seed(0)
    whole = float(structural_loss(described(5), PAIRS, STRUCTURAL))
    assert sum(values) / count == pytest.approx(whole, rel=1e-5)
