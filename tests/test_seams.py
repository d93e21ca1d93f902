"""Functions that tests replace are called, and no test replaces one by hand without showing that."""

import ast
from pathlib import Path

import pytest
from seams import Seams

TESTS = Path(__file__).parent
BY_HAND = {
    ("test_docs.py", "vpr.datasets.default_data.ensure_mini_msls"): "a large tree would be rendered",
    ("test_docs.py", "vpr.datasets.labels.default_data.ensure_mini_retrieval"): "a large set would be rendered",
    ("test_docs.py", "vpr.datasets.mini_msls.ensure_mini_msls"): "a large tree would be rendered",
    ("test_docs.py", "vpr.datasets.mini_retrieval.ensure_mini_retrieval"): "a large set would be rendered",
    ("test_docs.py", "uvicorn.Server.run"): "it would go on without end",
    ("vpr/retrieval/test_search.py", "faiss.get_num_gpus"): "FAISS for CPUs lacks it; no question would be listed",
    ("vpr/retrieval/test_search.py", "faiss.StandardGpuResources"): "FAISS for CPUs lacks it; none would be made",
    ("commands/test_places.py", "results.evaluate_benchmark"): "it must not be called, and fails the test if it is",
    ("datasets/places/test_truths.py", "truths.np.asarray"): "its calls are counted, and may be none",
    ("vpr/serving/test_service.py", "Map.locate_all"): "for some lines alone; the log would lack its exception",
    (
        "commands/test_retrieval.py",
        "vpr.eval.calibration.validator.Validator.calibrate",
    ): "for a line alone; the exit code would be 0",
}  # replaced by a lambda without `seams`, by file: what it shows when nobody calls it any more


def lambdas_set(source):
    """What is replaced by a lambda through ``setattr`` of whatever fixture, such as ``monkeypatch`` or a context."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if any(isinstance(value, ast.Lambda) for value in given):
                yield ".".join(
                    str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value)
                    for value in node.args[: 1 if isinstance(node.args[0], ast.Constant) else 2]
                )


def test_the_lambdas_are_found():
    source = """
monkeypatch.setattr(a.b, "c", lambda: 1)
with monkeypatch.context() as patch:
    patch.setattr("a.b.d", lambda *rest: 1 / 0, raising=False)
monkeypatch.setattr(a, name="e", value=lambda: 1)
monkeypatch.setattr(a, "CONSTANT", 3)
seams.replace("a.b.f", lambda: 1)
"""
    assert sorted(lambdas_set(source)) == ["a", "a.b.c", "a.b.d"]


def test_functions_are_replaced_by_way_of_seams():
    found = {
        (str(path.relative_to(TESTS)), target)
        for path in sorted(TESTS.rglob("*.py"))
        for target in lambdas_set(path.read_text(encoding="utf-8"))
    }
    assert found - BY_HAND.keys() == set(), "use `seams`, or list it with the reason"
    assert BY_HAND.keys() - found == set(), "listed, and nobody does it any more"


class Clock:
    """Something with a function to replace."""

    hour = 7

    def later(self, hours, *, twice=False):
        """The hour after some."""
        return self.hour + hours * (1 + twice)


LATER = f"{__name__}.Clock.later"


def used(now):
    """What a function of this module gives."""
    return now.later(1)


def test_one_that_is_never_called_fails_the_test():
    with pytest.MonkeyPatch.context() as patch:
        for begin in (lambda seams: seams.watch(LATER), lambda seams: seams.replace(LATER, lambda *_: 1)):
            seams = Seams(patch)
            begin(seams)
            with pytest.raises(AssertionError, match=r"Clock.later is never called: the test proves nothing"):
                seams.check()
            Clock().later(1)
            seams.check()


def test_each_of_several_must_be_called():
    with pytest.MonkeyPatch.context() as patch:
        seams = Seams(patch)
        seams.watch(LATER)
        seams.replace(f"{__name__}.used", lambda now: 0)
        Clock().later(1)
        with pytest.raises(AssertionError, match="used is never called"):
            seams.check()
        assert used(Clock()) == 0
        seams.check()
    assert used(Clock()) == 8


def test_what_is_watched_does_what_it_did_until_it_is_forbidden(seams):
    later = seams.watch(LATER)
    with pytest.raises(AssertionError, match="Clock.later is never called"):
        later.forbid()
    assert Clock().later(2, twice=True) == 11 and used(Clock()) == 8 and later.calls == 2
    later.forbid()
    with pytest.raises(AssertionError, match="Clock.later is called, and should not be"):
        used(Clock())


def test_a_method_that_is_replaced_has_its_instance(seams):
    seams.replace(LATER, lambda self, hours: (self.hour, hours))
    assert used(Clock()) == (7, 1)


def test_an_attribute_that_is_not_there_is_not_made(seams):
    for target in (f"{__name__}.Clock.earlier", f"{__name__}.nothing"):
        with pytest.raises(AttributeError):
            seams.replace(target, lambda: 1)
    assert seams.watched == []
