"""Teachers of every kind, and what a student is to follow: their descriptors of the training photos."""

from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from vpr.base.processes import several_machines
from vpr.description.foreign import ForeignDescriptors, is_foreign, read_foreign
from vpr.description.images import ImageFiles
from vpr.description.into_cache import Filling, describe_into_cache
from vpr.description.spec import cache_spec
from vpr.distill.data import TrainingData
from vpr.distill.parallel import describe_together
from vpr.models.hub import HubModel, is_hub, load_hub
from vpr.models.loading import TEACHER, load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import HubConfig

Teacher = NetVLAD | HubModel | ForeignDescriptors


def load_any(source: Path, hub: HubConfig, device: torch.device) -> Teacher:
    """The teacher that ``--teacher`` names. Raises VprError as the loader of its kind does."""
    if is_hub(source):
        return load_hub(source, hub, device)
    return read_foreign(source) if is_foreign(source) else load_teacher(source, device)


def teacher_targets(teacher: Teacher, data: TrainingData, out: Path, fabric: Fabric, workers: int) -> np.ndarray:
    """The teacher's descriptors of the training photos, (N, C) float32; a model's are kept in the run's cache folder,
    which processes of several machines cannot fill together. Raises VprError where a file lacks some."""
    if isinstance(teacher, ForeignDescriptors):
        return teacher.of(data.photos.paths)
    if several_machines():
        images = ImageFiles.of(data.root, data.photos.paths, teacher)
        return describe_together(fabric, teacher, images, np.arange(len(images)), workers, "teacher")
    cache = out / "cache" / f"{TEACHER}-{fingerprint_of(teacher)}.h5"
    how = Filling(workers, fabric=fabric)
    filled = describe_into_cache(cache, teacher, data.root, data.photos.paths, fabric.device, how).cache
    return np.asarray(filled.globals_[filled.rows(data.photos.paths)])


def fingerprint_of(teacher: Teacher) -> str:
    """What makes one teacher's descriptors differ from another's."""
    return teacher.fingerprint if isinstance(teacher, ForeignDescriptors) else cache_spec(teacher).fingerprint
