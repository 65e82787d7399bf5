"""The only place that starts untrusted code.

A patch's Makefile is arbitrary code, so every make runs in a *cell*:

- bubblewrap with its own mount, pid, network, ipc and uts namespaces: the
  toolchain under /usr read-only, the two trees, an empty /tmp, nothing else;
- an unprivileged user: run by root, the real user id ``uid`` without any
  capability; run by anybody else, a user namespace in which only that user exists;
- the seccomp filter of workers/seccomp.py and no_new_privs;
- control groups where there are any (workers/cgroup.py), rlimits always, a
  watch on what is written, a wall-time limit;
- an empty environment;
- killed as a whole at the end, and when the worker dies (PR_SET_PDEATHSIG on
  bubblewrap, whose death ends the pid namespace).

Trees are mounted at fixed paths, /build/src and /build/obj: kbuild compares
command lines and dependencies by absolute path, so nothing would be incremental
otherwise. Where no cell can be made, nothing is built: there is no unsafe mode.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bot.contract import Limits, OursError
from workers import cgroup, process, seccomp
from workers.watch import DiskWatch

SRC = "/build/src"
OBJ = "/build/obj"
SCRATCH = "/scratch"  # of a box
TMP_BYTES = 1 << 29  # /tmp inside: gcc's temporary files, counted as memory
# RLIMIT_NPROC counts all that run as this user, in other cells and boxes too
SHARED = 1024
INSIDE_UID = 1000  # what an unprivileged caller is called inside
HIDDEN = ("/usr/src", "/usr/local", "/usr/share/doc")  # not toolchain, perhaps private
ENVIRONMENT = {
    "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
    "HOME": "/tmp",  # noqa: S108 - inside the cell
    "LC_ALL": "C",
    "TZ": "UTC",
    "KBUILD_BUILD_USER": "stackhog",
    "KBUILD_BUILD_HOST": "stackhog",
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01T00:00:00Z",
    "KBUILD_BUILD_VERSION": "1",
}


class NoSandboxError(OursError):
    """This machine cannot give a sandbox; says what to enable."""


@dataclass(frozen=True)
class Layers:
    """A directory of the cell: read-only layers, topmost first, and where writes go."""

    lower: tuple[Path, ...]
    upper: Path | None = None  # with a sibling directory NAME.work; None: read-only
    removed: tuple[str, ...] = ()  # paths taken out of the merged tree before the start

    @property
    def work(self) -> Path:
        """The overlay's work directory (Documentation/filesystems/overlayfs.rst)."""
        assert self.upper is not None  # noqa: S101 - asked for only where there is an upper
        return self.upper.with_name(self.upper.name + ".work")


@dataclass(frozen=True)
class Cell:
    """Everything a sandboxed command may see and use."""

    stage: Path  # directory of this job: mount points are made below it
    src: Layers
    obj: Layers
    limits: Limits
    uid: int
    shown: tuple[tuple[Path, str], ...] = ()  # (file outside, path inside), read-only


def _is_root() -> bool:
    return os.geteuid() == 0


def _overlay(layers: Layers, at: Path) -> list[str]:
    """Return the shell lines that put the layers together at ``at``."""
    if layers.upper is None and len(layers.lower) == 1:
        return [shlex.join(["mount", "--bind", str(layers.lower[0]), str(at)])]
    lower = ":".join(map(str, layers.lower))
    options = f"lowerdir={lower}"
    if layers.upper is not None and not layers.lower:
        return [shlex.join(["mount", "--bind", str(layers.upper), str(at)])]
    if layers.upper is not None:
        options += f",upperdir={layers.upper},workdir={layers.work}"
    if not _is_root():
        options += ",userxattr"
    lines = [shlex.join(["mount", "-t", "overlay", "overlay", "-o", options, str(at)])]
    if layers.removed:
        lines.append(shlex.join(["rm", "-f", "--", *(str(at / path) for path in layers.removed)]))
    return lines


