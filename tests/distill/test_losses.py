"""Losses against naive loops, hand-worked cases and the library."""

import numpy as np
import pytest
import torch

from vpr.distill.losses.distillation import patch_drift, regression, relational
from vpr.distill.losses.structural import positive_cross_entropy


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    descriptors = torch.nn.functional.normalize(torch.randn(8, 5, generator=generator), dim=1).double()
    place = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
    positive = (place[:, None] == place[None]) & ~torch.eye(8, dtype=torch.bool)
    negative = place[:, None] != place[None]
    negative[0, 5] = negative[5, 0] = False  # within the guard: neither
    return descriptors, positive, negative


def test_regression_by_hand():
    assert float(regression(torch.eye(2), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))) == 1.0


def test_relational_against_loops(batch):
    student = batch[0]
    teacher = torch.nn.functional.normalize(student[:, :3] + 0.1, dim=1)

    def smooth(values):
        values = np.abs(np.array(values))
        return np.where(values < 1, values**2 / 2, values - 0.5).mean()

    def tables(x):
        pairs = [float((x[i] - x[j]).norm()) for i in range(8) for j in range(i + 1, 8)]
        angles = []
        for j in range(8):
            for i in range(8):
                for k in range(8):
                    first, second = x[i] - x[j], x[k] - x[j]
                    scale = max(float(first.norm()), 1e-12) * max(float(second.norm()), 1e-12)
                    angles.append(float(first @ second) / scale)
        return np.array(pairs) / np.mean(pairs), np.array(angles)

    ours, theirs = tables(student), tables(teacher)
    expected = smooth(ours[0] - theirs[0]) + smooth(ours[1] - theirs[1])
    assert float(relational(student, teacher)) == pytest.approx(expected, abs=1e-9)


def test_relational_ignores_rotation_and_scale(batch):
    student = batch[0]
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert float(relational(student, 3 * student @ rotation)) == pytest.approx(0, abs=1e-12)


def test_the_cross_entropy_prefers_the_first_column():
    good, bad = (
        torch.tensor([[0.9, 0.1, 0.2]], dtype=torch.float64),
        torch.tensor([[0.1, 0.9, 0.2]], dtype=torch.float64),
    )
    expected = -np.log(np.exp(9) / (np.exp(9) + np.exp(1) + np.exp(2)))
    assert float(positive_cross_entropy(good, 0.1)) == pytest.approx(expected, rel=1e-5)
    assert positive_cross_entropy(good, 0.1) < positive_cross_entropy(bad, 0.1)


def test_patch_drift_is_the_mean_of_one_minus_cosine():
    generator = torch.Generator().manual_seed(0)
    patches, before = (
        torch.nn.functional.normalize(torch.randn(3, 4, 5, dtype=torch.float64, generator=generator), dim=-1)
        for _ in range(2)
    )
    expected = np.mean([1 - float(patches[i, p] @ before[i, p]) for i in range(3) for p in range(4)])
    assert float(patch_drift(patches, before)) == pytest.approx(expected, abs=1e-12)
    assert float(patch_drift(patches, patches)) == pytest.approx(0, abs=1e-12)
