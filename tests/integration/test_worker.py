"""A worker's life: what it serves, how it says so, how it ends, and that nothing stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.contract import BuildRequest, Queue
from bot.review.carrier import Carrier
from tests.gitmail import texts
from tests.integration.brokers import (
    CONFIG,
    LIMITS,
    ROOT,
    Server,
    Worker,
    environment,
    ready,
    result,
    send,
    serving,
    until,
    working,
)
from tests.integration.conftest import STACKHOG, Desk, children, command_of, one_line
from workers import cgroup
from workers.stress.accelerator import BOOT_ID

SLEEPING = "424242"  # seconds: what the real build is in when the worker is told to end


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as found:
        yield found


def test_sigterm_finishes_what_runs_and_takes_no_more(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "1") as worker:
        assert not ready(carrier).draining
        send(carrier, "running", 5)
        send(carrier, "waiting", 0)
        until(lambda: worker.begun == ["running"])
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: ready(carrier).draining, 3)
        assert result(carrier, "running") is None
        assert worker.process.wait(30) == 0
        assert result(carrier, "running") == "running"
        assert worker.begun == ["running"]
        assert carrier.workers() == ()
        assert carrier.held() == {"waiting"}


def test_an_idle_worker_drains_at_once(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url) as worker:
        ready(carrier)
        began = time.monotonic()
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.wait(30) == 0
        assert time.monotonic() - began < 8


def test_a_worker_drains_though_the_broker_is_away(server: Server, tmp_path: Path) -> None:
    with working(tmp_path, server.url) as worker:
        ready(Carrier(server.url))
        server.kill()
        time.sleep(3)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(40) == 0


@pytest.mark.parametrize("words", [("SIGTERM", "SIGTERM"), ("SIGTERM", "SIGQUIT"), ("SIGQUIT",)])
def test_the_second_word_kills_at_once(
    server: Server, tmp_path: Path, words: tuple[str, ...]
) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "2") as worker:
        ready(carrier)
        send(carrier, "running", 600)
        until(lambda: worker.begun == ["running"])
        below = children(worker.pid)
        for word in words:
            worker.process.send_signal(signal.Signals[word])
            time.sleep(1)
        assert worker.process.wait(10) == 128 + signal.Signals[words[-1]]
        assert not [pid for pid in below if command_of(pid)]
        assert carrier.workers() == ()


# ---- a real build in its sandbox ----


@pytest.fixture
def building(desk: Desk, server: Server) -> Iterator[tuple[Worker, Carrier]]:
    """A worker in the middle of a build."""
    desk.repo.edit(
        "fs: dawdle", "fs/minifs/Makefile", "obj", f"$(shell sleep {SLEEPING})\nobj"
    )  # fmt: skip
    carrier = Carrier(server.url)
    request = BuildRequest(
        tree="mini", base=desk.base, limits=LIMITS.model_copy(update={"wall_seconds": 600}),
        config=CONFIG.model_copy(update={"name": "miniature", "options": ("CONFIG_MINI_FS=y",)}),
        patches=texts(desk.repo.mails(desk.base)),
    )  # fmt: skip
    with (desk.home / "worker.out").open("ab") as out:
        process = subprocess.Popen(
            [*STACKHOG, "worker", "--slots", "1"], cwd=ROOT, stdout=out, stderr=out, text=True,
            env=environment(desk.home, broker_url=server.url, worker_name="w"),
        )  # fmt: skip
    worker = Worker(desk.home, process)
    ready(carrier)
    carrier.send(Queue.BUILD, "build", "real", request.model_dump_json(), 600, 5)
    until(
        lambda: [pid for pid in children(worker.pid) if f"sleep {SLEEPING}" in command_of(pid)], 60
    )
    yield worker, carrier
    process.kill()
    process.wait()


def sleeping() -> list[int]:
    """Return the processes of the build that dawdles, whosever children they are."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if f"sleep {SLEEPING}" in command_of(pid)]


