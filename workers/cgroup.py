"""Control groups for builds, v2 or v1, where this machine lets us make them.

Where it does not, the rlimits of the sandbox remain the floor; `doctor` shows
which of the two are in force.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bot.contract import Limits

ROOT = Path("/sys/fs/cgroup")
GROUP = "stackhog"
V1_CONTROLLERS = ("memory", "pids")


@dataclass(frozen=True)
class Hierarchy:
    """One cgroup file system we may use, and how its limits are spelled there."""

    version: int
    controllers: tuple[str, ...]
    parent: Path  # our group; one child per build

    def settings(self, limits: Limits) -> Mapping[str, str]:
        """Return file name and content of each limit (Documentation/admin-guide/cgroup-*)."""
        memory, pids = str(limits.memory_bytes), str(limits.processes)
        if self.version == 2:  # noqa: PLR2004
            return {"memory.max": memory, "memory.swap.max": "0", "pids.max": pids}
        names = {"memory": ("memory.limit_in_bytes", memory), "pids": ("pids.max", pids)}
        return dict(names[controller] for controller in self.controllers)


def _mounted() -> Iterator[tuple[str, Path, str]]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            yield kind, Path(where), options


def _writable(parent: Path) -> bool:
    try:
        parent.mkdir(exist_ok=True)
        probe = parent / f"{os.getpid()}-probe-{uuid4().hex}"
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def _v2(mount: Path) -> Hierarchy | None:
    # the delegated group of a user's session, else the root of the hierarchy
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    for base in (mount, mount / own):
        parent = base / GROUP
        if not _writable(parent):
            continue
        for directory in (base, parent):
            with suppress(OSError):
                (directory / "cgroup.subtree_control").write_text("+memory +pids")
        enabled = (parent / "cgroup.subtree_control").read_text().split()
        if {"memory", "pids"} <= set(enabled):
            return Hierarchy(2, ("memory", "pids"), parent)
    return None


def hierarchies() -> tuple[Hierarchy, ...]:
    """Return the hierarchies in which builds can be limited; empty where there is none."""
    found = []
    for kind, mount, options in _mounted():
        if kind == "cgroup2":
            two = _v2(mount)
            if two:
                return (two,)
            continue
        ours = tuple(name for name in V1_CONTROLLERS if name in options.split(","))
        if ours and _writable(mount / GROUP):
            found.append(Hierarchy(1, ours, mount / GROUP))
    return tuple(found)


def _empty(group: Path) -> None:
    """Kill whatever is left in a group and remove it; the kernel frees it a moment later."""
    for _ in range(100):
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.02)
        else:
            return


def sweep() -> bool:
    """Remove groups that killed processes left; return whether all of them are gone.

    A group whose owner lives is left alone, even one that is still empty.
    """
    gone = True
    for hierarchy in hierarchies():
        for group in hierarchy.parent.iterdir():
            owner = group.name.partition("-")[0]
            if group.is_dir() and not (owner.isdigit() and Path("/proc", owner).exists()):
                try:
                    group.rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    gone = False
    return gone


@contextmanager
def limited(limits: Limits) -> Iterator[tuple[Path, ...]]:
    """Make a group per hierarchy; yield the files into which a process writes its pid.

    On the way out everything in the groups is killed and the groups are removed.
    """
    groups = []
    try:
        for hierarchy in hierarchies():
            group = hierarchy.parent / f"{os.getpid()}-{uuid4().hex}"
            group.mkdir()
            groups.append(group)
            for name, value in hierarchy.settings(limits).items():
                with suppress(FileNotFoundError):  # memory.swap.max needs CONFIG_SWAP
                    (group / name).write_text(value)
        yield tuple(group / "cgroup.procs" for group in groups)
    finally:
        for group in groups:
            _empty(group)
