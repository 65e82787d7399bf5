"""Runs `stackhog stress`: the same job as a worker's, in this process."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bot.contract import (
    Boot,
    Finding,
    Kernel,
    OursError,
    Outcome,
    Progress,
    StressRequest,
    StressResult,
    StressRun,
    TheirsError,
)
from bot.review import stress as judging
from bot.settings import Settings
from bot.verbs.wiring import worker_config
from policies import stress as policy
from policies.stress import Filesystem, Profile, StressPolicyError
from workers.artifacts import Artifacts
from workers.layers import job_directory
from workers.stress import guest, images, job, qemu
from workers.stress import run as stressing
from workers.stress.boot import DONE
from workers.stress.qemu import Machine

IN_BUILD = Path("arch/x86/boot/bzImage")  # of an image within its object directory
DECODER = Path("scripts/decode_stacktrace.sh")
EXIT_DONE = DONE << 1 | 1  # what isa-debug-exit makes of it
BZIMAGE = b"HdrS"  # at 0x202, Documentation/x86/boot.rst
Run = tuple[Profile, Filesystem]


def runs(profiles: Sequence[str], filesystems: Sequence[str], pairs: int | None) -> tuple[Run, ...]:
    """Return what to run.

    Raises TheirsError for a profile or filesystem that there is not.
    """
    try:
        wanted = {Filesystem(one) for one in filesystems} or set(Filesystem)
        loaded = [policy.load(one) for one in profiles]
    except (StressPolicyError, ValueError) as error:
        raise TheirsError(str(error)) from error
    more = {} if pairs is None else {"pairs": pairs}
    found = tuple(
        (one.model_copy(update=more), fs)
        for one in loaded for fs in one.filesystems if fs in wanted
    )  # fmt: skip
    if not found:
        named = ", ".join(sorted(wanted))
        raise TheirsError(f"none of these profiles is made for {named}: name another --filesystem")
    return found


def _read(image: Path) -> bytes:
    try:
        content = image.read_bytes()
    except OSError as error:
        raise TheirsError(f"{image} cannot be read: {error.strerror}") from error
    if content[0x202:0x206] != BZIMAGE:
        raise TheirsError(f"{image} is no bzImage: name arch/x86/boot/bzImage of a kernel build")
    return content


def _build(image: Path) -> Path | None:
    """Return the object directory that an image lies in, if it does."""
    found = image.absolute()
    return found.parents[3] if found.parts[-4:] == IN_BUILD.parts else None


def _kernel(artifacts: Artifacts, image: Path) -> Kernel:
    content, top = _read(image), _build(image)
    vmlinux = top / "vmlinux" if top else None
    symbols = vmlinux.read_bytes() if vmlinux and vmlinux.is_file() else None
    return Kernel(image=artifacts.put(content), vmlinux=artifacts.put(symbols) if symbols else None)


def _decoder(artifacts: Artifacts, image: Path) -> str | None:
    top = _build(image)
    places = [top / DECODER, top / "source" / DECODER] if top else []
    found = next((one for one in places if one.is_file()), None)
    return artifacts.put(found.read_bytes()) if found else None


def run(
    settings: Settings,
    image: Path,
    base: Path | None,
    wanted: tuple[Run, ...],
    tell: Callable[[Progress], None],
) -> StressResult:
    """Boot the kernel, and the base in turn with it.

    Raises TheirsError where an image is none, OursError where this machine fails.
    """
    worker = worker_config(settings)
    artifacts = Artifacts(worker.artifacts, worker.remote)
    request = StressRequest(
        patched=_kernel(artifacts, image), base=_kernel(artifacts, base) if base else None,
        runs=wanted, decoder=_decoder(artifacts, image),
    )  # fmt: skip
    result = stressing.run(worker, request, tell)
    if result.outcome is Outcome.BROKEN:
        raise OursError(result.reason)
    return result


def findings(result: StressResult, image: Path) -> tuple[Finding, ...]:
    """Return what was found."""
    return tuple(judging.find(result, (), 0, shlex.quote(str(image))))


def keep(
    settings: Settings, result: StressResult, consoles: Path | None, stacks: Path | None
) -> None:
    """Write out consoles and stacks where they were asked for."""
    config = worker_config(settings)
    artifacts = Artifacts(config.artifacts, config.remote)
    if consoles is not None:
        consoles.mkdir(parents=True, exist_ok=True)
        for run in result.runs:
            for side, boots in (("base", run.base), ("patched", run.patched)):
                for number, boot in enumerate(boots, 1):
                    name = f"{run.profile.name}-{run.filesystem}-{side}-{number}.log"
                    if boot.console and artifacts.has(boot.console):
                        (consoles / name).write_bytes(artifacts.get(boot.console))
    if stacks is not None:
        texts = [artifacts.get(run.dumps) for run in result.runs if run.dumps]
        stacks.write_bytes(b"".join(texts))


def as_json(result: StressResult, found: Sequence[Finding]) -> str:
    """Return result and findings as `--json` prints them."""
    document = result.model_dump(mode="json")
    document["findings"] = [one.model_dump(mode="json", exclude={"patch"}) for one in found]
    return json.dumps(document, indent=1, sort_keys=True)


def as_text(result: StressResult, found: Sequence[Finding]) -> str:
    """Return result and findings for a person."""
    lines = [f"QEMU with {result.accelerator.upper()}: {result.accelerator_reason}", ""]
    for run in result.runs:
        lines += [*_table(run), ""]
    for one in found:
        lines += [f"FOUND: {one.text[0]}", *(f"  {line}" for line in one.text[1:]), ""]
    if not found:
        lines.append("Nothing was found.")
    return "\n".join(lines)


def _table(run: StressRun) -> list[str]:
    lines = [f"{run.profile.name} on {run.filesystem}: {run.profile.about}"]
    for side, boots in (("base", run.base), ("patched", run.patched)):
        for number, boot in enumerate(boots, 1):
            kept = " (kept)" if side == "base" and number <= run.kept else ""
            lines.append(f"  {side:8}{number:2}  {boot.seconds:5.1f} s  {_ended(boot)}{kept}")
    short = judging.missing(run)
    lines.append(f"  reached: {judging.exposure(run)}")
    if short:
        lines.append(f"  inconclusive: only {short}")
    return lines


def _ended(boot: Boot) -> str:
    said = f"{boot.ending}: {boot.problem}" if boot.problem else str(boot.ending)
    direct = sum(one.count for one in boot.direct_writes)
    deepest = max((stack.depth for stack in boot.stacks), default=0)
    return f"{said}; {direct} file pages by direct reclaim, deepest stack below it {deepest} bytes"


def export(settings: Settings, image: Path, run: Run, target: Path) -> None:
    """Write kernel, archive, disks and boot.sh, by which QEMU alone boots what is booted here.

    Raises TheirsError, OursError.
    """
    _read(image)
    worker = worker_config(settings)
    init = guest.ensure(worker.stress)
    profile, filesystem = run
    target.mkdir(parents=True, exist_ok=True)
    with job_directory(worker.builds) as scratch:
        disks = images.blank(scratch, profile, filesystem)
        for disk in disks:
            (target / disk.image.name).write_bytes(disk.image.read_bytes())
    machines = {name: stressing.by_hand(profile, name) for name in ("fill", "stress")}
    for name in machines:
        text = job.text(profile, filesystem, secrets.token_hex(16), 1, prepare=name == "fill")
        (target / name).write_bytes(guest.initramfs(init, text))
    (target / "kernel").write_bytes(image.read_bytes())
    (target / "boot.sh").write_text("".join(f"{line}\n" for line in _script(machines)))


def _script(machines: Mapping[str, Machine]) -> Iterator[str]:
    yield from ("#!/bin/sh", "# Fills the disks, then boots the kernel under stress.", "set -eu")
    yield 'cd "$(dirname "$0")"'
    for machine in machines.values():
        here = replace(
            machine, kernel=Path("kernel"), initramfs=Path(machine.initramfs.name),
            disks=tuple(replace(d, image=Path(d.image.name)) for d in machine.disks),
        )  # fmt: skip
        yield "status=0"
        yield f"{qemu.plain(here)} || status=$?"
        yield f"test $status = {EXIT_DONE} || {{ echo status $status; exit 1; }}"
    yield "grep -E ' (verified|stack|worked|bad-page|problem|end) ' records"
