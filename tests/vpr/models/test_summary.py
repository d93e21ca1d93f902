"""VLAD and layout against plain loops, and the whitening they share."""

import numpy as np
import pytest
import torch

from vpr.models.summary import PatchSummary, fit_whitening
from vpr.models.vlad import Vlad


def unit_patches(count, patches=5, channels=6, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, patches, channels)).astype(np.float32) + 0.3
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_vlad_is_a_loop_over_patches_and_centres():
    summary, patches = PatchSummary("vlad", (5, 6), 3, 8), unit_patches(60)
    summary.fit(patches, 0.25, 0)
    centres, sharpness = summary.centroids.numpy(), float(summary.sharpness)
    directions = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    for image, found in zip(patches[:4], summary.raw(torch.from_numpy(patches[:4])).numpy()):
        total = np.zeros((3, 6))
        for patch in image:
            weights = np.exp(sharpness * directions @ patch)
            for k, weight in enumerate(weights / weights.sum()):
                total[k] += weight * (patch - centres[k])
        total /= np.linalg.norm(total, axis=1, keepdims=True)
        np.testing.assert_allclose(found, total.ravel() / np.linalg.norm(total), atol=1e-5)


def test_vlad_does_not_know_the_order_of_patches_and_layout_does():
    patches = unit_patches(60)
    for kind, same in (("vlad", True), ("layout", False)):
        summary = PatchSummary(kind, (5, 6), 3, 8)
        summary.fit(patches, 0.25, 0)
        one, other = (summary(torch.from_numpy(np.ascontiguousarray(p))) for p in (patches[:3], patches[:3, ::-1]))
        assert torch.allclose(one, other, atol=1e-5) == same


def test_a_fit_repeats_and_few_images_leave_dimensions_empty():
    first, second = (PatchSummary("vlad", (5, 6), 3, 8) for _ in range(2))
    for summary in (first, second):
        summary.fit(unit_patches(60), 0.25, 3)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    first.fit(unit_patches(6), 0.25, 0)
    described = first(torch.from_numpy(unit_patches(20)))
    assert not described[:, 5:].any() and torch.allclose(described.norm(dim=1), torch.ones(20))
    with pytest.raises(ValueError, match="1 images are too few to fit a summary"):
        first.fit(unit_patches(1), 0.25, 0)


def test_full_whitening_leaves_unit_covariance():
    patches = unit_patches(400)
    mean, components = fit_whitening(patches, 6, 0.5, 0)
    white = (patches.reshape(-1, 6) - mean) @ components.T
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=2e-3)


def test_shrinkage_is_that_of_more_patches_without_a_direction():
    patches = unit_patches(50)
    flat = patches.reshape(-1, 6).astype(np.float64)
    spread = flat - flat.mean(0)
    scale = np.sqrt((spread**2).sum() / len(flat))  # of directions whose total variance is that of the patches
    added = np.concatenate([scale * np.eye(6), -scale * np.eye(6)])
    prior = 3 * len(flat)
    covariance = (spread.T @ spread + prior * added.T @ added / len(added)) / (len(flat) + prior)
    mean, components = fit_whitening(patches, 6, 0.5, 0, prior)
    np.testing.assert_allclose(components @ covariance @ components.T, np.eye(6), atol=1e-4)
    np.testing.assert_allclose(mean, flat.sum(0) / (len(flat) + prior), rtol=1e-5)
    none, _ = fit_whitening(patches, 6, 0.5, 0)
    np.testing.assert_allclose(mean, none / 4, rtol=1e-4)


def test_vlad_of_arrays_is_that_of_tensors():
    summary, patches = PatchSummary("vlad", (5, 6), 3, 8), unit_patches(60)
    summary.fit(patches, 0.25, 0)
    ours = Vlad.from_arrays(summary.arrays(), 3, 6, 8)(patches)
    np.testing.assert_allclose(ours, summary(torch.from_numpy(patches)).numpy(), atol=1e-6)
    assert ours.dtype == np.float32 and np.abs(ours).max() > 0.1


@pytest.mark.parametrize(
    ("name", "shape"), [("centroids", (3, 5)), ("mean", (17,)), ("components", (8, 17)), ("sharpness", (2,))]
)
def test_arrays_of_another_vlad_are_refused(name, shape):
    arrays = PatchSummary("vlad", (5, 6), 3, 8).arrays()
    Vlad.from_arrays({**arrays, "sharpness": np.ones(1, np.float32)}, 3, 6, 8)  # as in a file
    with pytest.raises(ValueError, match=f"VLAD has arrays of .*{name}"):
        Vlad.from_arrays({**arrays, name: np.zeros(shape, np.float32)}, 3, 6, 8)
    with pytest.raises(ValueError, match="VLAD has arrays of"):
        Vlad.from_arrays({other: array for other, array in arrays.items() if other != name}, 3, 6, 8)
