"""What a hostile build tries, tried for real in the cell that builds run in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from bot.contract import Limits
from workers import cgroup, layers, process, sandbox, watch
from workers.sandbox import Cell, Layers

LIMITS = Limits(
    wall_seconds=30, memory_bytes=512 << 20, processes=40, file_bytes=8 << 20,
    disk_bytes=32 << 20, parallel=2,
)  # fmt: skip
UID = 64738


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    (tmp_path / "src").mkdir(mode=0o755)
    (tmp_path / "src" / "Makefile").write_text("all:\n")
    (tmp_path / "obj").mkdir()
    tmp_path.chmod(0o700)  # as a home directory is
    stage = tmp_path / "stage"
    yield Cell(stage, Layers((tmp_path / "src",)), Layers((), stage / "obj-upper"), LIMITS, UID)
    layers.discard(tmp_path)


def sh(cell: Cell, script: str) -> process.Finished:
    return sandbox.run(cell, ["sh", "-c", script])


def python(cell: Cell, script: str) -> process.Finished:
    return sandbox.run(cell, ["python3", "-c", script])


def alive(marker: str) -> bool:
    found = subprocess.run(["pgrep", "-f", marker], check=False, capture_output=True)  # noqa: S607
    return found.returncode == 0


def gone(marker: str, seconds: float = 10) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if not alive(marker):
            return True
        time.sleep(0.05)
    return False


def test_a_cell_runs_a_command_and_keeps_what_it_writes(cell: Cell) -> None:
    done = sh(cell, "echo hello > out && cat /build/src/Makefile")
    assert (done.status, done.output) == (0, b"all:")
    assert layers.read((cell.stage / "obj-upper",), "out") == b"hello\n"


def test_the_toolchain_works_alternatives_included(cell: Cell) -> None:
    done = sh(cell, "awk 'BEGIN { print 6 * 7 }' && echo 'int x;' | gcc -c -x c - && ls -- *.o")
    assert (done.status, done.output) == (0, b"42\n-.o")


def test_nothing_of_the_host_can_be_read(cell: Cell, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    paths = [str(secret), "/etc/shadow", "/etc/hostname", "/root", "/home", "/var", "/sys", "/run"]
    for path in paths:
        assert sh(cell, f"cat {path} || ls {path}").status != 0, path
    assert sh(cell, "ls /").output.split() == sorted(sh(cell, "ls /").output.split())
    assert b"stackhog" not in sh(cell, "cat /proc/1/environ | tr '\\0' '\\n'").output
    assert sh(cell, "ls /usr/src /usr/local").output.split() == [b"/usr/local:", b"/usr/src:"]


def test_the_environment_holds_no_secret(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKHOG_PASSWORD", "hunter2")
    names = {line.split(b"=")[0].decode() for line in sh(cell, "env").output.splitlines()}
    assert names <= {*sandbox.ENVIRONMENT, "PWD", "SHLVL", "_", "OLDPWD"}


def test_no_socket_can_be_opened(cell: Cell) -> None:
    for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET"):
        done = python(cell, f"import socket; socket.socket(socket.{family}, socket.SOCK_RAW)")
        assert b"Operation not permitted" in done.output, family


def test_the_network_namespace_is_empty(cell: Cell) -> None:
    assert sh(cell, "tail -n +3 /proc/net/dev | cut -d: -f1").output.split() in ([], [b"lo"])


def test_nothing_can_be_written_outside_the_object_tree(cell: Cell) -> None:
    for path in ("/build/src/x", "/usr/bin/x", "/x", "/etc/x", "/build/x", "/proc/sys/kernel/x"):
        assert sh(cell, f"touch {path}").status != 0, path
    assert not (cell.src.lower[0] / "x").exists()
    assert sh(cell, "touch /tmp/x /build/obj/x").status == 0


def test_the_user_has_no_privileges(cell: Cell) -> None:
    status = sh(cell, "cat /proc/self/status").output.decode()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) != 0
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == 0, name
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


@pytest.mark.skipif(os.geteuid() != 0, reason="an unprivileged caller has one user id to give")
def test_files_of_a_build_belong_to_the_build_user(cell: Cell) -> None:
    sh(cell, "touch mine")
    assert (cell.stage / "obj-upper" / "mine").stat().st_uid == UID


@pytest.mark.parametrize(
    "script",
    [
        "unshare --user true",
        "unshare --mount true",
        "mount -t tmpfs none /tmp",
        "chroot / true",
        "su -c true",
        "mknod /tmp/disk b 8 0",
    ],
)
def test_no_way_to_more_privileges(cell: Cell, script: str) -> None:
    assert sh(cell, script).status != 0


def test_a_fork_bomb_stays_within_its_limit(cell: Cell) -> None:
    marker = f"sleep 98{uuid4().int % 10**9}"
    script = f"for i in $(seq 200); do {marker} & done; echo started; wait"
    done = sh(replace(cell, limits=LIMITS.model_copy(update={"wall_seconds": 5})), script + " -n")
    assert b"Resource temporarily unavailable" in done.output or b"fork" in done.output
    assert gone(marker)


def test_a_fork_bomb_that_never_ends_is_killed(cell: Cell) -> None:
    short = replace(cell, limits=LIMITS.model_copy(update={"wall_seconds": 2}))
    marker = f"bomb{uuid4().hex}"
    script = f"""{marker} = 0
