"""Weights: damaged files, files of other models and files that could run code are refused."""

import pickle

import numpy as np
import pytest
import torch

from vpr.base.errors import VprError
from vpr.models.weights import load_into, load_state, read_weights, save_weights


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_is_not_run(tmp_path, legacy):
    mark = tmp_path / "mark"
    torch.save({"state_dict": {"a": Trap(mark)}}, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Trap(mark)))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(VprError, match=f"{name} cannot be loaded safely"):
            read_weights(tmp_path / name)
    assert not mark.exists()


def test_damaged_weights_are_refused_whatever_the_damage(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"a": torch.arange(6.0), "b": torch.ones(2, 3)}
    torch.save(tensors, tmp_path / "new.pth")
    torch.save(tensors, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    save_weights(torch.nn.Linear(3, 2), tmp_path / "own.safetensors")
    for path in list(tmp_path.iterdir()):
        whole = path.read_bytes()
        for length in rng.integers(0, len(whole) - 1, 60):
            path.write_bytes(whole[:length])
            with pytest.raises(VprError, match=path.name):
                read_weights(path)
    with pytest.raises(VprError, match="no weights at") as error:
        read_weights(tmp_path / "missing.pth")
    assert error.value.thing == str(tmp_path / "missing.pth")


def test_weights_are_unwrapped(tmp_path):
    for content in ({"a": torch.ones(1)}, {"state_dict": {"module.a": torch.ones(1)}}, {"model": {"a": torch.ones(1)}}):
        torch.save(content, tmp_path / "a.pth")
        assert list(read_weights(tmp_path / "a.pth")) == ["a"]
    for content in ({"a": 3}, {3: torch.ones(1)}, [torch.ones(1)], {("a", 1): torch.ones(1)}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(VprError, match="holds no state_dict of tensors"):
            read_weights(tmp_path / "a.pth")


ODD = {
    "has the type torch.int64": lambda value: value.long(),
    "has the type torch.complex64": lambda value: value.to(torch.complex64),
    "is sparse, quantised or without data": lambda value: value.to_sparse(),
    "is sparse, quantised or without": lambda value: value.to("meta"),
    "is sparse, quantised": lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
    "contains NaN or infinity": lambda value: value * torch.inf,
}


@pytest.mark.parametrize("reason", ODD)
def test_tensors_that_no_model_has_are_named(tmp_path, reason):
    model = torch.nn.Linear(3, 2)
    state = {**model.state_dict(), "weight": ODD[reason](torch.ones(2, 3))}
    with pytest.raises(VprError, match=f"a.pth: weight {reason}.*; save the weights again, as plain torch.float32"):
        load_state(model, state, tmp_path / "a.pth")


def test_weights_return_as_they_were_and_must_fit(tmp_path):
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save_weights(model, tmp_path / "a.safetensors")
    load_into(other, tmp_path / "a.safetensors")
    assert all((a == b).all() for a, b in zip(model.parameters(), other.parameters()))
    with pytest.raises(VprError, match=r"weight is \(2, 3\), this model needs \(2, 4\)"):
        load_into(torch.nn.Linear(4, 2), tmp_path / "a.safetensors")
    with pytest.raises(VprError, match="lacks 0.weight: it belongs to another model"):
        load_into(torch.nn.Sequential(torch.nn.Linear(3, 2)), tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "value", [np.float64(0.7), np.float32(0.7), np.int64(3), np.bool_(True), np.array([0.5, 0.7]), np.arange(3)]
)
def test_numbers_of_numpy_beside_the_weights_are_read(tmp_path, value):
    torch.save({"state_dict": {"a": torch.ones(2)}, "best_score": value}, tmp_path / "a.pth.tar")
    assert read_weights(tmp_path / "a.pth.tar")["a"].tolist() == [1, 1]
    code = {"state_dict": {"a": torch.ones(2)}, "best_score": value, "x": Runs()}
    torch.save(code, tmp_path / "b.pth.tar")
    with pytest.raises(VprError, match="could run code"):
        read_weights(tmp_path / "b.pth.tar")


def test_objects_in_an_array_of_numpy_are_not_made(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(2)}, "x": np.array([Runs()], object)}, tmp_path / "a.pth.tar")
    with pytest.raises(VprError, match="could run code"):
        read_weights(tmp_path / "a.pth.tar")


class Runs:
    """An object whose reading would run code."""

    def __reduce__(self):
        return (pytest.fail, ("it was made",))


def test_names_of_data_parallel_are_those_of_the_model(tmp_path):
    weights = {"module.a": torch.ones(1), "encoder.module.0.b": torch.ones(1), "pool.module.c": torch.ones(1)}
    torch.save({"state_dict": weights}, tmp_path / "a.pth")
    assert list(read_weights(tmp_path / "a.pth")) == ["a", "encoder.0.b", "pool.c"]
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "b.pth")
    assert list(read_weights(tmp_path / "b.pth")) == ["module.a", "a"], "two tensors never become one"
