"""Locks between processes: shared by users, alone for who deletes, gone with a killed process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from workers.locks import alone, locked, present, shared

ROOT = Path(__file__).parents[2]
HOLD = """\
import sys, time
from pathlib import Path
from workers import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(how: str, path: Path) -> subprocess.Popen[str]:
    """Return another process that holds a lock."""
    argv = [sys.executable, "-c", HOLD, how, str(path)]
    found = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert found.stdout is not None
    assert found.stdout.readline() == "held\n"
    return found


def is_free(path: Path) -> bool:
    with alone(path) as mine:
        return mine


@pytest.mark.parametrize("how", ["shared", "locked"])
def test_a_lock_ends_with_the_process_that_held_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "one.lock"
    with holder(how, path) as other:
        assert not is_free(path)
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert is_free(path)


def test_users_share(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    with shared(path), shared(path):
        assert not is_free(path)
    assert is_free(path)


def test_a_lock_whose_file_was_deleted_is_no_lock(tmp_path: Path) -> None:
    """Who waits while the lock's file is deleted must not go on with the deleted one."""
    path, got, go = tmp_path / "one.lock", threading.Event(), threading.Event()

    def wait() -> None:
        with locked(path):
            got.set()
            go.wait(10)

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.wait(0.3)
        path.unlink()
    assert got.wait(10)
    assert not is_free(path)  # it waits at the path, where everybody looks
    go.set()
    thread.join()


def test_a_fork_does_not_keep_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "one.lock"
    out, done = os.pipe()
    with locked(path):
        child = os.fork()
        if child == 0:
            os.close(done)
            os.read(out, 1)
            os._exit(0)
    assert is_free(path)
    os.close(done)
    os.waitpid(child, 0)
    os.close(out)


def test_what_is_missing_is_made_once_and_then_held(tmp_path: Path) -> None:
    path, made = tmp_path / "thing", []

    def make() -> None:
        made.append(1)
        path.touch()

    lock = tmp_path / "thing.lock"
    with present(lock, path.exists, make), present(lock, path.exists, make):
        assert not is_free(lock)
    assert made == [1]
    assert is_free(lock)


def test_what_is_evicted_between_making_and_holding_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    made: list[int] = []

    def there() -> bool:
        if made == [1]:
            made.append(2)
            path.unlink()
        return path.exists()

    def make() -> None:
        made.append(len(made) + 1)
        path.touch()

    with present(tmp_path / "thing.lock", there, make):
        assert path.exists()
    assert made == [1, 2, 3]


def test_what_making_raises_leaves_no_lock(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no")

    lock = tmp_path / "thing.lock"
    with pytest.raises(ValueError, match="no"):
        present(lock, lambda: False, fail)
    assert is_free(lock)
