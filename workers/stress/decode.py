"""Addresses of a console turned into files and lines, by the kernel's own script.

The vmlinux comes out of a build of the patch, so that the programs which read it run in a
box like everything else that touches it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from bot.contract import ConsoleReport, Limits, OursError, plain
from workers import sandbox
from workers.sandbox import Box

SECONDS = 60
LIMITS = Limits(
    wall_seconds=SECONDS, memory_bytes=4 << 30, processes=sandbox.SHARED, file_bytes=1 << 20,
    disk_bytes=1 << 20, parallel=1,
)  # fmt: skip
SYMBOL = re.compile(r"[0-9a-f]+ [tTwW] (\S+)$")
JUMPS = 3  # in a row
OBJDUMP = ("objdump", "-d", "--no-show-raw-insn")
JUMP = re.compile(r"\sjmp\s+[0-9a-f]+ <([\w.]+)>")  # to the start of a function


class NotDecodedError(OursError):
    """The programs that read a vmlinux did not do it; says which."""


def _run(box: Box, argv: Sequence[str], stdin: bytes) -> bytes:
    with sandbox.boxed(box, argv, ()) as running:
        try:
            output, errors = running.communicate(stdin, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise NotDecodedError(f"{argv[0]} did not end within {SECONDS} s") from error
    if running.returncode != 0:
        said = errors.decode(errors="replace").strip().splitlines() or ["no word"]
        raise NotDecodedError(f"{argv[0]} ended with status {running.returncode}: {said[-1][:120]}")
    return output


def symbols(vmlinux: Path, scratch: Path, uid: int) -> frozenset[str]:
    """Return the functions that a vmlinux defines, without suffixes such as `.constprop.0`.

    Raises NotDecodedError.
    """
    box = Box(scratch, LIMITS, uid, ((vmlinux, "/guest/vmlinux"),))
    text = _run(box, ["nm", "/guest/vmlinux"], b"").decode(errors="replace")
    found = (SYMBOL.fullmatch(line) for line in text.splitlines())
    return frozenset(plain(one[1]) for one in found if one)


def jumps(
    functions: Collection[str], vmlinux: Path, scratch: Path, uid: int
) -> dict[str, frozenset[str]]:
    """Return for each function the functions that it ends in a jump to, directly or by others.

    Such a call leaves no frame. Raises NotDecodedError.
    """
    box = Box(scratch, LIMITS, uid, ((vmlinux, "/guest/vmlinux"),))
    known: dict[str, frozenset[str]] = {}
    left = set(functions)
    for _ in range(JUMPS):
        for name in sorted(left):
            argv = [*OBJDUMP, f"--disassemble={name}", "/guest/vmlinux"]
            targets = JUMP.findall(_run(box, argv, b"").decode(errors="replace"))
            known[name] = frozenset(map(plain, targets)) - {name}
        left = {one for targets in known.values() for one in targets} - known.keys()
        left = {one for one in left if not one.startswith("__x86_")}
    return {name: _reached(name, known) for name in functions}


def _reached(name: str, known: dict[str, frozenset[str]]) -> frozenset[str]:
    found, left = set[str](), {name}
    while left:
        targets = {one for each in left for one in known.get(each, ())}
        left = targets - found
        found |= targets
    return frozenset(found)


def decode(
    report: ConsoleReport, vmlinux: Path, script: Path, scratch: Path, uid: int
) -> ConsoleReport:
    """Return a report with its lines decoded by scripts/decode_stacktrace.sh.

    Raises NotDecodedError.
    """
    shown = ((vmlinux, "/guest/vmlinux"), (script, "/guest/decode_stacktrace.sh"))
    box = Box(scratch, LIMITS, uid, shown)
    argv = ["bash", "/guest/decode_stacktrace.sh", "/guest/vmlinux"]
    text = _run(box, argv, "\n".join(report.lines).encode()).decode(errors="replace")
    lines = tuple(_shortened(line) for line in text.splitlines())
    return report.model_copy(update={"decoded": lines})


def _shortened(line: str) -> str:
    """Return a decoded line with paths as of the tree: the script leaves what it cannot strip."""
    return line.replace("/build/src/", "").replace("/build/obj/", "").rstrip()
