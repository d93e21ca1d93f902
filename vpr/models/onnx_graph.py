"""Networks for ONNX Runtime: the graph of an architecture, exported once, and the weights of a model put into it.

Exporting takes seconds, because torch traces the network. The graph depends on the architecture alone and is kept, so a
model with other weights takes a fraction of the time (0.3 s for the network in the box): another run, or the same model
later in its training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from vpr.base.errors import VprError
from vpr.base.files import cache_folder, replace_file, work_lock
from vpr.models.builtin import FOLDER
from vpr.models.descriptors import Descriptors
from vpr.models.folding import plain_copy
from vpr.models.onnx_network import INPUT, OUTPUTS, TOLERANCE, largest_gap, open_session

if TYPE_CHECKING:
    import onnx_ir

log = logging.getLogger("vpr")

METADATA = "vpr"  # the key of an exported file's metadata
PREFIX = "model."  # of the names of weights in a graph
FORMAT = 1  # of kept graphs; raise it if the forward pass of a model changes


class _Exported(nn.Module):
    """A model with a tuple of tensors as output, of those that it has."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        described: Descriptors = self.model(images)
        return tuple(part for part in described if part is not None)


def build_network(model: Any) -> onnx_ir.Model:
    """The optimised graph of a model on the CPU, with its weights.

    Raises ImportError if a package is missing, VprError if the network cannot be exported or its descriptors would
    differ by more than `TOLERANCE`.
    """
    import onnx_ir
    import onnxruntime  # noqa: F401  a missing package is found before the work
    import onnxscript.optimizer  # noqa: F401

    plain, name = plain_copy(model), f"{architecture_of(model)}.onnx"
    path = cache_folder("graphs") / name
    with work_lock(path.with_suffix(".lock")):
        for known in (FOLDER / name, path):
            if known.is_file():
                try:
                    return _with_weights(onnx_ir.load(known), plain)
                except Exception:  # noqa: BLE001  damaged, or of other versions of the libraries: exported again
                    log.info("%s cannot be used", known)
        log.info("exporting the network for ONNX Runtime, once for this architecture (5 to 20 s)")
        kept = serialize(without_weights(_export(plain)))
        with contextlib.suppress(OSError), replace_file(path) as temporary:  # without a cache it is exported each time
            temporary.write_bytes(kept)
    try:
        return _with_weights(_deserialize(kept), plain)
    except VprError:
        raise
    except Exception as error:  # of protobuf, beyond 2 GiB, and of ONNX Runtime for an operation that it lacks
        raise _export_error(error) from error


def _with_weights(graph: onnx_ir.Model, plain: Any) -> onnx_ir.Model:
    """The optimised graph with the weights of a model; raises VprError if its descriptors differ from the model's."""
    import onnx_ir
    import onnxscript.optimizer

    weights = {**dict(plain.named_buffers()), **dict(plain.named_parameters())}
    for name, value in graph.graph.initializers.items():
        if name.startswith(PREFIX):
            array = weights[name.removeprefix(PREFIX)].detach().contiguous().numpy()
            value.const_value = onnx_ir.tensor(array, name=name)
            value.shape = onnx_ir.Shape(array.shape)
    with _silenced():
        onnxscript.optimizer.optimize(graph)
    difference = largest_difference(plain, open_session(serialize(graph), torch.get_num_threads()), images=2)
    if not difference <= TOLERANCE:
        problem = f"the exported network differs from the model by up to {difference:.1e}, more than {TOLERANCE:g}"
        raise VprError(problem, remedy="describe by torch: VPR_ENGINE=torch")
    return graph


def export_onnx(model: Any, path: Path, metadata: Mapping[str, Any]) -> float:
    """Write a model on the CPU as an ONNX file, atomically; metadata: of JSON types, kept in the file.

    Returns the largest difference to the model for ten random images. Raises ImportError and VprError as
    `build_network`.
    """
    graph = build_network(model)
    graph.metadata_props[METADATA] = json.dumps(dict(metadata))
    content = serialize(graph)
    difference = largest_difference(plain_copy(model), open_session(content, torch.get_num_threads()), images=10)
    with replace_file(path) as temporary:
        temporary.write_bytes(content)
    return difference


