"""The git command line, cut off from everybody's configuration."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from workers import process
from workers.process import Finished

SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")  # curl(1), ENVIRONMENT
PROGRESS = re.compile(
    rb"(?:^|[\r\n])(?:remote: )?"
    rb"([A-Z][a-z]+ (?:objects|deltas): +\d+%?(?: \(\d+/\d+\))?(?:, [\d.]+ (?:bytes|[KMGT]iB))?)"
    rb"(?=[\r\n, ])"
)
TAIL = 4096  # bytes that git has written last, in which its latest progress stands
SOON, LATE = 0.01, 0.25  # seconds between two looks at it, at first and later on
NOT_FOUND = 127  # exit status of setpriv(1)
NAME, EMAIL = "stackhog", "stackhog@localhost"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which only what stackhog says counts."""
    return {
        "PATH": os.defpath + ":/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_COMMITTER_NAME": NAME,
        "GIT_COMMITTER_EMAIL": EMAIL,
        **(more or {}),
    }


def proxies() -> dict[str, str]:
    """Return what the environment says of proxies, in both spellings."""
    names = {spelt for name in PROXIES for spelt in (name, name.upper())}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


def identity(text: str) -> str:
    """Return a name or address as a commit can hold it."""
    return "".join(c for c in text if c.isprintable() and c not in "<>").strip() or "unknown"


def run(
    *words: str,
    timeout: float = 120,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run git and return status and output, whatever the status."""
    argv = ["git", *SAFE, *words]
    return process.run(argv, timeout=timeout, stdin=stdin, env=environment(env), cwd=cwd)


def check(
    *words: str,
    timeout: float = 120,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> bytes:
    """Run git and return its standard output.

    Raises ProcessFailedError.
    """
    done = run(*words, timeout=timeout, stdin=stdin, env=env, cwd=cwd)
    if done.status != 0:
        raise process.ProcessFailedError(done)
    return done.output


def fetch(*words: str, timeout: float, tell: Callable[[str], None]) -> Finished:
    """Run a git command that fetches: through the proxies, and telling how far it is.

    ``tell`` gets what git says with ``--progress``, whenever that is something new.
    Raises TimedOutError, MissingProgramError.
    """
    argv, began = ["git", *SAFE, *words], time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = process.spawn(argv, env=environment(proxies()), stdout=output, stderr=errors)
        with process.killed_at_end(child):
            told, pause = "", SOON
            while child.poll() is None:
                if time.monotonic() > began + timeout:
                    said = f"`{process.quoted(argv)}` did not end within {timeout:.0f} s"
                    raise process.TimedOutError(said)
                time.sleep(pause)
                told, pause = _tell(errors.fileno(), told, tell), min(LATE, 2 * pause)
        _tell(errors.fileno(), told, tell)
        if child.returncode == NOT_FOUND:
            run("version")  # raises where that is git itself
        output.seek(0)
        errors.seek(0)
        seconds = time.monotonic() - began
        return Finished(tuple(argv), child.returncode, output.read(), errors.read(), seconds)


def _tell(written: int, told: str, tell: Callable[[str], None]) -> str:
    """Hand on the latest progress in a file that git writes to, unless it is known."""
    start = max(0, os.fstat(written).st_size - TAIL)
    found = PROGRESS.findall(os.pread(written, TAIL, start))  # git's own offset stays
    if not found:
        return told
    text = " ".join(found[-1].decode().split())
    text = text[0].lower() + text[1:]
    if text != told:
        tell(text)
    return text
