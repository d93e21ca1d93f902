"""Writing commands, killed before their n-th file operation, for every n: given again they end as if undisturbed."""

import shutil

import pytest
from tiny import SMALL, TEACHER

QUICK = ["--steps", "2", "--structural-from", "0", "--checkpoint-every", "1", "--held-out", ""]
COMMANDS = [
    ("vpr.extract", ["--run", "run", "--data", "tree", "--cache", "new/a.h5"]),
    (
        "eval.msls",
        ["--run", "run", "--data", "tree", "--cache", "a.h5", "--json", "new/a.json", "--submission", "new/a.zip"],
    ),
    ("vpr.teacher", ["--data", "tree", "--out", "new", "--clusters", "4", *TEACHER, "--steps", "1"]),
    ("vpr.scratch", ["--data", "tree", "--out", "new", *SMALL, *QUICK]),
]
TIMED = b'"latency_ms"'


def outputs(folder):
    """The bytes of each file but logs and locks; what holds times is left out."""
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if name.name != "log.txt" and name.suffix != ".lock"}
    return {name: b"" if TIMED in (data := path.read_bytes()) else data for name, path in kept.items()}


@pytest.mark.parametrize(("command", "options"), COMMANDS)
def test_a_kill_before_any_file_operation_costs_nothing_but_time(warm, case, command, options):
    def run(stop_before=0):
        return warm(command, [*options, "--device", "cpu"], cwd=case, stop_before=stop_before)

    undisturbed = run()
    assert undisturbed.code == 0 and undisturbed.writes >= 5, undisturbed.err
    expected = outputs(case / "new")
    assert expected and not any(".tmp" in str(name) for name in expected)
    for number in range(1, undisturbed.writes + 1):
        shutil.rmtree(case / "new")
        assert run(stop_before=number).code == -9
        again = run()
        assert again.code == 0, f"killed before operation {number}: {again.err}"
        assert outputs(case / "new") == expected, f"killed before operation {number}"
