"""The weights in the box: they load without a network or a package, and are small."""

import numpy as np
import torch

from vpr.base.run_folder import read_metrics
from vpr.models.builtin import FOLDER, NAME, descriptor_folder, resolve_run
from vpr.models.loading import load_student, load_teacher
from vpr.models.netvlad import NetVLAD
from vpr.models.structural import StructuralModel

CPU = torch.device("cpu")


def test_the_box_is_small_and_has_a_card():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.safetensors")) < 8_000_000
    card = (FOLDER / "README.md").read_text()
    assert "Apache-2.0" in card and "Limits" in card and (FOLDER.parents[2] / "NOTICE").is_file()


def test_student_and_teacher_describe_images_without_the_package_of_their_start(seams):
    rng = np.random.default_rng(0)
    student, teacher = load_student(run_of_name(), CPU), load_teacher(run_of_name(), CPU)
    start = seams.replace("vpr.models.backbone.load_imagenet", lambda *rest: None)
    assert StructuralModel(student.config) and NetVLAD(teacher.config) and start.calls == 2  # one to be trained does
    start.forbid()
    student, teacher = load_student(run_of_name(), CPU), load_teacher(run_of_name(), CPU)
    for model, patches in ((student, 100), (teacher, None)):
        image = torch.from_numpy(rng.integers(0, 255, (1, 3, *model.input_size), dtype=np.uint8))
        with torch.no_grad():
            found = model(image)
        assert torch.isfinite(found.global_descriptor).all() and found.global_descriptor.shape == (1, 128)
        assert (None if patches is None else found.patch_descriptors.shape[1]) == patches
    assert float(student.mean.flatten()[0]) * 255 == float(teacher.mean.flatten()[0]) * 255 != 127.5


def run_of_name():
    return type(FOLDER)(NAME)


def test_its_caches_lie_in_the_users_cache(tmp_path):
    assert resolve_run(tmp_path) == tmp_path and descriptor_folder(tmp_path) == tmp_path / "cache"
    assert resolve_run(run_of_name()) == FOLDER and not descriptor_folder(FOLDER).is_relative_to(FOLDER)
    assert {"weight", "mass", "marginals", "epsilon"} <= set(read_metrics(FOLDER)["calibration"])