def serialize(graph: onnx_ir.Model) -> bytes:
    """A graph as the bytes of an ONNX file."""
    import onnx_ir

    content: bytes = onnx_ir.serde.serialize_model(graph).SerializeToString()
    return content


def _deserialize(content: bytes) -> onnx_ir.Model:
    """The inverse of `serialize`."""
    import onnx
    import onnx_ir

    return onnx_ir.serde.deserialize_model(onnx.ModelProto.FromString(content))


def architecture_of(model: Any) -> str:
    """What the graph of a model depends on, beside its weights: 16 hexadecimal digits.

    Raises VprError for a model of third-party code.
    """
    if not dataclasses.is_dataclass(getattr(model, "config", None)):
        raise VprError(f"{type(model).__name__} is not exported")
    known = {"format": FORMAT, "model": type(model).__name__, **dataclasses.asdict(model.config)}
    if not known.get("patch_weights"):  # names of graphs from before are kept
        known.pop("patch_weights", None)
    known |= {"whitened": getattr(model, "whitened", None)}  # a step of a teacher's forward pass
    for name in ("weights", "crop", "train_size"):  # these do not change the graph
        known.pop(name, None)
    shapes = [(name, tuple(value.shape)) for name, value in sorted(model.state_dict().items())]
    return hashlib.sha256(repr((sorted(known.items()), shapes)).encode()).hexdigest()[:16]


def _export(plain: Any) -> onnx_ir.Model:
    height, width = plain.input_size
    sample = torch.zeros(2, 3, height, width, dtype=torch.uint8)
    try:
        with _silenced(), torch.no_grad():
            program = torch.onnx.export(
                _Exported(plain), (sample,), dynamo=True, optimize=False, verbose=False, input_names=[INPUT],
                output_names=list(OUTPUTS), dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            )  # fmt: skip
    except ImportError:
        raise
    except Exception as error:  # the exporter raises many kinds
        raise _export_error(error) from error
    assert program is not None
    graph = program.model
    parts: list[Any] = [graph, graph.graph, *graph.graph.all_nodes()]
    for function in graph.functions.values():
        parts += [function, *function.all_nodes()]
    for part in parts:
        part.metadata_props.clear()  # the lines of source code, with the folders of this machine
    return graph


def _export_error(error: Exception) -> VprError:
    """The error for one of the exporter or of ONNX Runtime, some of which have a report of many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    problem = f"the network cannot be exported to ONNX ({lines[0] if lines else type(error).__name__})"
    return VprError(problem, remedy="describe by torch: VPR_ENGINE=torch")


def without_weights(graph: onnx_ir.Model) -> onnx_ir.Model:
    """A graph whose weights are empty arrays, to be kept in a small file."""
    import onnx_ir

    small = graph.clone()
    for name, value in small.graph.initializers.items():
        assert value.const_value is not None
        if name.startswith(PREFIX):
            value.const_value = onnx_ir.tensor(np.zeros(0, value.const_value.numpy().dtype), name=name)
    return small


def largest_difference(model: Any, session: Any, images: int) -> float:
    """The largest difference between the descriptors of a model and of a session, for random images."""
    height, width = model.input_size
    rng = np.random.default_rng(0)
    small = torch.from_numpy(rng.integers(0, 256, (images, 3, 12, 12)).astype(np.float32))
    smooth = nn.functional.interpolate(small, (height, width), mode="bicubic")
    noisy = (smooth + torch.from_numpy(rng.normal(0, 8, (1, 1, height, width)))).clamp(0, 255).to(torch.uint8)
    with torch.no_grad():
        wanted = _Exported(model)(noisy)
    return largest_gap(session.run(None, {INPUT: noisy.numpy()}), [part.numpy() for part in wanted])


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Without the warnings and the prints of the exporter."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
