"""The only place that starts any process.

Every process gets a time limit, dies with its parent (``PR_SET_PDEATHSIG``, see
prctl(2)), is killed with all of its process group, and has its command line
echoed, quoted so that it can be pasted into a shell.
"""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bot.contract import OursError

LOG = logging.getLogger(__name__)
CHUNK = 65536
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


class TimedOutError(OursError):
    """The process ran longer than it was allowed to."""


class MissingProgramError(OursError):
    """The program is not installed."""


class ProcessFailedError(OursError):
    """The process ended with an exit status other than 0."""

    def __init__(self, done: Finished) -> None:
        self.done = done
        last = done.tail(1)[0] if done.tail(1) else "no output"
        super().__init__(f"`{quoted(done.argv)}` ended with status {done.status}: {last}")


@dataclass(frozen=True)
class Finished:
    """A process that ended: status as Popen gives it (negative: a signal), output, seconds."""

    argv: tuple[str, ...]
    status: int
    output: bytes
    errors: bytes
    seconds: float

    def tail(self, lines: int) -> tuple[str, ...]:
        """Return the last non-empty lines, standard error first."""
        text = (self.errors if self.errors.strip() else self.output).decode(errors="replace")
        return tuple(line for line in text.splitlines() if line.strip())[-lines:]


def quoted(argv: Sequence[str]) -> str:
    """Return a command line that a shell reads back as ``argv``."""
    return shlex.join(argv)


def _dying_with_parent(argv: Sequence[str]) -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "--", *argv]


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own that dies when the caller does.

    Raises MissingProgramError when the program is not installed.
    """
    LOG.info("+ %s", quoted(argv))
    try:
        return subprocess.Popen(
            _dying_with_parent(argv), cwd=cwd, env=None if env is None else dict(env),
            stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=tuple(pass_fds),
            start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise MissingProgramError(f"cannot run {error.filename}: run `stackhog doctor`") from error


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its whole group and reap it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def killed_at_end(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Kill the process group on the way out, whatever happened."""
    try:
        yield process
    finally:
        kill(process)


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    pass_fds: Sequence[int] = (),
) -> Finished:
    """Run to the end and return status and output, whatever the status.

    ``timeout`` is in seconds. Raises TimedOutError, MissingProgramError.
    """
    began = time.monotonic()
    process = spawn(
        argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, pass_fds=pass_fds,
    )  # fmt: skip
    with killed_at_end(process):
        try:
            output, errors = process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise TimedOutError(f"`{quoted(argv)}` did not end within {timeout:.0f} s") from error
    if process.returncode == 127 and b"setpriv: failed to execute" in errors:  # noqa: PLR2004 - sh(1)
        raise MissingProgramError(f"{argv[0]} is not installed: run `stackhog doctor`")
    return Finished(tuple(argv), process.returncode, output, errors, time.monotonic() - began)


def check(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> bytes:
    """Run to the end and return standard output.

    Raises ProcessFailedError (with the output) on any status but 0.
    """
    done = run(argv, timeout=timeout, cwd=cwd, env=env, stdin=stdin)
    if done.status != 0:
        raise ProcessFailedError(done)
    return done.output


def lines(
    process: subprocess.Popen[bytes],
    *,
    timeout: float,
    every: Callable[[], None] = lambda: None,
    tick: float = 0.25,
) -> Iterator[str]:
    """Yield the lines a process prints on standard output, as they come.

    ``every`` is called about each ``tick`` seconds, whether lines come or not; what it
    raises ends the run. Raises TimedOutError after ``timeout`` seconds.
    """
    assert process.stdout is not None  # noqa: S101 - the caller opened a pipe
    ends = time.monotonic() + timeout
    next_tick = time.monotonic() + tick
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= next_tick:
                every()
                next_tick = now + tick
            if now > ends:
                raise TimedOutError(f"the command did not end within {timeout:.0f} s")
            if not selector.select(timeout=max(0.01, next_tick - now)):
                continue
            chunk = os.read(process.stdout.fileno(), CHUNK)
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[-CHUNK:]  # a line without end must not fill the memory
            yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (PR_SET_PDEATHSIG, prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
