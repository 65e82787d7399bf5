"""What this machine lets a worker do: how many jobs at a time, and of which kinds.

Cores and memory are what a process may use here, which in a container or under a service
manager is less than what the machine has: control groups are read for both.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bot.contract import OursError, Queue, TheirsError
from bot.contract.wire import KVM
from workers import process, sandbox
from workers.config import WorkerConfig
from workers.stress import accelerator, guest, qemu

RESERVE = 1 << 30  # bytes for the worker itself, its page cache, a broker beside it
CGROUPS = Path("/sys/fs/cgroup")
# what is nearly done goes first: a review is answered before the next one is begun
ORDER = (Queue.STACK.value, KVM, Queue.STRESS.value, Queue.BUILD.value)


class UnableError(TheirsError):
    """A queue was asked for that this machine cannot serve; says why."""


class NothingToServeError(OursError):
    """This machine can do none of the jobs; says why."""


@dataclass(frozen=True)
class Machine:
    """What a worker may use here."""

    cores: int
    memory: int  # bytes


def measure(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> Machine:
    """Return the cores and the memory that this process may use.

    ``root`` is where control groups are mounted, ``own`` says in which of them it is.
    """
    quotas, limits = [], []
    for controllers, path in _groups(own):
        for group in _upwards(root, controllers, path):
            quotas.append(_quota(group))
            limits.append(_limit(group))
    cores = [len(os.sched_getaffinity(0)), *(math.floor(one) for one in quotas if one)]
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(max(1, min(cores)), min([physical, *(one for one in limits if one)]))


def _groups(own: Path) -> Iterator[tuple[str, str]]:
    """Yield the controllers (none: version 2) and the path of each group that we are in."""
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or {"memory", "cpu"} & set(controllers.split(",")):
                yield controllers, path


def _upwards(root: Path, controllers: str, path: str) -> Iterator[Path]:
    """Yield a group and all above it; in a container its path may be hidden, and not the mount."""
    mounts = [root / controllers] if controllers else [root, root / "unified"]
    for mount in mounts:
        group = mount / path.lstrip("/")
        while group != mount and group.is_relative_to(mount):
            yield group
            group = group.parent
        yield mount


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text())
    return None


def _limit(group: Path) -> int | None:
    """Return a group's memory limit in bytes; "none" is a number near 2^63 in version 1."""
    return _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")


def _quota(group: Path) -> float | None:
    """Return how many cores a group may keep busy."""
    with suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text().split()
        return int(quota) / int(period)  # "max" is no number
    quota_us, period_us = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us and quota_us > 0 else None


def slots(machine: Machine, build_memory: int) -> int:
    """Return how many jobs to run at a time, where each build may take so many bytes.

    One for each core: linking, stack jobs and guests under TCG keep one core busy each, and the
    moments in which a build compiles with ``make -j`` are short, because most of its tree is a
    baseline. But no more than builds fit into memory side by side, should each take what it may:
    else the kernel's out-of-memory killer decides which job is broken. One at least.
    """
    return max(1, min(machine.cores, (machine.memory - RESERVE) // build_memory))


def queues(
    config: WorkerConfig, wanted: Sequence[str] = (), *, anyway: bool = False
) -> tuple[str, ...]:
    """Return the queues to serve, in the order in which they are looked at.

    Without wishes these are all that the machine is able to; ``anyway`` means that there is no
    other worker, and each job that cannot be done shall say why. Raises UnableError for a wish
    that the machine is not able to, NothingToServeError when there is nothing left.
    """
    able = _Able(config)
    if anyway and not wanted:
        return tuple(name for name in ORDER if name != KVM or has_kvm(config))
    if not wanted:
        found = {name for name in ORDER if able.why_not(name) is None}
        if not found:
            raise NothingToServeError(
                f"this worker can do nothing: {able.why_not(Queue.BUILD.value)}"
            )
        return tuple(name for name in ORDER if name in found)
    for name in wanted:
        if name not in ORDER:
            raise UnableError(f"there is no queue {name}: take some of {', '.join(sorted(ORDER))}")
        why = able.why_not(name)
        if name == KVM and able.kvm_is_open() and Queue.STRESS in wanted:
            continue  # it is served once a guest has booted with it
        if why is not None:
            raise UnableError(f"this machine cannot serve the queue {name}: {why}")
    return tuple(n for n in ORDER if n in wanted and (n != KVM or has_kvm(config)))


def has_kvm(config: WorkerConfig) -> bool:
    """Whether a guest has booted with KVM since this machine was started.

    The first stress job finds it out, because only then there is a kernel that is known to boot.
    """
    return _kept(config).get("accelerator") == "kvm"


def _kept(config: WorkerConfig) -> dict[str, str]:
    """Return what workers.stress.accelerator found out, if it did."""
    with suppress(OSError, ValueError):
        name = f"accelerator-{accelerator.BOOT_ID.read_text().strip()}.json"
        found = json.loads((config.stress / name).read_text())
        return found if isinstance(found, dict) else {}
    return {}


class _Able:
    """Why a queue cannot be served here."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._asked: dict[str, str | None] = {}

    def why_not(self, name: str) -> str | None:
        """Return the reason, None: it can."""
        if name not in self._asked:
            look: Callable[[], str | None] = {KVM: self._kvm, Queue.STRESS.value: self._stress}.get(
                name, self._sandbox
            )
            try:
                self._asked[name] = look()
            except (OursError, OSError) as error:
                self._asked[name] = str(error)
        return self._asked[name]

    def kvm_is_open(self) -> bool:
        """Whether KVM may work: nobody has tried yet."""
        return (
            os.access(accelerator.DEVICE, os.R_OK | os.W_OK)
            and not _kept(self._config)
            and self.why_not(Queue.STRESS.value) is None
        )

    def _sandbox(self) -> None:
        sandbox.require(self._config.builds, self._config.sandbox_uid)

    def _stress(self) -> str | None:
        self._sandbox()
        if shutil.which(qemu.PROGRAM) is None:
            return f"{qemu.PROGRAM} is not installed: apt-get install qemu-system-x86"
        guest.ensure(self._config.stress)
        return None

    def _kvm(self) -> str | None:
        if not os.access(accelerator.DEVICE, os.R_OK | os.W_OK):
            return f"{accelerator.DEVICE} cannot be opened"
        kept = _kept(self._config)
        if not kept:
            return "no guest has booted with KVM yet: serve stress too, whose first job tries it"
        if kept.get("accelerator") != "kvm":
            return kept.get("reason", "guests do not boot with it")
        return self.why_not(Queue.STRESS.value)


def compiler(name: str = "gcc") -> str:
    """Return the first line of a compiler's version, empty where there is none."""
    with suppress(OursError, UnicodeDecodeError):
        return process.check([name, "--version"], timeout=20).decode().partition("\n")[0]
    return ""


def name_of(given: str | None) -> str:
    """Return what a worker is called: as it was named, else host and process.

    Raises UnableError for a name that is not one word.
    """
    if given is None:
        return f"{platform.node()}:{os.getpid()}"
    if not given or set(given) & set(" \t\r\n%") or not given.isprintable():
        raise UnableError(f"worker_name: {given!r} must be one word without %")
    return given
