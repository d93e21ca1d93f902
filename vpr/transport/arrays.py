"""Operations that numpy and torch name differently: one function for each.

The public functions of transport take numpy arrays or torch tensors and return the same kind. Torch is imported only by
functions that take or make a tensor, so that users of numpy need not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

# One of the two kinds. All arguments of this type in one call are of the same kind.
Array = TypeVar("Array", np.ndarray, "torch.Tensor")
OtherArray = TypeVar("OtherArray", np.ndarray, "torch.Tensor")
AnyArray: TypeAlias = "np.ndarray | torch.Tensor"


def is_torch(array: object) -> TypeIs[torch.Tensor]:
    """Whether an array is a torch tensor."""
    return not isinstance(array, np.ndarray) and type(array).__module__.startswith("torch")


def is_on_cuda(array: AnyArray) -> bool:
    """Whether an array is a tensor on a CUDA device."""
    return is_torch(array) and array.is_cuda


def needs_gradient(*arrays: AnyArray | None) -> bool:
    """Whether torch records gradients of any of the arrays."""
    if not any(is_torch(array) and array.requires_grad for array in arrays):
        return False
    import torch

    return torch.is_grad_enabled()


def to_numpy(array: AnyArray) -> np.ndarray:
    """An array as numpy: a tensor of any device, without its gradient."""
    return array if isinstance(array, np.ndarray) else array.numpy(force=True)


def to_tensor(array: AnyArray) -> torch.Tensor:
    """An array as a torch tensor. Read-only memory is copied, because torch warns of it."""
    import torch

    return array if is_torch(array) else torch.as_tensor(array if array.flags.writeable else array.copy())


def to_cuda(array: AnyArray) -> torch.Tensor:
    """An array as a torch tensor on the CUDA device, if there is one. A tensor stays on its device."""
    import torch

    if is_torch(array):
        return array
    tensor = to_tensor(array)
    return tensor.cuda() if torch.cuda.is_available() else tensor


def to_kind_of(example: Array, array: AnyArray) -> Array:
    """An array as the kind of the example: numpy, or a torch tensor on the device of the example."""
    return to_numpy(array) if isinstance(example, np.ndarray) else to_tensor(array).to(example.device)


def detach(array: Array) -> Array:
    """An array without its gradient."""
    return array.detach() if is_torch(array) else array


def widen(array: Array) -> Array:
    """Half precision as float32, anything wider as it is."""
    if array.dtype.itemsize >= 4:
        return array
    return array.float() if is_torch(array) else array.astype(np.float32)


def exp(array: Array) -> Array:
    """Exponentials, element by element."""
    return array.exp() if is_torch(array) else np.asarray(np.exp(array))


def minimum(left: Array, right: Array) -> Array:
    """The smaller of two numbers, element by element."""
    return left.minimum(right) if is_torch(left) else np.asarray(np.minimum(left, right))


def remove_negative(array: Array) -> Array:
    """Zero in place of each negative number."""
    result: Array = array.clip(0, None)
    return result


def maximum_along(array: Array, axis: int) -> Array:
    """Maximum along an axis."""
    if is_torch(array):
        return array.amax(axis)
    largest: np.ndarray = array.max(axis)
    return largest


def sort_descending(values: Array, weights: Array) -> tuple[Array, Array]:
    """Values (N, P) sorted from the largest of each row on, and the weights (N, P) in the same order."""
    if is_torch(values):
        order = values.argsort(-1, descending=True)
        return values.gather(-1, order), weights.gather(-1, order)
    places = np.argsort(-values, axis=-1)
    return np.take_along_axis(values, places, -1), np.take_along_axis(weights, places, -1)


def repeat_rows(weights: Array, pairs: int) -> Array:
    """Weights (N, P): those of shape (P,) for each of N pairs, without a copy; those of shape (N, P) as they are."""
    if weights.ndim == 2:
        return weights
    shape = (pairs, len(weights))
    return weights.expand(shape) if is_torch(weights) else np.broadcast_to(weights, shape)


def multiply_vectors(patches: Array, descriptors: Array) -> Array:
    """Products (..., P) of patches (..., P, C) with descriptors (..., C), broadcast: numpy in float32, torch in the
    precision of the patches, float32 at least."""
    if is_torch(patches):
        import torch

        kind = patches.dtype if patches.dtype.itemsize >= 4 else torch.float32
        return (patches.to(kind) @ descriptors.to(kind)[..., None])[..., 0]
    rows, vectors = (array.astype(np.float32, copy=False) for array in (patches, descriptors))
    return np.asarray(np.matmul(rows, vectors[..., None])[..., 0])
