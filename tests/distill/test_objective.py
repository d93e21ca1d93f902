"""The objective: which terms there are, and when."""

import pytest
from descriptor_batches import STRUCTURAL, described, targets

from vpr.distill.losses.metric_loss import MetricLoss
from vpr.distill.losses.objective import Objective
from vpr.distill.settings import DistillationConfig, ObjectiveConfig, StructuralConfig


def objective(config, *others):
    return Objective(MetricLoss(config, 5, 3), *others)


def test_terms_follow_the_configuration():
    descriptors = described(5)
    full = objective(ObjectiveConfig(), STRUCTURAL, DistillationConfig(keep_weight=2.0))
    terms = full(descriptors, targets(descriptors.patch_descriptors, descriptors.global_descriptor))
    assert set(terms) == {"infonce", "distillation", "keep", "structural"}
    assert float(terms["keep"]) == pytest.approx(0, abs=1e-5) and float(terms["distillation"]) == 0
    assert set(objective(ObjectiveConfig("triplet"))(descriptors, targets())) == {"triplet"}
    assert set(full(descriptors, targets(progress=0.05))) == {"infonce"}  # the structural loss starts later


def test_in_the_metric_loss_structure_starts_late_and_not_without_weight():
    descriptors, plain = described(5), objective(ObjectiveConfig("margin"))(described(5), targets())
    for settings, progress in (({}, 0.05), ({"structural_weight": 0.0}, 0.5)):
        config = StructuralConfig(structural_in="metric", **settings)
        assert objective(ObjectiveConfig("margin"), config)(descriptors, targets(progress=progress)) == plain
    config = StructuralConfig(structural_in="metric")
    terms = objective(ObjectiveConfig("margin"), config)(descriptors, targets())
    assert terms != plain and set(terms) == {"margin"}
