"""Run folders of trainings: identity, opening, and the code that a run depends on."""

import pytest
from training import CPU

from vpr.base.errors import VprError
from vpr.base.processes import launch_fabric
from vpr.base.run_folder import METRICS, ROOT, TRAINING_CODE, WEIGHTS
from vpr.datasets.held_out import HeldOut
from vpr.distill.data import TrainingData
from vpr.distill.runs import open_run, run_identity
from vpr.distill.settings import ObjectiveConfig, StructuralConfig, StudentSettings, TrainConfig
from vpr.models.settings import ModelConfig


def identity(**train):
    settings = StudentSettings(ModelConfig(), ObjectiveConfig(), StructuralConfig(), TrainConfig(**train))
    data = TrainingData(None, None, {"cities": ["a"]}, HeldOut("cph"))
    return run_identity("vpr.scratch", settings, data, taught_by=None)


def test_the_identity_has_what_changes_the_result():
    assert identity(workers=3, checkpoint_every=7, tensorboard=True) == identity() != identity(seed=1)
    assert "validated_on" not in identity() and identity(validate_every=5)["validated_on"] == "cph"
    assert identity()["command"] == "vpr.scratch" and identity()["data"] == {"cities": ["a"]}
    assert identity()["taught_by"] is None


def test_a_run_is_opened_until_it_is_complete(tmp_path):
    fabric, out = launch_fabric(CPU), tmp_path / "run"
    assert not open_run(fabric, out, identity(), overwrite=False, write_log=False)
    assert not open_run(fabric, out, identity(), overwrite=False, write_log=False)
    for name in (WEIGHTS, METRICS):
        (out / name).write_text("{}")
    assert open_run(fabric, out, identity(), overwrite=False)
    with pytest.raises(VprError, match="holds a run with other settings"):
        open_run(fabric, out, identity(seed=1), overwrite=False)
    assert not (out / "log.txt").exists()


def test_a_run_depends_on_every_file_of_the_training_code():
    covered = {path.resolve() for pattern in TRAINING_CODE for path in ROOT.glob(pattern)}
    assert {path.resolve() for path in (ROOT / "vpr/distill/").rglob("*.py")} <= covered
    assert ROOT / "distill/training/trainer.py" in covered