def groups(owners: set[int]) -> list[Path]:
    return [
        group
        for hierarchy in cgroup.hierarchies()
        for group in hierarchy.parent.iterdir()
        if group.name.partition("-")[0] in {str(pid) for pid in owners}
    ]


def jobs(home: Path) -> list[Path]:
    return sorted((home / "state" / "cache" / "builds").iterdir())


def mounts(home: Path) -> list[str]:
    """Return what is mounted below a directory, in the namespace of any process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/mounts"):
        try:
            found |= {line for line in path.read_text().splitlines() if str(home) in line}
        except OSError:
            continue
    return sorted(found)


def test_a_killed_build_leaves_nothing(building: tuple[Worker, Carrier], desk: Desk) -> None:
    worker, _ = building
    below = set(children(worker.pid))
    assert jobs(desk.home)
    assert groups(below)
    assert mounts(desk.home)
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    assert worker.process.poll() is None
    assert sleeping()
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(20) == 128 + signal.SIGTERM
    assert not sleeping()
    assert not [pid for pid in below if command_of(pid)]
    assert jobs(desk.home) == []
    assert groups(below) == []
    assert mounts(desk.home) == []


def test_all_die_with_the_main_process(building: tuple[Worker, Carrier], desk: Desk) -> None:
    worker, carrier = building
    below = set(children(worker.pid))
    worker.process.kill()
    worker.process.wait()
    until(lambda: not sleeping(), 5)
    until(lambda: not [pid for pid in below if command_of(pid)], 5)
    until(lambda: not mounts(desk.home), 5)
    assert jobs(desk.home)  # this is for the next start
    with working(desk.home, _url(carrier)):
        until(lambda: jobs(desk.home) == [] and groups(below) == [])


def _url(carrier: Carrier) -> str:
    return str(carrier._app.conf.broker_url)


# ---- queues ----


def test_a_worker_serves_what_it_is_able_to(server: Server, tmp_path: Path) -> None:
    with working(tmp_path, server.url, "--slots", "1"):
        assert {"build", "stack", "stress"} <= set(ready(Carrier(server.url)).queues)


def test_kvm_is_served_as_soon_as_a_guest_booted_with_it(server: Server, tmp_path: Path) -> None:
    carrier = Carrier(server.url)
    with working(tmp_path, server.url, "--slots", "1") as worker:
        assert "kvm" not in ready(carrier).queues
        send(carrier, "fast", 0, queue="kvm")
        time.sleep(2)
        assert worker.begun == []
        kept = tmp_path / "state" / "cache" / "stress"
        (kept / f"accelerator-{BOOT_ID.read_text().strip()}.json").write_text(
            '{"accelerator": "kvm", "reason": "a guest booted"}'
        )
        until(lambda: "kvm" in ready(carrier).queues, 15)
        assert ready(carrier).accelerator == "kvm"
        assert until(lambda: result(carrier, "fast")) == "fast"


@pytest.mark.parametrize(
    ("queues", "said"),
    [("build,nothing", "there is no queue nothing"), ("kvm", "cannot serve the queue kvm")],
)
def test_a_queue_that_cannot_be_served_is_refused(
    server: Server, tmp_path: Path, queues: str, said: str
) -> None:
    done = subprocess.run(
        [*STACKHOG, "worker", "--queues", queues], cwd=ROOT, check=False, capture_output=True,
        env=environment(tmp_path, broker_url=server.url), text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in one_line(done.stderr)


def test_a_worker_without_sandbox_does_nothing(server: Server, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("setpriv", "sh", "mount", "unshare"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    (tools / "bwrap").write_text("#!/bin/sh\necho no namespaces here\nexit 1\n")
    (tools / "bwrap").chmod(0o755)
    code = (
        f"from workers import sandbox; sandbox.ENVIRONMENT |= {{'PATH': '{tools}'}}; "
        "from bot.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "worker"], cwd=ROOT, check=False, capture_output=True,
        env=environment(tmp_path, broker_url=server.url), text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert "this worker can do nothing: no sandbox on this machine" in one_line(done.stderr)
