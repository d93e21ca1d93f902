"""Product quantisation of patches: against plain NumPy, and what codes keep."""

import numpy as np
import pytest

from vpr.patch_codes import CENTROIDS, PatchCodes


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(
    scope="module", params=[(112, 28), (112, 14), (30, 14), (20, 28)], ids=lambda shape: "x".join(map(str, shape))
)
def fitted(request):
    """Codes, and 700 patches that they are fitted to: one dimension is padded, one has fewer numbers than bytes."""
    dim, parts = request.param
    patches = unit(np.random.default_rng(0).standard_normal((700, dim)) + 0.3)
    return PatchCodes.fit(patches, parts), patches


def plain_decode(codes, numbers):
    vectors = np.concatenate([book[part] for book, part in zip(codes.codebooks, numbers.T)], axis=1)[:, : codes.dim]
    return unit(vectors)


def test_a_patch_gets_the_nearest_centroid_of_each_part(fitted):
    codes, patches = fitted
    parts, _, size = codes.codebooks.shape
    padded = np.zeros((len(patches), parts * size))
    padded[:, : codes.dim] = patches
    pieces = padded.reshape(len(patches), parts, 1, size)
    distances = ((pieces - codes.codebooks) ** 2).sum(-1)
    found = np.take_along_axis(distances, codes.encode(patches)[..., None].astype(int), 2)[..., 0]
    np.testing.assert_allclose(found, distances.min(2), atol=1e-6)


def test_decoding_is_that_of_plain_numpy(fitted):
    codes, _ = fitted
    numbers = np.random.default_rng(1).integers(0, CENTROIDS, (300, len(codes.codebooks)), np.uint8)
    decoded, expected = codes.decode(numbers), plain_decode(codes, numbers)
    assert decoded.dtype == np.float16 and decoded.shape == (300, codes.dim)
    np.testing.assert_allclose(decoded, expected, rtol=1e-3, atol=1e-7)  # half precision
    assert (decoded == expected.astype(np.float16)).mean() > 0.99


def test_codes_do_not_depend_on_the_other_patches(fitted):
    codes, patches = fitted
    whole, order = codes.encode(patches.reshape(7, 100, -1)), np.random.default_rng(2).permutation(7)
    assert whole.shape == (7, 100, len(codes.codebooks))
    assert np.array_equal(codes.encode(patches.reshape(7, 100, -1)[order]), whole[order])
    assert np.array_equal(codes.encode(patches[5:6]), whole.reshape(700, -1)[5:6])
    into = np.empty((7, 100, codes.dim), np.float16)
    assert codes.decode(whole[order], into) is into and np.array_equal(into, codes.decode(whole)[order])


def test_twice_the_bytes_keep_more():
    patches = unit(np.random.default_rng(0).standard_normal((3000, 56)) @ np.random.default_rng(1).random((56, 56)))
    errors = []
    for parts in (14, 28):
        codes = PatchCodes.fit(patches, parts)
        errors.append(1 - np.einsum("nc,nc->n", patches, codes.decode(codes.encode(patches))).mean())
    assert errors[1] < errors[0] / 2 and errors[0] < 0.1


def test_zeros_small_numbers_and_the_same_seed():
    books = np.zeros((14, CENTROIDS, 2), np.float32)
    books[0, 1] = 1, 3e-6  # a subnormal number of half precision
    books[0, 2] = -1, 2.0**-26  # less than the smallest
    codes = PatchCodes(books, 28)
    numbers = np.zeros((3, 14), np.uint8)
    numbers[:, 0] = 0, 1, 2
    decoded = codes.decode(numbers)
    assert not decoded[0].any() and decoded[1, 0] == 1 and decoded[1, 1] == np.float16(3e-6)
    assert decoded[2, 0] == -1 and decoded[2, 1] == 0
    patches = unit(np.random.default_rng(3).standard_normal((300, 28)))
    first, second = (PatchCodes.fit(patches, 14, seed=4).codebooks for _ in range(2))
    assert np.array_equal(first, second)
    with pytest.raises(ValueError, match="255 patches are too few"):
        PatchCodes.fit(patches[:255], 14)
