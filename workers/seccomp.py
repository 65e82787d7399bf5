"""The system calls a build may not make, as a BPF program for bubblewrap.

Builds need no sockets, no mounts, no namespaces of their own and none of the
calls through which kernels have been broken out of. The list follows the
default profiles of flatpak (``common/flatpak-run.c``) and Docker
(``profiles/seccomp/default.json``), tightened by every kind of socket. The
x32 and i386 system call tables are refused as a whole, which is libseccomp's
default for a foreign architecture.
"""

from __future__ import annotations

import errno
import os
from functools import cache

import pyseccomp

CLONE_NEWUSER = 0x10000000  # include/uapi/linux/sched.h
TIOCSTI = 0x5412  # include/uapi/asm-generic/ioctls.h

DENIED = (
    "accept", "accept4", "acct", "add_key", "bind", "bpf", "chroot", "clock_adjtime",
    "clock_settime", "connect", "delete_module", "fanotify_init", "finit_module", "fsconfig",
    "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "listen", "mbind",
    "migrate_pages", "mknod", "mknodat", "mount", "mount_setattr", "move_mount", "move_pages",
    "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open", "personality",
    "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev",
    "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy", "setdomainname",
    "sethostname", "setns", "settimeofday", "socket", "socketpair", "swapoff", "swapon", "syslog",
    "umount2", "unshare", "userfaultfd", "vhangup",
)  # fmt: skip


@cache
def program() -> bytes:
    """Return the filter as classic BPF, as ``bwrap --seccomp`` reads it."""
    deny = pyseccomp.ERRNO(errno.EPERM)
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED:
        rules.add_rule(deny, name)
    newuser = pyseccomp.Arg(0, pyseccomp.MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER)
    rules.add_rule(deny, "clone", newuser)
    # its flags lie behind a pointer, where no filter can look; glibc then falls back on clone
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(deny, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, TIOCSTI))
    with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def descriptor() -> int:
    """Return a new inheritable file descriptor that holds the program, at its start."""
    fd = os.memfd_create("seccomp", 0)
    os.write(fd, program())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
