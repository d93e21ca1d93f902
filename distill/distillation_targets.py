"""Teachers of every kind, from ``--teacher`` to the descriptors that a student follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from vpr.base.errors import VprError
from vpr.base.processes import spans_machines
from vpr.description.foreign import ForeignDescriptors, is_foreign, read_foreign
from vpr.description.model_spec import cache_spec
from vpr.distill.data import TrainingData
from vpr.distill.settings import DistillOptions, StudentSettings, TeacherSettings, default_teacher, identity_of
from vpr.distill.student import check_descriptor_length
from vpr.distill.teacher import check_image_count, fit_teacher
from vpr.distill.training.teacher_descriptors import DrawnDescriptors, GivenDescriptors, TeacherDescriptors
from vpr.models.builtin import split_run
from vpr.models.engine import DescribingEngine
from vpr.models.hub import HubModel, is_hub, load_hub
from vpr.models.loading import TEACHER, load_teacher, save_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.settings import HubOptions

Teacher = NetVLAD | HubModel | ForeignDescriptors


@dataclass(frozen=True)
class TeacherSource:
    """The teacher of a student: a given one, or a NetVLAD that is fitted before the student is trained."""

    teacher: Teacher | None  # None: a NetVLAD is fitted
    student: StudentSettings
    describe_all: bool = False  # before the first step

    @classmethod
    def load(cls, options: DistillOptions, hub: HubOptions, student: StudentSettings, fabric: Fabric) -> TeacherSource:
        """With the teacher that ``--teacher`` names, or a NetVLAD to fit if the option is left out.

        Raises VprError as the loader of the teacher does, and for descriptors of the wrong length.
        """
        if options.teacher is None:
            return cls(None, student, options.teacher_pass)
        with fabric.rank_zero_first():  # it may have to be downloaded
            teacher = open_teacher(options.teacher, hub, fabric.device)
        check_descriptor_length(student, teacher.dim)
        return cls(teacher, student, options.teacher_pass)

    def check(self, data: TrainingData) -> None:
        """Raise VprError if the photos are too few to fit a teacher, or if a file of descriptors lacks some."""
        if self.teacher is None:
            check_image_count(self._fit_settings(data).teacher.dim, len(data.photos.paths))
        elif isinstance(self.teacher, ForeignDescriptors):
            self.teacher.look_up(data.photos.paths)

    def identity(self, data: TrainingData) -> dict[str, Any]:
        """The entry ``taught_by`` of config.json."""
        if self.teacher is None:
            return {"fitted": identity_of(self._fit_settings(data))}
        return {"fingerprint": teacher_fingerprint(self.teacher)}

    def targets(self, data: TrainingData, out: Path, fabric: Fabric) -> TeacherDescriptors:
        """The teacher's descriptors of the training photos. A NetVLAD is saved in the run folder."""
        teacher = self.teacher
        if teacher is None:
            teacher = fit_teacher(self._fit_settings(data), data, out / TEACHER, fabric, overwrite=False)
        elif fabric.is_global_zero and isinstance(teacher, NetVLAD):
            save_teacher(teacher, out / TEACHER)
        descriptors = teacher_descriptors(teacher, data, out, fabric)
        if self.describe_all and isinstance(descriptors, DrawnDescriptors):
            descriptors.describe_all()
        return descriptors

    def _fit_settings(self, data: TrainingData) -> TeacherSettings:
        return default_teacher(self.student.train.seed, self.student.model, len(data.photos.paths))


def open_teacher(source: Path, hub: HubOptions, device: torch.device) -> Teacher:
    """The teacher that ``--teacher`` names: a model of torch.hub, a file of descriptors, or a NetVLAD.

    Raises VprError if it is missing or damaged.
    """
    if is_hub(source):
        return load_hub(source, hub, device)
    if is_foreign(source):
        return read_foreign(source)
    if split_run(source)[1]:
        raise VprError(f"{source}: a teacher has one input size", thing=source, remedy="leave @SIZExGRID out")
    return load_teacher(source, device)


def teacher_descriptors(
    teacher: Teacher, data: TrainingData, out: Path, fabric: Fabric
) -> GivenDescriptors | DrawnDescriptors:
    """A teacher's descriptors of the training photos.

    Those of a network are cached in the run folder, unless processes of several machines train: these cannot fill one
    cache. Raises VprError if a file of descriptors lacks some photos.
    """
    if isinstance(teacher, ForeignDescriptors):
        return GivenDescriptors(teacher.look_up(data.photos.paths))
    if isinstance(teacher, NetVLAD):
        teacher.engine = DescribingEngine("auto", fabric.device)
    cache = None if spans_machines() else out / "cache" / f"{TEACHER}-{teacher_fingerprint(teacher)}.h5"
    return DrawnDescriptors(teacher, data.root, data.photos.paths, fabric, cache)


def teacher_fingerprint(teacher: Teacher) -> str:
    """A digest of the settings and weights that determine a teacher's descriptors."""
    return teacher.fingerprint if isinstance(teacher, ForeignDescriptors) else cache_spec(teacher).fingerprint
