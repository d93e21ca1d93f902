"""Functions replaced or watched for a test. One that is never called makes the test fail: it would prove nothing."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import pytest


class Watched:
    """A function whose calls are counted, and which may be forbidden from some moment on."""

    def __init__(self, name: str, function: Callable) -> None:
        self.name, self.function = name, function
        self.calls, self.forbidden = 0, False

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        assert not self.forbidden, f"{self.name} is called, and should not be"
        return self.function(*arguments, **options)

    def forbid(self) -> None:
        """From here on a call fails; it must have been called before, or nobody calls it anyway."""
        self.must_have_been_called()
        self.forbidden = True

    def must_have_been_called(self) -> None:
        """Fail if it never was."""
        assert self.calls, f"{self.name} is never called: the test proves nothing"


class Seams:
    """Replaces attributes for a test, and checks at its end that all of them were called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.watched = monkeypatch, list[Watched]()

    def watch(self, target: str) -> Watched:
        """Count the calls of ``package.module.function``; they do what they did."""
        owner, name = _owner(target)
        return self.replace(target, getattr(owner, name))

    def replace(self, target: str, function: Callable) -> Watched:
        """Have ``package.module.function``, or a method of a class, do something else."""
        owner, name = _owner(target)
        watched = Watched(target, function)
        # a plain function, since that of a class must be bound to its instance
        self.monkeypatch.setattr(owner, name, functools.wraps(function)(lambda *a, **o: watched(*a, **o)))
        self.watched.append(watched)
        return watched

    def check(self) -> None:
        """Fail if one of them was never called."""
        for watched in self.watched:
            watched.must_have_been_called()


def _owner(target: str) -> tuple[Any, str]:
    """The module or class that has the attribute, and its name."""
    path, _, name = target.rpartition(".")
    try:
        return importlib.import_module(path), name
    except ModuleNotFoundError:
        above, own = _owner(path)
        return getattr(above, own), name
