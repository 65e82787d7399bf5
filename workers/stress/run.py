"""The stress job: boots of base and patched kernel in turn, under each profile."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bot.contract import (
    Boot,
    Ending,
    Kernel,
    OursError,
    Outcome,
    Progress,
    StressRequest,
    StressResult,
    StressRun,
)
from policies.stress import Filesystem, Profile
from workers import sandbox
from workers.artifacts import Artifacts
from workers.config import WorkerConfig
from workers.layers import job_directory
from workers.stress import accelerator, decode, dumps, guest, images, job, qemu
from workers.stress.accelerator import Choice
from workers.stress.boot import DONE, Patience, boot
from workers.stress.judge import judge
from workers.stress.kept import Kept
from workers.stress.qemu import Disk, Machine

Report = Callable[[Progress], None]
OURS = frozenset({Ending.BROKEN})
AGAIN = frozenset({Ending.BROKEN, Ending.DEAF, Ending.SETUP})  # worth a second try
KERNEL = Path("arch/x86/boot/bzImage")
EXPORTED = Path("guest")  # the directory that commands in mails name
MOST_LOOKED_AT = 60  # calls whose code is looked at
DECODED = 3  # reports of a boot
FILL_SECONDS = 120


class GuestFailedError(OursError):
    """The base kernel cannot be stressed at all; says what went wrong."""


def run(worker: WorkerConfig, request: StressRequest, report: Report) -> StressResult:
    """Run everything asked for; the result holds facts, and judges none of them.

    Raises GuestFailedError, NoGuestError, NoImageError, NoArtifactError.
    """
    sandbox.require(worker.builds, worker.sandbox_uid)
    with ExitStack() as uses:
        directory = uses.enter_context(job_directory(worker.builds))
        directory.chmod(0o755)
        stress = _Stress(worker, request, report, directory, uses)
        runs = tuple(stress.run(*one) for one in request.runs)
    return StressResult(
        outcome=Outcome.PASSED, accelerator=stress.choice.accelerator,
        accelerator_reason=stress.choice.reason, runs=runs,
    )  # fmt: skip


def by_hand(profile: Profile, archive: str) -> Machine:
    """Return the machine of a run as `stackhog stress --export guest` leaves it behind.

    ``archive`` is "fill", whose boot fills the disks, or "stress".
    """
    filling = archive == "fill"
    names = ["data", "swap"] if profile.swap_mib else ["data"]
    speed = 0 if filling else profile.write_bytes
    disks = tuple(Disk(EXPORTED / name, speed, keep=filling) for name in names)
    return Machine(
        KERNEL, EXPORTED / archive, disks, profile.memory_mib, profile.cpus, "tcg",
        profile.limits.seconds,
    )  # fmt: skip


def is_exposed(boots: Iterable[Boot], profile: Profile, filesystem: Filesystem) -> bool:
    """Whether one of the boots reached what the profile asks for."""
    return any(
        one.ending is Ending.DONE and not profile.short(filesystem, dict(one.metrics))
        for one in boots
    )


@dataclass(frozen=True)
class _Side:
    """The base or the patched kernel."""

    name: str
    kernel: Kernel
    image: Path
    vmlinux: Path | None


class _Stress:
    """One job."""

    def __init__(
        self,
        worker: WorkerConfig,
        request: StressRequest,
        report: Report,
        directory: Path,
        uses: ExitStack,
    ) -> None:
        self.worker, self.request, self.report = worker, request, report
        self.directory, self.uses = directory, uses
        self.artifacts = Artifacts(worker.artifacts, worker.remote)
        self.init = guest.ensure(worker.stress)
        self.program = guest.digest()
        self.patched = self._side("patched", request.patched)
        self.base = self._side("base", request.base) if request.base else None
        first = (self.base or self.patched).image
        self.choice: Choice = accelerator.choose(
            worker.stress, directory / "probe", worker.guest_uid, first, self.init
        )
        self.disks: tuple[Disk, ...] = ()

    def _side(self, name: str, kernel: Kernel) -> _Side:
        vmlinux = self._file(kernel.vmlinux) if kernel.vmlinux else None
        return _Side(name, kernel, self._file(kernel.image), vmlinux)

    def _file(self, key: str) -> Path:
        """Return where an artifact lies, as a file that the box can read."""
        path = self.directory / key
        if not path.exists():
            self.artifacts.lend(key, path)
        return path

    def run(self, profile: Profile, filesystem: Filesystem) -> StressRun:
        """Boot base and patched in turn until the profile has what it asks for."""
        what = f"stress {profile.name} on {filesystem}"
        self.report(Progress(step=f"{what}: disks"))
        self.disks = self._images(profile, filesystem)
        kept = self._kept(profile, filesystem)
        base = list(kept.read()) if self.base else []
        before = len(base)
        patched: list[Boot] = []
        for more in self._turns(profile, filesystem, base, patched):
            number = len(base if more is self.base else patched) + 1
            self.report(Progress(step=f"{what}: {more.name}, boot {number}"))
            one = self._boot_until_ours_is_well(more, profile, filesystem)
            if more is self.base:
                base.append(one)
                kept.add(one)
            else:
                patched.append(one)
        return self._compared(
            StressRun(
                profile=profile, filesystem=filesystem, base=tuple(base), patched=tuple(patched),
                kept=before, qemu=qemu.plain(by_hand(profile, "stress")),
            )
        )  # fmt: skip

    def _turns(
        self, profile: Profile, filesystem: Filesystem, base: list[Boot], patched: list[Boot]
    ) -> Iterator[_Side]:
        """Yield which kernel is booted next; the lists grow meanwhile."""
        for number in range(profile.pairs):
            if self.base and len(base) <= number:
                yield self.base
            yield self.patched
        if self.base and not is_exposed(base, profile, filesystem):
            yield self.base
        if not is_exposed(patched, profile, filesystem) and not any(map(_is_bad, patched)):
            yield self.patched
        # what went wrong may go wrong on the base too, if more rarely
        if self.base and len(base) < profile.pairs + 1 and any(map(_is_bad, patched)):
            yield self.base

    def _images(self, profile: Profile, filesystem: Filesystem) -> tuple[Disk, ...]:
        side = self.base or self.patched
        name = images.key(profile, filesystem, side.kernel.image, self.program)

        def fill(disks: tuple[Disk, ...], scratch: Path) -> None:
            one = self._boot(side, (profile, filesystem), disks, scratch, prepare=True)
            if one.ending is not Ending.DONE:
                raise GuestFailedError(
                    f"the {side.name} kernel cannot fill a disk with {filesystem}: "
                    f"{one.ending}, {one.problem or 'no word'}"
                )

        return images.ensure(
            self.worker.stress, self.worker.builds, name, (profile, filesystem), fill, self.uses
        )

    def _kept(self, profile: Profile, filesystem: Filesystem) -> Kept:
        image = (self.base or self.patched).kernel.image
        others = (image, self.program, self.choice.accelerator)
        return Kept(self.worker.stress, profile, filesystem, *others)

    def _boot_until_ours_is_well(
        self, side: _Side, profile: Profile, filesystem: Filesystem
    ) -> Boot:
        """Boot; what may be this machine's fault is tried once more."""
        one = self._boot(side, (profile, filesystem), self.disks, None, prepare=False)
        if one.ending in AGAIN:
            one = self._boot(side, (profile, filesystem), self.disks, None, prepare=False)
        if one.ending in OURS or (one.ending in AGAIN and side is (self.base or self.patched)):
            raise GuestFailedError(
                f"the {side.name} kernel cannot be stressed: {one.ending}, {one.problem}"
            )
        return one

    def _boot(
        self,
        side: _Side,
        what: tuple[Profile, Filesystem],
        disks: tuple[Disk, ...],
        scratch: Path | None,
        *,
        prepare: bool,
    ) -> Boot:
        profile, limits = what[0], what[0].limits
        nonce, archive = secrets.token_hex(16), self.directory / "initramfs"
        text = job.text(*what, nonce, seed=1, prepare=prepare)
        archive.write_bytes(guest.initramfs(self.init, text))
        seconds = FILL_SECONDS if prepare else limits.seconds
        machine = Machine(
            side.image, archive, disks, profile.memory_mib, profile.cpus, self.choice.accelerator,
            seconds,
        )  # fmt: skip
        patience = Patience(
            seconds, FILL_SECONDS if prepare else limits.silent_seconds, limits.console_bytes,
            limits.record_bytes,
        )  # fmt: skip
        heard = boot(
            machine, patience, scratch or self.directory / "scratch", self.worker.guest_uid
        )
        found = judge(heard, nonce, self.choice.accelerator)
        if prepare and heard.code == DONE and found.ending is Ending.DEAF:
            found = found.model_copy(update={"ending": Ending.DONE})  # there are no sensors yet
        keys = {
            "console": self.artifacts.put(bytes(heard.console)),
            "account": self.artifacts.put(bytes(heard.records)),
            "reports": tuple(self._decoded(side, found)),
        }
        return found.model_copy(update=keys)

    def _decoded(self, side: _Side, found: Boot) -> Iterator[object]:
        script = self.request.decoder and self._file(self.request.decoder)
        for number, one in enumerate(found.reports):
            if side.vmlinux is None or not script or number >= DECODED:
                yield one
                continue
            try:
                yield decode.decode(
                    one, side.vmlinux, script, self.directory / "scratch", self.worker.guest_uid
                )
            except decode.NotDecodedError:
                yield one  # the names alone still say where it was

    def _compared(self, found: StressRun) -> StressRun:
        """Say which functions one kernel's stacks have that the other kernel does not have."""
        found = found.model_copy(
            update={"dumps": self.artifacts.put(dumps.text(found.patched).encode())}
        )
        if self.base is None or self.base.vmlinux is None or self.patched.vmlinux is None:
            return found
        return found.model_copy(
            update={
                "new_functions": self._missing(found.patched, self.base.vmlinux),
                "gone_functions": self._missing(found.base, self.patched.vmlinux),
                "jumping_calls": self._jumping(found, self.base.vmlinux, self.patched.vmlinux),
            }
        )

    def _jumping(self, found: StressRun, base: Path, patched: Path) -> tuple[tuple[str, str], ...]:
        """Return the calls that are jumps in the base, and calls in the patched kernel."""
        fresh = sorted(_calls(found.patched) - _calls(found.base))[:MOST_LOOKED_AT]
        scratch, uid = self.directory / "scratch", self.worker.guest_uid
        before = decode.jumps({caller for caller, _ in fresh}, base, scratch, uid)
        jumped = [(caller, callee) for caller, callee in fresh if callee in before[caller]]
        after = decode.jumps({caller for caller, _ in jumped}, patched, scratch, uid)
        return tuple((caller, callee) for caller, callee in jumped if callee not in after[caller])

    def _missing(self, boots: Iterable[Boot], vmlinux: Path) -> tuple[str, ...]:
        seen = _seen(boots)
        if not seen:
            return ()
        known = decode.symbols(vmlinux, self.directory / "scratch", self.worker.guest_uid)
        return tuple(sorted(seen - known))


def _seen(boots: Iterable[Boot]) -> set[str]:
    """Return the functions on the stacks of boots."""
    return {name for one in boots for stack in one.stacks for name in stack.functions}


def _calls(boots: Iterable[Boot]) -> set[tuple[str, str]]:
    """Return the pairs of functions that stand next to each other on stacks, caller first."""
    return {
        (caller, callee)
        for one in boots for stack in one.stacks
        for callee, caller in pairwise(stack.functions)
    }  # fmt: skip


def _is_bad(one: Boot) -> bool:
    """Whether a boot showed something that nobody wants to see."""
    lost = any(disk.bad or disk.unread for disk in one.verified)
    return one.ending is not Ending.DONE or bool(one.reports or one.direct_writes) or lost
