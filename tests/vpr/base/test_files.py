"""Files are written whole or not at all."""

import json
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from vpr.base.errors import VprError
from vpr.base.files import HOST, cache_folder, replace_file, work_lock, write_bytes, write_json, write_lock


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(TypeError):
        write_json(path, object())
    assert json.loads(path.read_text()) == {"a": 1} and len(list(path.parent.iterdir())) == 1


def test_the_work_lock_is_exclusive_and_skipped_if_it_cannot_be_created(tmp_path):
    inside, most = [], []

    def work(number):
        with work_lock(tmp_path / "new" / ".lock"):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(work, range(3)))
    assert most == [1, 1, 1]
    (tmp_path / "file").write_text("in the way")
    with work_lock(tmp_path / "file" / ".lock"), work_lock(tmp_path / "file" / ".lock"):
        pass


def test_the_cache_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("VPR_CACHE_DIR", str(tmp_path))
    assert cache_folder("metadata") == tmp_path / "metadata"
    monkeypatch.delenv("VPR_CACHE_DIR")
    assert cache_folder("metadata").name == "metadata" and cache_folder("metadata").parent.name == "vpr"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "a.json").symlink_to(tmp_path / "far" / "b.json")
    for value in (1, 2):  # the target missing, then there
        write_json(tmp_path / "a.json", value)
        assert (tmp_path / "a.json").is_symlink() and json.loads((tmp_path / "far" / "b.json").read_text()) == value
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["b.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(path.read_text)
        write_json(path, {"a": 1})
        assert json.loads(read.result(timeout=30)) == {"a": 1}
    assert path.is_fifo() and [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    abandoned = tmp_path / f".a.json.{HOST}.{int(gone.stdout)}-1.tmp"
    others = [
        tmp_path / name for name in (f".a.json.{HOST}.{os.getppid()}-1.tmp", ".a.json.elsewhere.1-1.tmp", "b.tmp")
    ]
    twice = tmp_path / f".{abandoned.name}.{HOST}.{int(gone.stdout)}-1.tmp"  # of a file that was written into it
    for path in (abandoned, twice, *others):
        path.touch()
    write_json(tmp_path / "a.json", 1)
    assert not abandoned.exists() and not twice.exists() and all(path.exists() for path in others)


def test_files_have_the_mode_that_the_user_wants(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def hold(path, held, release):
    with write_lock(path, wait=False):
        held.set()
        release.wait(30)


def take(path):
    with write_lock(path, wait=True):
        return True


def test_one_process_writes_and_another_waits_or_is_refused(tmp_path):
    context = get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "a.h5", held, release))
    other.start()
    assert held.wait(60)
    with pytest.raises(VprError) as error, write_lock(tmp_path / "a.h5", False):
        pass
    assert error.value.thing == str(tmp_path / "a.h5") and error.value.remedy.startswith("wait until it ends")
    with ThreadPoolExecutor(1) as waiting:
        done = waiting.submit(take, tmp_path / "a.h5")
        with pytest.raises(TimeoutError):
            done.result(0.5)
        other.kill()  # the system lets go of the lock
        assert done.result(30)
    other.join()
