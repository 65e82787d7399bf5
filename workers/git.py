"""The git command line, cut off from everybody's configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workers import process
from workers.process import Finished

SAFE = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0")
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
