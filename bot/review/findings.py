"""Results of jobs turned into findings, each with its severity by policy."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator

from bot.contract import (
    BuildResult,
    Call,
    Finding,
    FindingKind,
    Frame,
    KernelConfig,
    Misfit,
    PatchBuilt,
    Severity,
    StackResult,
    StressResult,
)
from bot.review import chains, stress
from bot.review.touched import Touched
from policies.schema import Gates

KCFLAGS = "-g1 -fstack-usage -fcallgraph-info=su,da"  # as in workers/make.py, which a test compares

IMAGE = "arch/x86/boot/bzImage"  # the only kernel that is booted so far


def find(
    gates: Gates,
    config: KernelConfig,
    build: BuildResult,
    stack: StackResult | None,
    boots: StressResult | None = None,
    among: tuple[Touched, ...] = (),
    removed: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Return all findings in the order of patches, files and lines.

    ``among`` are the functions that the series touches, ``removed`` the files that are no
    longer there at its end: nothing compiles them again to see that a warning went with them.
    """
    warned = FindingKind.WARNING
    found = [
        one for one in _of_build(gates, config, build)
        if one.kind is not warned or one.file not in removed
    ]  # fmt: skip
    if stack is not None:
        found += [f for frame in stack.frames for f in _of_frame(gates, config, frame)]
        found += [f for call in stack.calls for f in _of_call(gates, config, call)]
        found += chains.find(gates, config.arch, stack)
    if boots is not None:
        last = max((patch.index for patch in build.patches), default=1)
        found += stress.find(boots, among, last, IMAGE)
    return tuple(sorted(found, key=order))


def order(finding: Finding) -> tuple[object, ...]:
    """Return the place of a finding among the others."""
    return (
        finding.patch, finding.file, finding.line or 0, finding.kind, finding.function or "",
        finding.text,
    )  # fmt: skip


def _of_build(gates: Gates, config: KernelConfig, build: BuildResult) -> Iterator[Finding]:
    if build.refusal:
        yield Finding(
            kind=FindingKind.REFUSED, severity=Severity.FAIL, patch=build.refusal.index,
            file=build.refusal.file or "", line=None, function=None, before=None, after=None,
            text=(build.refusal.reason,), reproduce="",
        )  # fmt: skip
    if build.misfit:
        yield _of_misfit(build.misfit)
    for patch in build.patches:
        if patch.error:
            yield _of_error(config, patch)
        for warned in patch.warnings:
            yield Finding(
                kind=FindingKind.WARNING,
                severity=Severity.FAIL if gates.warning.fails else Severity.NOTE,
                patch=warned.index, file=warned.file, line=warned.line, function=None,
                before=None, after=None, text=warned.lines,
                reproduce=make(config, _object(warned.file)),
            )  # fmt: skip


def _of_misfit(misfit: Misfit) -> Finding:
    return Finding(
        kind=FindingKind.DOES_NOT_APPLY, severity=Severity.FAIL, patch=misfit.index,
        file=misfit.file or "", line=misfit.line, function=None, before=None, after=None,
        text=(misfit.reason, *(f"-{line}" for line in misfit.expected),
              *(f"+{line}" for line in misfit.found)),
        reproduce="git am --3way",
    )  # fmt: skip


def _of_error(config: KernelConfig, patch: PatchBuilt) -> Finding:
    place = next((line for line in patch.error if ": error: " in line), "")
    file, _, rest = place.partition(":")
    line = rest.partition(":")[0]
    named = bool(place) and line.isdigit()
    return Finding(
        kind=FindingKind.DOES_NOT_BUILD, severity=Severity.FAIL, patch=patch.index,
        file=file if named else "", line=int(line) if named else None, function=None,
        before=None, after=None, text=patch.error,
        reproduce=make(config, _object(file) if named else config.target),
    )  # fmt: skip


def _of_frame(gates: Gates, config: KernelConfig, frame: Frame) -> Iterator[Finding]:
    before, after = frame.before, frame.after
    if after is None:
        return
    growth = after - (before or 0)
    gate = gates.frame
    grown = before is not None and growth > 0
    large = after >= gate.large_bytes and growth > 0
    if frame.dynamic:
        kind, said = FindingKind.FRAME_DYNAMIC, True
    elif grown:
        kind, said = FindingKind.FRAME_GREW, growth >= gate.note_bytes or large
    else:
        kind, said = FindingKind.FRAME_NEW, before is None and after >= gate.new_bytes
    if said:
        fails = large or (grown and growth >= gate.fail_bytes)
        yield Finding(
            kind=kind, severity=Severity.FAIL if fails else Severity.NOTE, patch=frame.patch,
            file=frame.file, line=frame.line, function=frame.function, before=before, after=after,
            text=(), reproduce=_see_frame(config, frame),
        )  # fmt: skip


def _of_call(gates: Gates, config: KernelConfig, call: Call) -> Iterator[Finding]:
    gate = next((g for g in gates.call if g.matches(call.callee, call.file)), None)
    if call.added and gate is not None:
        yield Finding(
            kind=FindingKind.CALL_NEW, severity=Severity.NOTE, patch=call.patch, file=call.file,
            line=call.line, function=call.caller, before=None, after=None,
            text=(call.callee, gate.reason), reproduce=make(config, call.object),
        )  # fmt: skip


def _object(file: str) -> str:
    stem, dot, suffix = file.rpartition(".")
    return f"{stem}.o" if dot and suffix in ("c", "S") else ""


def make(config: KernelConfig, target: str) -> str:
    """Return the make line that builds a target as stackhog does, for any kernel tree."""
    words = ["make", f"ARCH={config.arch}", f"KCFLAGS={KCFLAGS}", target or config.target]
    return shlex.join(words)


def _see_frame(config: KernelConfig, frame: Frame) -> str:
    side = shlex.quote(frame.object.removesuffix(".o") + ".su")
    name = shlex.quote(frame.function.partition(".")[0])
    return f"{make(config, frame.object)} && grep -w {name} {side}"
