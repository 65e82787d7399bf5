"""The environment git gets, and what is told of it while it fetches."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from workers import git, process

PROXY = "http://127.0.0.1:9"


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    lower = {"http_proxy": PROXY, "https_proxy": PROXY, "no_proxy": "a,b", "all_proxy": PROXY}
    found = {**lower, **{name.upper(): f"{value}0" for name, value in lower.items()}}
    for name, value in {**found, "GIT_PROXY_COMMAND": "id", "HTTP_FOO": "x"}.items():
        monkeypatch.setenv(name, value)
    return found


def told(script: str, timeout: float = 20) -> tuple[process.Finished, list[tuple[str, float]]]:
    """Let git run a shell script; return how it ended, and what was told after which time."""
    said: list[tuple[str, float]] = []
    began = time.monotonic()
    done = git.fetch(
        "-c", f"alias.script=!{script} #", "script", timeout=timeout,
        tell=lambda text: said.append((text, time.monotonic() - began)),
    )  # fmt: skip
    return done, said


def variables(output: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.decode().splitlines() if "=" in line)


def test_commands_that_fetch_keep_the_proxies(proxies: dict[str, str]) -> None:
    done, _ = told("env")
    seen = variables(done.output)
    assert {name: value for name, value in seen.items() if "proxy" in name.lower()} == proxies
    assert "HTTP_FOO" not in seen
    assert seen["HOME"] == "/nonexistent"


def test_other_commands_get_none_of_them(proxies: dict[str, str]) -> None:
    seen = variables(git.check("-c", "alias.script=!env #", "script"))
    assert not proxies.keys() & seen.keys()


def test_without_proxies_none_are_made_up(
    proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in proxies:
        monkeypatch.delenv(name)
    assert git.proxies() == {}


def test_progress_is_told_while_it_comes() -> None:
    done, said = told(
        r"printf 'remote: Counting objects:   7%% (1/14)   \r' >&2; sleep 0.6; "
        r"printf 'Receiving objects:  12%% (1/8), 1.20 MiB | 3.00 MiB/s\r' >&2; sleep 0.6; "
        r"printf 'Receiving objects: 100%% (8/8), 9.60 MiB, done.\nbye\n' >&2; echo out"
    )
    assert [text for text, _ in said] == [
        "counting objects: 7% (1/14)",
        "receiving objects: 12% (1/8), 1.20 MiB",
        "receiving objects: 100% (8/8), 9.60 MiB",
    ]
    assert said[0][1] < said[1][1] < done.seconds - 0.4
    assert (done.status, done.output) == (0, b"out\n")
    assert done.errors.endswith(b"done.\nbye\n")


def test_other_lines_and_halves_of_lines_are_not_told() -> None:
    _, said = told(
        r"printf 'Cloning into x\nremote: 12 objects: 3\nResolving deltas:  1' >&2; sleep 0.5"
    )
    assert said == []


def test_how_it_ended_is_told_whatever_the_status() -> None:
    done, _ = told("echo 'fatal: no' >&2; exit 7")
    assert (done.status, done.tail(1)) == (7, ("fatal: no",))


def runs(pid: str) -> bool:
    try:
        stat = Path("/proc", pid, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_git_is_killed_with_all_it_started_when_it_takes_too_long(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(process.TimedOutError, match="did not end within 2 s"):
        told(f"echo $$ > {pid}; sleep 60", timeout=2)
    ends = time.monotonic() + 20
    while runs(pid.read_text().strip()):  # only git itself is waited for
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_without_git_the_doctor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "environment", lambda _=None: {"PATH": "/nowhere"})
    monkeypatch.setattr(process, "_dying_with_parent", lambda argv: ["/usr/bin/setpriv", *argv])
    with pytest.raises(process.MissingProgramError, match="stackhog doctor"):
        git.fetch("version", timeout=9, tell=lambda _: None)
