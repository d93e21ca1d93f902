"""The objective: which terms there are, and by what the marginals go."""

import itertools

import pytest
import torch
from torch.nn import functional

from vpr.distill import structure
from vpr.distill.contrast import Contrast, Known
from vpr.distill.objective import Labels, Objective, structural_loss, structural_pairs
from vpr.distill.settings import DistillationConfig, ObjectiveConfig, StructuralConfig
from vpr.models.descriptors import Descriptors
from vpr.similarity import structural_similarity

STRUCTURAL = StructuralConfig(structural_negatives=2)


def described(global_dim):
    generator = torch.Generator().manual_seed(0)
    globals_, patches = (torch.randn(shape, generator=generator) for shape in ((6, global_dim), (6, 4, 5)))
    return Descriptors(functional.normalize(globals_, dim=-1), functional.normalize(patches, dim=-1))


def labels(kept=None, teacher=None, progress=0.5, negative=None):
    place = torch.arange(6) // 2
    same = place[:, None] == place[None]
    negative = ~same if negative is None else negative
    known = Known(torch.arange(6), place, lambda *_: (same & ~torch.eye(6, dtype=torch.bool), negative))
    return Labels(known, teacher, kept, progress)


def objective(config, *others):
    return Objective(Contrast(config, 5, 3), *others)


def test_terms_come_from_what_is_configured():
    found = described(5)
    full = objective(ObjectiveConfig(), STRUCTURAL, DistillationConfig(keep_weight=2.0))
    terms = full(found, labels(found.patch_descriptors, found.global_descriptor))
    assert set(terms) == {"infonce", "distillation", "keep", "structural"}
    assert float(terms["keep"]) == pytest.approx(0, abs=1e-5) and float(terms["distillation"]) == 0
    assert set(objective(ObjectiveConfig("triplet"))(found, labels())) == {"triplet"}
    assert set(full(found, labels(progress=0.05))) == {"infonce"}  # the structural loss starts later


def test_marginals_go_by_the_mean_of_the_patches_where_lengths_differ():
    """Global descriptors of another length must not matter, those of the same length must."""
    patches = described(5).patch_descriptors
    mean = functional.normalize(patches.mean(1), dim=-1)
    values = []
    for globals_ in (mean, described(7).global_descriptor, described(5).global_descriptor):
        torch.manual_seed(0)
        values.append(float(structural_loss(Descriptors(globals_, patches), labels(), STRUCTURAL)))
    assert values[0] == pytest.approx(values[1], abs=1e-6) and abs(values[0] - values[2]) > 1e-4


def test_a_model_without_patches_has_no_structural_loss():
    with pytest.raises(ValueError, match="needs a model with patch descriptors"):
        structural_loss(Descriptors(described(5).global_descriptor, None), labels(), STRUCTURAL)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [100, 4])
def test_the_metric_loss_goes_by_both_similarities_of_a_pair(pairs, monkeypatch):
    """Margin loss over all triplets against a loop, S_struct of each pair solved alone; in parts, the same gradient."""
    config = StructuralConfig(structural_in="metric", sinkhorn_iterations=30)
    monkeypatch.setattr(structure, "PAIRS", pairs)
    found = described(5)
    patches = found.patch_descriptors.requires_grad_()
    terms = objective(ObjectiveConfig("margin", margin=0.2), config)(found, labels())
    assert set(terms) == {"margin"}
    distance = torch.zeros(6, 6)
    for i, j in itertools.permutations(range(6), 2):
        globals_ = found.global_descriptor
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
    assert float(terms["margin"]) == pytest.approx(sum(parts) / sum(part > 0 for part in parts), abs=1e-4)
    (gradient,) = torch.autograd.grad(terms["margin"], patches)
    monkeypatch.setattr(structure, "PAIRS", 2048)
    whole = objective(ObjectiveConfig("margin", margin=0.2), config)(found, labels())["margin"]
    torch.testing.assert_close(gradient, torch.autograd.grad(whole, patches)[0])
    assert gradient.abs().sum() > 0 and gradient.isfinite().all()


def test_in_the_metric_loss_structure_starts_when_it_is_due_and_not_without_weight():
    found, plain = described(5), objective(ObjectiveConfig("margin"))(described(5), labels())
    for settings, progress in (({}, 0.05), ({"structural_weight": 0.0}, 0.5)):
        config = StructuralConfig(structural_in="metric", **settings)
        assert objective(ObjectiveConfig("margin"), config)(found, labels(progress=progress)) == plain
    config = StructuralConfig(structural_in="metric")
    assert objective(ObjectiveConfig("margin"), config)(found, labels()) != plain


def test_an_anchor_with_few_negatives_is_compared_with_those_it_has():
    positive, every = labels().known.within()
    few = every.clone()
    few[0] = False
    few[0, 4] = True
    anchors, others, there = structural_pairs(positive, few, 20)
    assert anchors.tolist() == list(range(6)) and there.sum(1).tolist() == [2, 5, 5, 5, 5, 5]
    for anchor, row, known in zip(anchors.tolist(), others.tolist(), there.tolist()):
        kept = [other for other, is_there in zip(row, known) if is_there]
        assert positive[anchor, kept[0]] and all(few[anchor, other] for other in kept[1:])
        assert len(set(kept)) == len(kept)
    many = StructuralConfig(structural_negatives=20)
    assert structural_loss(described(5), labels(negative=few), many).isfinite()
    nothing = labels(negative=torch.zeros(6, 6, dtype=torch.bool))
    assert structural_loss(described(5), nothing, many) == 0


def test_the_mass_of_a_step_is_drawn_between_the_least_and_one():
    found = described(5)
    partial = StructuralConfig(structural_negatives=2, structural_mass=0.5, sinkhorn_iterations=200)
    torch.manual_seed(3)
    mass = 1 - 0.5 * float(torch.rand(()))
    anchors, others, _ = structural_pairs(*labels().known.within(), 2)
    torch.manual_seed(3)
    loss = float(structural_loss(found, labels(), partial))
    total = 0.0
    for anchor, row in zip(anchors.tolist(), others):
        arguments = [side[anchor] for side in (found.patch_descriptors, found.global_descriptor)]
        theirs = [side[row] for side in (found.patch_descriptors, found.global_descriptor)]
        scores = structural_similarity(arguments[0], theirs[0], arguments[1], theirs[1], mass=mass).score
        total -= float(torch.log_softmax(scores / partial.structural_temperature, 0)[0])
    assert 0.5 < mass < 1 and loss == pytest.approx(total / len(anchors), rel=1e-3)


def test_with_all_of_the_mass_nothing_is_drawn():
    found, losses = described(5), []
    for least in (1.0, 0.5):
        torch.manual_seed(0)
        losses.append(
            float(structural_loss(found, labels(), StructuralConfig(structural_negatives=2, structural_mass=least)))
        )
        after = float(torch.rand(()))
        torch.manual_seed(0)
        structural_pairs(*labels().known.within(), 2)
        assert (after == float(torch.rand(()))) == (least == 1)
    assert losses[0] != losses[1]