def _namespaces() -> list[str]:
    """Return bubblewrap with its namespaces, the toolchain and an empty /tmp."""
    argv = ["bwrap", "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-net"]
    argv += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "stackhog"]
    if _is_root():
        argv += ["--cap-drop", "ALL"]
        for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            argv += ["--cap-add", capability]
    else:
        argv += ["--unshare-user", "--uid", str(INSIDE_UID), "--gid", str(INSIDE_UID)]
        argv += ["--disable-userns"]
    argv += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    argv += [word for path in HIDDEN if Path(path).is_dir() for word in ("--tmpfs", path)]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if Path("/", name).is_symlink():
            argv += ["--symlink", f"usr/{name}", f"/{name}"]
        elif Path("/", name).is_dir():
            argv += ["--ro-bind", f"/{name}", f"/{name}"]
    # bubblewrap makes missing parents with mode 0700
    argv += ["--perms", "0755", "--dir", "/etc"]
    argv += ["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    return [*argv, "--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"]  # noqa: S108


def _shown(shown: Sequence[tuple[Path, str]]) -> list[str]:
    argv = []
    for outside, inside in shown:
        argv += ["--perms", "0755", "--dir", str(Path(inside).parent)]
        argv += ["--ro-bind", str(outside), inside]
    return argv


def _ended(chdir: str, environment: Mapping[str, str], seccomp_fd: int) -> list[str]:
    argv = ["--remount-ro", "/", "--chdir", chdir, "--clearenv"]
    argv += [word for name, value in environment.items() for word in ("--setenv", name, value)]
    return [*argv, "--seccomp", str(seccomp_fd), "--"]


def _bwrap(cell: Cell, seccomp_fd: int) -> list[str]:
    argv = [*_namespaces(), "--perms", "0755", "--dir", str(Path(SRC).parent)]
    argv += ["--ro-bind", str(cell.stage / "src"), SRC, "--bind", str(cell.stage / "obj"), OBJ]
    return [*argv, *_shown(cell.shown), *_ended(OBJ, ENVIRONMENT, seccomp_fd)]


def _limited(
    limits: Limits, uid: int, argv: Sequence[str], groups: Sequence[int] = ()
) -> list[str]:
    """Drop the user and set the rlimits, from inside the cell."""
    drop = ["setpriv", "--no-new-privs"]
    if _is_root():
        user, named = str(uid), ",".join(map(str, groups))
        drop += ["--reuid", user, "--regid", user]
        drop += ["--groups", named] if named else ["--clear-groups"]
        drop += ["--bounding-set=-all", "--inh-caps=-all"]
    rlimits = ["prlimit", "--core=0", "--nofile=4096", f"--fsize={limits.file_bytes}"]
    rlimits += [f"--as={limits.memory_bytes}", f"--nproc={limits.processes}"]
    rlimits += [f"--cpu={limits.wall_seconds * 2}", "--memlock=0", "--msgqueue=0"]
    return [*drop, "--", *rlimits, "--", *argv]


def _script(cell: Cell, groups: Sequence[Path], argv: Sequence[str], seccomp_fd: int) -> str:
    lines = ["set -eu"]
    lines += [f"echo $$ > {shlex.quote(str(group))}" for group in groups]
    lines += _overlay(cell.src, cell.stage / "src") + _overlay(cell.obj, cell.stage / "obj")
    inside = [*_bwrap(cell, seccomp_fd), *_limited(cell.limits, cell.uid, argv)]
    return "\n".join([*lines, f"exec {shlex.join(inside)}"])


def _prepare(cell: Cell) -> None:
    for layers, name in ((cell.src, "src"), (cell.obj, "obj")):
        (cell.stage / name).mkdir(parents=True, exist_ok=True)
        for path in (layers.upper, *([layers.work] if layers.upper else [])):
            if path is not None:
                path.mkdir(parents=True, exist_ok=True)
        for path in (*layers.lower, layers.upper):
            if path is not None and set(str(path)) & set(":,\\"):
                raise NoSandboxError(f"{path} has a character that overlayfs cannot take (: , \\)")
    if _is_root() and cell.obj.upper is not None:
        os.chown(cell.obj.upper, cell.uid, cell.uid)


@contextmanager
def started(cell: Cell, argv: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], DiskWatch]]:
    """Start a command in the cell, standard error joined to standard output.

    Yields the process and the watch that must be called now and then (see
    process.lines); on the way out everything in the cell is dead.
    """
    _prepare(cell)
    watch = DiskWatch(cell.obj.upper, cell.limits.disk_bytes)
    watch()  # a disk that is full already is no fault of what is started now
    fd = seccomp.descriptor()
    try:
        with cgroup.limited(cell.limits) as groups:
            outer = ["unshare", "--mount"]
            if not _is_root():
                outer += ["--user", "--map-root-user"]
            script = _script(cell, groups, argv, fd)
            running = process.spawn(
                [*outer, "--", "sh", "-c", script], env={"PATH": ENVIRONMENT["PATH"]},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=(fd,),
            )  # fmt: skip
            with process.killed_at_end(running):
                yield running, watch
    finally:
        os.close(fd)


