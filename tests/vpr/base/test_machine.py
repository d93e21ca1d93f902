"""The machine: the device is chosen without torch if there is no GPU, and with torch if there may be one."""

import os
import sys

import pytest
import torch

from vpr.base import machine
from vpr.base.errors import VprError
from vpr.base.machine import choose_device, choose_device_kind, thread_count


@pytest.fixture
def without_torch(monkeypatch):
    """As in a process that has not imported torch."""
    monkeypatch.delitem(sys.modules, "torch")


def refuse(name):
    raise AssertionError("torch is asked")


def test_without_a_driver_the_cpu_is_taken_and_torch_is_not_asked(monkeypatch, without_torch, caplog):
    monkeypatch.setattr(machine, "GPU_DRIVERS", ("/nowhere/nvidia",))
    monkeypatch.setattr(machine, "_present_kind", refuse)
    monkeypatch.setattr(sys, "platform", "linux")
    with caplog.at_level("INFO", "vpr"):
        assert choose_device_kind("auto") == choose_device_kind("cpu") == "cpu"
    assert caplog.messages == [f"device: cpu ({thread_count()} threads)"] * 2


@pytest.mark.parametrize(("name", "drivers"), [("cuda", ()), ("mps", ()), ("auto", (os.devnull,))])
def test_torch_is_asked_for_a_gpu_and_if_there_is_a_driver(monkeypatch, without_torch, name, drivers):
    monkeypatch.setattr(machine, "GPU_DRIVERS", drivers)
    monkeypatch.setattr(machine, "_present_kind", refuse)
    with pytest.raises(AssertionError, match="torch is asked"):
        choose_device_kind(name)


def test_other_systems_show_no_driver(monkeypatch, without_torch):
    monkeypatch.setattr(machine, "GPU_DRIVERS", ())
    for platform, may in (("linux", False), ("darwin", True), ("win32", True)):
        monkeypatch.setattr(sys, "platform", platform)
        assert machine.may_have_gpu() == may


def test_the_best_device_that_is_present_is_taken(seams, caplog):
    seams.replace("torch.cuda.is_available", lambda: True)
    seams.replace("torch.cuda.get_device_name", lambda: "a card")
    with caplog.at_level("INFO", "vpr"):
        assert choose_device("auto") == torch.device("cuda") and choose_device("cpu") == torch.device("cpu")
    assert caplog.messages == ["device: cuda (a card)", f"device: cpu ({torch.get_num_threads()} threads)"]
    seams.replace("torch.cuda.is_available", lambda: False)
    with pytest.raises(VprError, match="device cuda is not available on this machine; pass --device auto or one of"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 2),  # of the processors 0, 1 and 2, of which 0 and 1 are one core
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "99"}, 4),  # all cores of the machine
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,2"}, 1),
        ({"OMP_NUM_THREADS": "all"}, 2),
    ],
)
def test_threads_are_counted_as_torch_does(monkeypatch, seams, without_torch, variables, count):
    """As measured for torch 2 with MKL; `tests/commands/test_engine.py` asks torch itself, on this machine."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    seams.replace("vpr.base.machine._physical_cores", lambda processors: len({number // 2 for number in processors}))
    if count == 2:
        seams.replace("vpr.base.machine._usable_processors", lambda: {0, 1, 2})
    else:
        seams.replace("os.cpu_count", lambda: 8)
    assert thread_count() == count
