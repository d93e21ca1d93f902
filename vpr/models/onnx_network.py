"""The network of a model for ONNX Runtime on the CPU, and the choice of an engine. Torch is not needed for either."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from vpr.base.errors import VprError
from vpr.base.machine import thread_count

Engine = Literal["auto", "onnx", "torch"]
VARIABLE = "VPR_ENGINE"  # environment variable: the engine that ``auto`` means
INPUT, OUTPUTS = "images", ("global", "patches", "weights")  # the names in a graph
LARGE_PIXELS = 384 * 384  # of an image, from which on memory is given back after each call: VGG-16 takes 0.4 GB
TOLERANCE = 1e-4  # maximum difference of a descriptor's numbers from the model's; rounding takes about 1e-6


class OnnxNetwork:
    """A network that ONNX Runtime runs. It can be copied and sent to other processes."""

    def __init__(self, network: bytes) -> None:
        """network: the content of an ONNX file."""
        self.network = network
        self._session: Any = None
        self._threads = 0

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Images (B, 3, H, W) uint8 to global descriptors (B, G), patch descriptors (B, P, C), and learnt weights of
        the patches (B, P), float32; a model may lack the last, or the last two.

        Raises ImportError if ONNX Runtime is not installed.
        """
        threads = thread_count()
        if self._session is None or threads != self._threads:
            self._session, self._threads = open_session(self.network, threads), threads
        options = _give_memory_back() if images.shape[2] * images.shape[3] >= LARGE_PIXELS else None
        return tuple(self._session.run(None, {INPUT: images}, options))

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "_session": None, "_threads": 0}


def largest_gap(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest difference of the outputs of two networks; NaN if one is NaN.

    Weights are compared as multiples of an equal share.
    """
    scales = 1, 1, wanted[-1].shape[1]
    gaps = [scale * np.abs(a - b).max() for a, b, scale in zip(found, wanted, scales[: len(wanted)], strict=True)]
    return float(np.max(gaps))


def _give_memory_back() -> Any:
    """The options of a call whose memory the session does not keep for the next one."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def open_session(network: bytes, threads: int) -> Any:
    """A session of ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def choose_engine(name: Engine) -> Engine:
    """The engine of a name; ``auto`` is the environment variable, or else stays ``auto``.

    Raises VprError for an unknown name.
    """
    if name not in get_args(Engine):
        remedy = f"pass one of {', '.join(get_args(Engine))}"
        raise VprError(f"there is no engine {name!r}", thing="engine", remedy=remedy)
    if name != "auto":
        return name
    meant = os.environ.get(VARIABLE, "auto")
    if meant not in get_args(Engine):
        problem = f"the environment variable {VARIABLE} is {meant!r}"
        raise VprError(problem, thing=VARIABLE, remedy=f"set it to one of {', '.join(get_args(Engine))}")
    return meant  # type: ignore[return-value]  # checked above