@dataclass(frozen=True)
class Box:
    """A cell without trees: some files to look at, one directory to write to."""

    scratch: Path  # at SCRATCH inside
    limits: Limits
    uid: int
    shown: tuple[tuple[Path, str], ...] = ()  # (file outside, path inside), read-only
    devices: tuple[str, ...] = ()  # device files that may be used, e.g. /dev/kvm


@contextmanager
def boxed(box: Box, argv: Sequence[str], fds: Sequence[int]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in the box with pipes on its standard streams and ``fds`` handed on.

    On the way out everything in the box is dead.
    """
    box.scratch.mkdir(parents=True, exist_ok=True)
    if _is_root():
        os.chown(box.scratch, box.uid, box.uid)
    fd = seccomp.descriptor()
    inside = [*_namespaces(), "--bind", str(box.scratch), SCRATCH, *_shown(box.shown)]
    inside += [word for device in box.devices for word in ("--dev-bind", device, device)]
    inside += _ended(SCRATCH, ENVIRONMENT | {"TMPDIR": SCRATCH}, fd)
    owners = sorted({os.stat(device).st_gid for device in box.devices})  # noqa: PTH116 - a device
    inside += _limited(box.limits, box.uid, argv, owners)
    try:
        with cgroup.limited(box.limits) as groups:
            joins = [f"echo $$ > {shlex.quote(str(group))}" for group in groups]
            script = "\n".join(["set -eu", *joins, f"exec {shlex.join(inside)}"])
            running = process.spawn(
                ["sh", "-c", script], env={"PATH": ENVIRONMENT["PATH"]}, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(fd, *fds),
            )  # fmt: skip
            with process.killed_at_end(running):
                yield running
    finally:
        os.close(fd)


def run(cell: Cell, argv: Sequence[str]) -> process.Finished:
    """Run a command in the cell to its end; output holds both streams.

    Raises TimedOutError after the cell's wall seconds and DiskFullError above its disk bytes.
    """
    with started(cell, argv) as (running, watch):
        printed = [*process.lines(running, timeout=cell.limits.wall_seconds, every=watch)]
        running.wait()
    output = "\n".join(printed).encode()
    return process.Finished(tuple(argv), running.returncode, output, b"", 0.0)


def probe(stage: Path, uid: int) -> None:
    """Make a cell with overlays and look around in it.

    Raises NoSandboxError with what to enable when the machine cannot give one.
    """
    for name in ("lower", "upper", "obj-upper"):
        (stage / name).mkdir(parents=True, exist_ok=True)
    layers = Layers((stage / "lower",), stage / "upper")
    limits = Limits(
        wall_seconds=20, memory_bytes=1 << 30, processes=SHARED, file_bytes=1 << 20,
        disk_bytes=1 << 20, parallel=1,
    )  # fmt: skip
    cell = Cell(stage, layers, Layers((stage / "lower",), stage / "obj-upper"), limits, uid)
    script = f"test $(id -u) != 0 && touch probe && ls {SRC} && ! test -e /root"
    try:
        done = run(cell, ["sh", "-c", script])
    except (OSError, process.MissingProgramError) as error:
        raise _refusal(str(error)) from error
    if done.status != 0:
        raise _refusal(done.tail(1)[0] if done.tail(1) else f"status {done.status}")


@cache
def require(builds: Path, uid: int) -> None:
    """Probe once in the life of this process, in a directory of its own below ``builds``.

    Raises NoSandboxError.
    """
    builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builds) as stage:
        probe(Path(stage), uid)


def _refusal(said: str) -> NoSandboxError:
    return NoSandboxError(
        f"no sandbox on this machine ({said}); builds are refused: run as root, or enable "
        "unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
        "user.max_user_namespaces=10000), install bubblewrap and load the overlay module"
    )