import os
while True:
    try: os.fork()
    except OSError: pass
"""
    with pytest.raises(process.TimedOutError):
        python(short, script)
    assert gone(marker)


def test_one_file_cannot_grow_beyond_its_limit(cell: Cell) -> None:
    assert sh(cell, "dd if=/dev/zero of=big bs=1M count=64").status != 0
    assert (cell.stage / "obj-upper" / "big").stat().st_size <= LIMITS.file_bytes


def test_filling_the_disk_ends_the_build(cell: Cell) -> None:
    script = "i=0; while :; do i=$((i+1)); dd if=/dev/zero of=f$i bs=1M count=4 2>/dev/null; done"
    with pytest.raises(watch.DiskFullError, match="more than 32 MiB"):
        sh(cell, script)
    size, _ = watch.written(cell.stage / "obj-upper")
    assert size < 2 << 30  # the watch looks every now and then, not at every byte


def test_filling_the_temporary_directory_hits_its_size(cell: Cell) -> None:
    small = replace(cell, limits=LIMITS.model_copy(update={"file_bytes": 4 << 30}))
    done = sh(small, "dd if=/dev/zero of=/tmp/big bs=1M count=1000")
    assert done.status != 0


def test_memory_is_limited(cell: Cell) -> None:
    done = python(cell, "x = bytearray(1 << 30); print(len(x))")
    assert done.status != 0
    assert b"1073741824" not in done.output


def test_what_outlives_the_build_is_killed(cell: Cell) -> None:
    marker = f"sleep 97{uuid4().int % 10**9}"
    done = sh(cell, f"setsid nohup {marker} >/dev/null 2>&1 & sleep 0.2; echo left")
    assert done.output == b"left"
    assert gone(marker)


def test_the_wall_time_is_limited(cell: Cell) -> None:
    short = replace(cell, limits=LIMITS.model_copy(update={"wall_seconds": 1}))
    with pytest.raises(process.TimedOutError):
        sh(short, "trap '' TERM INT; while :; do sleep 1; done")


def test_control_groups_are_used_and_removed_where_there_are_any(cell: Cell) -> None:
    before = [sorted(h.parent.iterdir()) for h in cgroup.hierarchies()]
    with sandbox.started(cell, ["sleep", "5"]):
        time.sleep(0.3)
        for hierarchy in cgroup.hierarchies():
            groups = hierarchy.parent.glob(f"{os.getpid()}-*")
            held = [p for p in groups if (p / "cgroup.procs").read_text().split()]
            assert held, hierarchy
    assert [sorted(h.parent.iterdir()) for h in cgroup.hierarchies()] == before


@pytest.mark.usefixtures("cell")
def test_everything_dies_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    marker = f"sleep 96{uuid4().int % 10**9}"
    program = (
        "import sys; from pathlib import Path\n"
        "from tests.integration.test_sandbox import LIMITS, UID\n"
        "from workers import sandbox; from workers.sandbox import Cell, Layers\n"
        "root = Path(sys.argv[1])\n"
        "cell = Cell(root / 'stage', Layers((root / 'src',)),"
        " Layers((), root / 'stage/obj-upper'), LIMITS, UID)\n"
        "sandbox.run(cell, ['sh', '-c', sys.argv[2]])\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), f"{marker}; true"])
    ends = time.monotonic() + 10
    while not alive(f"^{marker}") and time.monotonic() < ends:
        time.sleep(0.05)
    assert alive(f"^{marker}")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert gone(f"^{marker}")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_overlay_layers_lie_on_one_another(cell: Cell, tmp_path: Path) -> None:
    for name in ("low", "mid"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "both").write_text(name)
        (tmp_path / name / name).write_text(name)
    stacked = replace(
        cell, obj=Layers((tmp_path / "mid", tmp_path / "low"), cell.stage / "top", ("low",))
    )
    done = sh(stacked, "cat both mid; test -e low || echo removed; test -w . && echo new > new")
    assert done.output == b"midmidremoved"
    seen = (cell.stage / "top", tmp_path / "mid", tmp_path / "low")
    assert [layers.read(seen, name) for name in ("both", "low")] == [b"mid", None]


def test_a_machine_without_sandbox_is_refused(tmp_path: Path) -> None:
    # root of a container that maps a single user, where nobody can become the build user
    program = (
        "import sys; from pathlib import Path; from workers import sandbox\n"
        "try: sandbox.probe(Path(sys.argv[1]), 64738)\n"
        "except sandbox.NoSandboxError as error: print(error)\n"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", program, str(tmp_path)],  # noqa: S607
        check=True, capture_output=True,
    )  # fmt: skip
    assert b"builds are refused: run as root, or enable" in done.stdout


def test_reading_a_build_follows_no_symlink(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x.ci").write_text("secret")
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "mm").symlink_to(tmp_path / "secret")
    (layer / "x.ci").symlink_to(tmp_path / "secret" / "x.ci")
    assert layers.read((layer,), "mm/x.ci") is None
    assert layers.read((layer,), "x.ci") is None
    assert layers.read((layer,), "../secret/x.ci") is None
    os.mkfifo(layer / "pipe.ci")
    assert layers.read((layer,), "pipe.ci") is None
