"""The command line of QEMU, and the box that it runs in.

The guest is hostile, and QEMU is a large program that reads what it does: it runs without
any privilege in namespaces of its own (workers/sandbox.py), behind its own seccomp filter
besides ours, without network, monitor socket or default devices. What it may touch: its
kernel and archive, disk images that it cannot write to (``snapshot=on`` puts changes into an
unlinked file), three pipes.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bot.contract import Limits
from workers.sandbox import Box

PROGRAM = "qemu-system-x86_64"
EXIT_PORT = 0xF4  # guest/record.c writes its exit code there
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
OWN_BYTES = 3 << 30  # address space of QEMU besides the guest's memory
TRANSLATED_MIB = 128  # translated code that TCG keeps
THREADS = 1024  # of all guests that run as one user, and of builds beside them
APPEND = (
    "console=ttyS0", "printk.time=1", "loglevel=7", "panic=-1", "oops=panic", "nokaslr",
    "softlockup_panic=1", "watchdog_thresh=6", "hung_task_panic=1", "unknown_nmi_panic",
    "sysctl.kernel.hung_task_timeout_secs=20", "sysctl.kernel.hung_task_check_interval_secs=2",
)  # fmt: skip

Accelerator = Literal["tcg", "kvm"]
CPU = {"tcg": "max", "kvm": "host"}
# with a thread for each processor one may run into what ftrace patched out on the other
ACCEL = {"tcg": f"tcg,thread=single,tb-size={TRANSLATED_MIB}", "kvm": "kvm"}


@dataclass(frozen=True)
class Disk:
    """An image that the guest sees as the next virtio disk."""

    image: Path
    write_bytes: int = 0  # a second that it may write; 0: no limit
    keep: bool = False  # what the guest writes goes into the image itself


@dataclass(frozen=True)
class Machine:
    """A guest that can be started."""

    kernel: Path
    initramfs: Path
    disks: tuple[Disk, ...]
    memory_mib: int
    cpus: int
    accelerator: Accelerator
    seconds: int  # of wall time


def drive_name(number: int) -> str:
    """Return what QMP calls a disk."""
    return f"disk{number}"


def _drives(machine: Machine, paths: Sequence[str], *, named: bool) -> list[str]:
    argv = []
    for number, (disk, path) in enumerate(zip(machine.disks, paths, strict=True)):
        options = f"file={path},if=virtio,format=raw,cache=unsafe"
        options += f",id={drive_name(number)}" if named else ""
        options += "" if disk.keep else ",snapshot=on"
        if disk.write_bytes:
            options += f",throttling.bps-write={disk.write_bytes}"
        argv += ["-drive", options]
    return argv


def _hardware(machine: Machine) -> list[str]:
    return [
        "-accel", ACCEL[machine.accelerator], "-cpu", CPU[machine.accelerator],
        # a kernel without ACPI reads SeaBIOS's MP table, which lists sockets alone
        "-smp", f"{machine.cpus},sockets={machine.cpus}",
        "-m", str(machine.memory_mib), "-nodefaults", "-no-user-config",
        "-display", "none", "-no-reboot",
        "-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x1",
    ]  # fmt: skip


def argv(machine: Machine, console_fd: int, records_fd: int) -> list[str]:
    """Return QEMU's command line inside the box; QMP is on its standard input and output."""
    serial = []
    for number, fd in enumerate((console_fd, records_fd), 1):
        serial += ["-add-fd", f"fd={fd},set={number}"]
        serial += ["-chardev", f"file,id=serial{number},path=/dev/fdset/{number},append=on"]
        serial += ["-serial", f"chardev:serial{number}"]
    return [
        PROGRAM, "-sandbox", SANDBOX, *_hardware(machine), *serial, "-qmp", "stdio",
        "-kernel", "/guest/kernel", "-initrd", "/guest/initramfs", "-append", " ".join(APPEND),
        *_drives(machine, [_inside(machine, n) for n in range(len(machine.disks))], named=True),
    ]  # fmt: skip


def _inside(machine: Machine, number: int) -> str:
    disk = machine.disks[number]
    return f"/scratch/{disk.image.name}" if disk.keep else f"/guest/disk{number}"


def plain(machine: Machine) -> str:
    """Return a line that boots the same guest by hand, console on the terminal."""
    words = [
        PROGRAM, *_hardware(machine), "-serial", "stdio", "-serial", "file:records",
        "-kernel", str(machine.kernel), "-initrd", str(machine.initramfs),
        *_drives(machine, [str(disk.image) for disk in machine.disks], named=False),
    ]  # fmt: skip
    # within double quotes it can be broken over lines
    return f'{shlex.join(words)} -append "{" ".join(APPEND)}"'


def box(machine: Machine, scratch: Path, uid: int) -> Box:
    """Return where the guest runs; a disk that is kept must lie in ``scratch``."""
    shown = [(machine.kernel, "/guest/kernel"), (machine.initramfs, "/guest/initramfs")]
    shown += [
        (disk.image, f"/guest/disk{number}")
        for number, disk in enumerate(machine.disks) if not disk.keep
    ]  # fmt: skip
    size = max((disk.image.stat().st_size for disk in machine.disks), default=0)
    memory = (machine.memory_mib << 20) + OWN_BYTES
    limits = Limits(
        wall_seconds=machine.seconds * max(1, machine.cpus), memory_bytes=memory,
        processes=THREADS, file_bytes=2 * size + (1 << 20), disk_bytes=2 * size, parallel=1,
    )  # fmt: skip
    devices = ("/dev/kvm",) if machine.accelerator == "kvm" else ()
    return Box(scratch, limits, uid, tuple(shown), devices)
