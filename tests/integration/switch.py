"""A network switch as a thread: every frame between hosts passes through it, or does not.

Hosts are network namespaces with a TAP device each. The kernel's own means to slow links down
(`tc netem`) are a module that not every kernel has; here a link is cut, one way or both, delayed
and made lossy on any machine, and can be cut by what is on it.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

DEVICE = "eth0"
TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
FRAME = 1 << 16
Found = TypeVar("Found")


@dataclass
class Way:
    """One direction of a link; ``delay`` is in seconds, ``loss`` a share of all frames."""

    cut: bool = False
    delay: float = 0.0
    loss: float = 0.0
    passed: int = 0
    dropped: int = 0


@dataclass
class Link:
    """The cable of a host."""

    out: Way = field(default_factory=Way)  # what the host sends
    into: Way = field(default_factory=Way)  # what it is sent
    trap: bytes = b""  # in a frame that the host sends: cut from this frame on
    sprung: threading.Event = field(default_factory=threading.Event)

    def cut(self) -> None:
        """Let nothing pass any more; nobody is told."""
        self.out.cut = self.into.cut = True

    def slow(self, delay: float, loss: float) -> None:
        """Delay and lose frames, both ways."""
        for way in (self.out, self.into):
            way.delay, way.loss = delay, loss

    def heal(self) -> None:
        """Let all pass again, at once."""
        self.trap = b""
        for way in (self.out, self.into):
            way.cut, way.delay, way.loss = False, 0.0, 0.0

    @property
    def dropped(self) -> int:
        """How many frames were lost on it."""
        return self.out.dropped + self.into.dropped


class Switch:
    """Passes frames between the devices of namespaces; ``links`` are by the hosts' names."""

    def __init__(self, namespaces: dict[str, str], seed: int = 1) -> None:
        """Make a device in each namespace; fails with a sentence where that is not possible."""
        self.links = {host: Link() for host in namespaces}
        self._fds = {inside(name, _tap): host for host, name in namespaces.items()}
        self._known: dict[bytes, int] = {}  # hardware address → device
        self._late: list[tuple[float, int, int, bytes]] = []  # what is still on its way
        self._count = 0
        self._dice = random.Random(seed)  # noqa: S311 - which frames are lost
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="switch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take all devices away."""
        self._end.set()
        self._thread.join()
        for fd in self._fds:
            os.close(fd)

    def _run(self) -> None:
        poll = select.epoll()
        for fd in self._fds:
            poll.register(fd, select.EPOLLIN)
        while not self._end.is_set():
            wait = self._late[0][0] - time.monotonic() if self._late else 0.2
            for fd, _ in poll.poll(max(min(wait, 0.2), 0)):
                with suppress(OSError):
                    self._take(fd, os.read(fd, FRAME))
            while self._late and self._late[0][0] <= time.monotonic():
                *_, to, frame = heapq.heappop(self._late)
                self._give(to, frame)
        poll.close()

    def _take(self, fd: int, frame: bytes) -> None:
        link = self.links[self._fds[fd]]
        if link.trap and link.trap in frame:
            link.trap = b""
            link.cut()
            link.sprung.set()
        self._known[frame[6:12]] = fd
        to = self._known.get(frame[:6])
        if not self._passes(link.out):
            return
        for other in [to] if to is not None else [one for one in self._fds if one != fd]:
            delay = link.out.delay + self.links[self._fds[other]].into.delay
            if delay:
                self._count += 1
                heapq.heappush(self._late, (time.monotonic() + delay, self._count, other, frame))
            else:
                self._give(other, frame)

    def _give(self, fd: int, frame: bytes) -> None:
        if self._passes(self.links[self._fds[fd]].into):
            with suppress(OSError):  # the device is down
                os.write(fd, frame)

    def _passes(self, way: Way) -> bool:
        passes = not way.cut and self._dice.random() >= way.loss
        way.passed += passes
        way.dropped += not passes
        return passes


def inside(namespace: str, work: Callable[[], Found]) -> Found:
    """Return what some work returns that is done in a network namespace.

    A namespace belongs to a thread: what is opened there stays there, and nobody else moves.
    Raises what the work raises, OSError where there is no such namespace.
    """
    found: list[Found] = []
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            _enter(namespace)
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _enter(namespace: str) -> None:
    fd = os.open(Path("/run/netns") / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    finally:
        os.close(fd)


def _tap() -> int:
    request = struct.pack("16sH22x", DEVICE.encode(), IFF_TAP | IFF_NO_PI)
    fd = -1
    try:
        fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, request)
    except OSError as error:
        with suppress(OSError):
            os.close(fd)
        raise AssertionError(
            f"no network device can be made here ({error}): this test needs {TUN} and CAP_NET_ADMIN"
        ) from error
    return fd
