"""Product quantisation of patches: against plain NumPy, and what codes keep."""

import numpy as np
import pytest

from vpr.patch_codes import CENTROIDS, PatchCodes


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def smooth_images(images, side, dim, seed=0):
    """Images (images, side * side, dim) of unit vectors, whose neighbours on the grid are alike."""
    grid = np.random.default_rng(seed).standard_normal((images, side + 2, side + 2, dim)) + 0.1
    near = sum(grid[:, row : row + side, column : column + side] for row in range(3) for column in range(3))
    return unit(near.reshape(images, side * side, dim))


@pytest.fixture(
    scope="module",
    params=[(112, 28, 3), (112, 14, 2), (30, 14, 4), (20, 28, 3)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def fitted(request):
    """Codes, and images that they are fitted to: one dimension is padded, one has fewer numbers than bytes."""
    dim, parts, side = request.param
    patches = smooth_images(90, side, dim)
    return PatchCodes.fit(patches, parts), patches


def predict(codes, decoded, row, column):
    """The prediction (N, C) of a patch from decoded ones (N, side, side, C), by its definition."""
    left = decoded[:, row, column - 1] if column else 0
    upper = decoded[:, row - 1, column] if row else 0
    if not row and not column:
        return np.zeros_like(decoded[:, 0, 0])
    weights = codes.prediction[2 if row and column else 1 if row else 0]
    return weights[0] * left + weights[1] * upper


def centroids_of(codes, numbers):
    """The centroids (N, C) of the codes (N, M) of one patch of each image."""
    return np.concatenate([book[part] for book, part in zip(codes.codebooks, numbers.T)], axis=1)[:, : codes.dim]


def plain_decode(codes, numbers):
    """Decoded patches (N, side, side, C), before they become unit vectors, by its definition."""
    images, count, _ = numbers.shape
    side = round(count**0.5)
    decoded, numbers = np.zeros((images, side, side, codes.dim)), numbers.reshape(images, side, side, -1)
    for row in range(side):
        for column in range(side):
            added = centroids_of(codes, numbers[:, row, column])
            decoded[:, row, column] = predict(codes, decoded, row, column) + added
    return decoded


def test_what_a_prediction_lacks_gets_the_nearest_centroid_of_each_part(fitted):
    codes, patches = fitted
    parts, _, size = codes.codebooks.shape
    numbers = codes.encode(patches)
    decoded = plain_decode(codes, numbers)
    side = decoded.shape[1]
    for patch in range(side * side):
        rest = np.zeros((len(patches), parts * size))
        rest[:, : codes.dim] = patches[:, patch] - predict(codes, decoded, *divmod(patch, side))
        distances = ((rest.reshape(len(patches), parts, 1, size) - codes.codebooks) ** 2).sum(-1)
        found = np.take_along_axis(distances, numbers[:, patch, :, None].astype(int), 2)[..., 0]
        np.testing.assert_allclose(found, distances.min(2), atol=1e-5)


def test_decoding_is_that_of_plain_numpy(fitted):
    codes, patches = fitted
    numbers = np.random.default_rng(1).integers(0, CENTROIDS, (30, patches.shape[1], len(codes.codebooks)), np.uint8)
    decoded = codes.decode(numbers)
    expected = unit(plain_decode(codes, numbers)).reshape(decoded.shape)
    assert decoded.dtype == np.float16 and decoded.shape == (30, patches.shape[1], codes.dim)
    np.testing.assert_allclose(decoded, expected, rtol=1e-3, atol=1e-6)  # half precision
    assert (decoded == expected.astype(np.float16)).mean() > 0.99


def test_codes_do_not_depend_on_the_other_images(fitted):
    codes, patches = fitted
    whole, order = codes.encode(patches), np.random.default_rng(2).permutation(len(patches))
    assert whole.shape == (*patches.shape[:2], len(codes.codebooks))
    assert np.array_equal(codes.encode(patches[order]), whole[order])
    assert np.array_equal(codes.encode(patches[5:6]), whole[5:6])
    into = np.empty((*patches.shape[:2], codes.dim), np.float16)
    assert codes.decode(whole[order], into) is into and np.array_equal(into, codes.decode(whole)[order])


def mean_error(codes, patches):
    return 1 - np.einsum("npc,npc->np", patches, codes.decode(codes.encode(patches))).mean()


def test_twice_the_bytes_keep_more_and_so_does_the_prediction():
    patches = smooth_images(150, 5, 28)
    coarse, fine = (PatchCodes.fit(patches, parts) for parts in (7, 14))
    assert mean_error(fine, patches) < mean_error(coarse, patches) / 2
    shuffled = patches[:, np.random.default_rng(3).permutation(25)]  # neighbours are not alike any more
    assert mean_error(coarse, patches) < 0.8 * mean_error(PatchCodes.fit(shuffled, 7), shuffled)


def test_the_prediction_is_found_again():
    rng = np.random.default_rng(0)
    grid = rng.standard_normal((300, 4, 4, 14)).astype(np.float32)
    for row in range(1, 4):
        for column in range(1, 4):
            grid[:, row, column] += 0.6 * grid[:, row, column - 1] - 0.3 * grid[:, row - 1, column]
    prediction = PatchCodes.fit(grid.reshape(300, 16, 14), 7).prediction
    np.testing.assert_allclose(prediction, [[0, 0], [0, 0], [0.6, -0.3]], atol=0.04)


def test_patches_that_are_no_square_grid_are_predicted_from_the_left_alone():
    patches = smooth_images(60, 4, 28)[:, :10]
    codes = PatchCodes.fit(patches, 14)
    assert codes.prediction[0, 0] != 0 and not codes.prediction[1:].any() and not codes.prediction[0, 1]
    assert mean_error(codes, patches) < 0.1


def test_images_that_are_all_alike_are_encoded():
    patches = np.broadcast_to(unit(np.ones(28)), (40, 9, 28))
    codes = PatchCodes.fit(patches, 14)
    assert mean_error(codes, patches) < 1e-3


def test_zeros_small_numbers_and_the_same_seed():
    books = np.zeros((14, CENTROIDS, 2), np.float32)
    books[0, 1] = 1, 3e-6  # a subnormal number of half precision
    books[0, 2] = -1, 2.0**-26  # less than the smallest
    codes = PatchCodes(books, 28, np.zeros((3, 2), np.float32))
    numbers = np.zeros((1, 3, 14), np.uint8)
    numbers[0, :, 0] = 0, 1, 2
    decoded = codes.decode(numbers)[0]
    assert not decoded[0].any() and decoded[1, 0] == 1 and decoded[1, 1] == np.float16(3e-6)
    assert decoded[2, 0] == -1 and decoded[2, 1] == 0
    patches = unit(np.random.default_rng(3).standard_normal((75, 4, 28)))
    first, second = (PatchCodes.fit(patches, 14, seed=4) for _ in range(2))
    assert np.array_equal(first.codebooks, second.codebooks) and np.array_equal(first.prediction, second.prediction)
    with pytest.raises(ValueError, match="252 patches are too few"):
        PatchCodes.fit(patches[:63], 14)
