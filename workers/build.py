"""Build each patch of a series in turn, as an overlay on an immutable baseline."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bot.contract import (
    BuildRequest,
    BuildResult,
    FactsAfter,
    Outcome,
    PatchBuilt,
    Progress,
    StackRequest,
    TheirsError,
    Warned,
)
from workers import (
    apply,
    baseline,
    coverage,
    layers,
    make,
    prerequisites,
    process,
    sandbox,
    vetting,
)
from workers.apply import AppliedSeries
from workers.artifacts import Artifacts
from workers.baseline import Base, Baseline, Report
from workers.config import WorkerConfig
from workers.coverage import Coverage
from workers.kconfig import DroppedOptionsError
from workers.sandbox import Cell, Layers
from workers.stack.pack import pack
from workers.stack.unit import SUFFIX

IMAGES = {"x86_64": "arch/x86/boot/bzImage"}  # by the kernel's ARCH=
T = TypeVar("T")


@dataclass
class Steps:
    """Announces what runs and notes how long it took, in order."""

    report: Report
    taken: list[tuple[str, float]] = field(default_factory=list)

    def run(self, what: str, work: Callable[[], T]) -> T:
        """Announce a step, run it, note its seconds."""
        self.report(Progress(step=what))
        began = time.monotonic()
        try:
            return work()
        finally:
            self.taken.append((what, round(time.monotonic() - began, 3)))


def build(worker: WorkerConfig, request: BuildRequest, report: Report) -> BuildResult:
    """Check, apply and build the series; the result names what is wrong with it, if anything.

    Raises OursError where the machine is at fault.
    """
    sandbox.require(worker.builds, worker.sandbox_uid)
    steps = Steps(report)
    failed = BuildResult(outcome=Outcome.FAILED, base_commit=request.base)
    with layers.job_directory(worker.builds) as job:
        try:
            applied = steps.run("applying the patches", lambda: _applied(worker, request, job))
        except vetting.PatchRefusedError as error:
            return failed.model_copy(update={"refusal": error.refusal, "reason": str(error)})
        except apply.PatchMisfitError as error:
            return failed.model_copy(update={"misfit": error.misfit, "reason": str(error)})
        except prerequisites.UnmetError as error:
            return failed.model_copy(update={"unmet": error.misfit, "reason": str(error)})
        except apply.ForeignSeriesError as error:
            return BuildResult(outcome=Outcome.SKIPPED, reason=str(error))
        with ExitStack() as uses:
            return _Series(worker, request, steps, job, applied, uses).build()


def _applied(worker: WorkerConfig, request: BuildRequest, job: Path) -> AppliedSeries:
    for patch in request.patches:
        vetting.check(patch, worker.patch_bytes)
    scratch = job / "scratch"
    below = request.prerequisites
    base = prerequisites.put(worker, request.tree, request.base, below, scratch)
    return apply.apply_series(worker, request.tree, base, request.patches, scratch)


class _Series:
    """A series that applies, being built."""

    def __init__(
        self,
        worker: WorkerConfig,
        request: BuildRequest,
        steps: Steps,
        job: Path,
        applied: AppliedSeries,
        uses: ExitStack,
    ) -> None:
        self.worker, self.request, self.steps = worker, request, steps
        self.job, self.applied, self.uses = job, applied, uses
        self.artifacts = Artifacts(worker.artifacts, worker.remote)
        self.facts: list[FactsAfter] = []
        self.rebuilt: dict[int, tuple[str, ...]] = {}  # patch → objects compiled with it
        self.warnings = Warnings()

    def build(self) -> BuildResult:
        base = Base(
            self.request.tree, self.applied.base, self.request.config, self.request.limits,
            self.applied.scratch / ".git",
        )  # fmt: skip
        first = self.steps.run(
            "baseline",
            lambda: baseline.ensure(self.worker, base, self.steps.report, uses=self.uses),
        )
        needs = self.steps.run(
            "looking what compiles the touched files", lambda: self._cover(first)
        )
        self.baseline, needs = self._derive(base, first, needs)
        self.kernel_facts = self.steps.run(
            "collecting the facts of the kernel",
            lambda: baseline.facts(self.worker, self.baseline),
        )
        for log in reversed(self.baseline.logs):
            self.warnings.learn(log.read_text().splitlines())
        built = []
        for number, patch in enumerate(self.request.patches):
            what = f"building patch {patch.index}/{len(self.request.patches)}"
            built.append(self.steps.run(what, lambda n=number, w=what: self._patch(n, w)))  # type: ignore[misc]
            if built[-1].error:
                break
        return self._result(tuple(built), needs)

    def _cover(self, first: Baseline) -> Coverage:
        """Find what must be switched on, in the source as it is after the last patch."""
        upper = self.job / "final-src"
        upper.mkdir()
        removed = self.applied.write(len(self.request.patches) - 1, upper, whole=True)
        cell = self._cell(
            Layers((first.source,), upper, removed), Layers(first.objects, self.job / "look-obj")
        )
        return coverage.find(cell, first, (upper, first.source), self.applied.touched())

    def _derive(self, base: Base, first: Baseline, needs: Coverage) -> tuple[Baseline, Coverage]:
        """Return a baseline that compiles what the series touches, as far as that can be."""
        while needs.wanted:
            more = replace(base, config=needs.config(base.config))
            try:
                return self.steps.run(
                    "derived baseline",
                    lambda more=more: baseline.ensure(  # type: ignore[misc]
                        self.worker, more, self.steps.report, parent=first, uses=self.uses
                    ),
                ), needs
            except DroppedOptionsError as error:
                left = needs.without(error.options)
                if left.wanted == needs.wanted:
                    raise
                needs = left
        return first, needs

    def _cell(self, src: Layers, obj: Layers) -> Cell:
        shown = baseline.shown(self.worker, self.request.config)
        return Cell(self.job, src, obj, self.request.limits, self.worker.sandbox_uid, shown)

    def _objects(self) -> tuple[Path, ...]:
        return (self.job / "obj-upper", *self.baseline.objects)

    def _patch(self, number: int, what: str) -> PatchBuilt:
        began = time.monotonic()
        patch, done = self.request.patches[number], self.applied.patches[number]
        upper = self.job / "src-upper"
        removed = self.applied.write(number, upper)
        cell = self._cell(
            Layers((self.baseline.source,), upper, removed),
            Layers(self.baseline.objects, self.job / "obj-upper"),
        )
        kept: list[str] = []

        def objects_done(output: make.Output) -> None:
            kept.append(self._keep(patch.index, output.objects))
            if number == len(self.request.patches) - 1:
                stack = StackRequest(
                    base_facts=self._base_facts(), after=tuple(self.facts),
                    kernel_facts=self.kernel_facts, arch=self.request.config.arch,
                )  # fmt: skip
                self.steps.report(Progress(step=f"{what}: linking", stack=stack))

        output, error = self._make(cell, what, objects_done)
        self.warnings.after(patch.index, output)
        objects = tuple(sorted(set(output.objects)))
        if error:  # gcc leaves an empty call graph for what it could not compile
            self._forget(patch.index)
            facts = None
        else:
            facts = kept[0] if kept else self._keep(patch.index, objects)
        return PatchBuilt(
            index=patch.index,
            commit=done.commit,
            applied=done.how,
            seconds=round(time.monotonic() - began, 3),
            objects=objects,
            facts=facts,
            error=error,
        )

    def _make(
        self, cell: Cell, what: str, objects_done: Callable[[make.Output], None]
    ) -> tuple[make.Output, tuple[str, ...]]:
        """Run make; what goes beyond the limits that the baseline kept is the patch's fault."""
        try:
            status, output = baseline.compile_kernel(
                cell,
                self.baseline.config,
                lambda count: self.steps.report(Progress(step=what, done=count)),
                objects_done,
            )
        except (TheirsError, process.TimedOutError) as error:
            return make.Output(), (f"*** {error}",)
        return output, output.failure() if status else ()

    def _keep(self, index: int, objects: Sequence[str]) -> str:
        """Store the side files of the objects a patch rebuilt."""
        self.rebuilt[index] = tuple(objects)
        key = self._pack(objects, self._objects())
        self.facts.append(FactsAfter(index=index, facts=key))
        return key

    def _forget(self, index: int) -> None:
        """Drop the facts of a patch that turned out not to build (its link may fail)."""
        self.rebuilt.pop(index, None)
        self.facts = [one for one in self.facts if one.index != index]

    def _base_facts(self) -> str:
        names = {name for objects in self.rebuilt.values() for name in objects}
        return self._pack(sorted(names), self.baseline.objects)

    def _pack(self, objects: Sequence[str], where: tuple[Path, ...]) -> str:
        stems = [name.removesuffix(".o") for name in sorted(set(objects))]
        names = [stem + suffix for stem in stems for suffix in (".ci", ".su", SUFFIX)]
        found = {name: layers.read(where, name) for name in names}
        return self.artifacts.put(pack({n: text for n, text in found.items() if text is not None}))

    def _result(self, built: tuple[PatchBuilt, ...], needs: Coverage) -> BuildResult:
        broken = next((patch for patch in built if patch.error), None)
        config = layers.read(self._objects(), ".config")
        image = layers.read(self._objects(), IMAGES.get(self.baseline.config.arch, ""))
        found = BuildResult(
            outcome=Outcome.FAILED if broken else Outcome.PASSED,
            reason=f"patch {broken.index} does not build" if broken else "",
            base_commit=self.request.base,
            compiler=self.baseline.compiler,
            kernel_release=_release(self.baseline),
            baseline="miss" if self.baseline.made else "hit",
            kernel_facts=self.kernel_facts,
            base_facts=self._base_facts(),
            config_file=self.artifacts.put(config) if config else None,
            image=self.artifacts.put(image) if image and not broken else None,
            patches=tuple(
                patch.model_copy(update={"warnings": self.warnings.of(patch.index)})
                for patch in built
            ),
            broken_patch=broken.index if broken else None,
            enabled=needs.enabled(),
            not_compiled=()
            if broken
            else coverage.not_compiled(needs, self._objects(), self.applied.touched()),
            steps=tuple(self.steps.taken),
        )
        return found if broken else found.model_copy(update=self._to_boot())

    def _to_boot(self) -> dict[str, str | None]:
        """Store what a stress job needs besides the image."""
        image = IMAGES.get(self.baseline.config.arch, "")
        sources = (self.baseline.source,)
        found = {
            "vmlinux": layers.read(self._objects(), "vmlinux"),
            "base_image": layers.read(self.baseline.objects, image),
            "base_vmlinux": layers.read(self.baseline.objects, "vmlinux"),
            "decoder": layers.read(sources, "scripts/decode_stacktrace.sh"),
        }
        return {name: self.artifacts.put(data) if data else None for name, data in found.items()}


def _release(base: Baseline) -> str:
    """Return VERSION.PATCHLEVEL.SUBLEVEL of the source's top Makefile."""
    text = (base.source / "Makefile").read_text(errors="replace")
    found = {}
    for line in text.splitlines()[:10]:
        name, _, value = line.partition("=")
        found[name.strip()] = value.strip()
    parts = [found.get(name, "") for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(part for part in parts if part)


class Warnings:
    """Tells warnings that a series brings from those that were there.

    A warning belongs to the object that was being compiled, so that a patch which
    compiles the object again without the warning is seen to have mended it.
    """

    def __init__(self) -> None:
        self._known: set[tuple[str, str, str]] = set()
        self._open: dict[tuple[str, str, str], tuple[str, Warned]] = {}  # key → (object, warning)

    def learn(self, lines: Sequence[str]) -> None:
        """Take the output of a baseline's build."""
        output = make.Output(lines=list(lines))
        self._known |= {found.key for found in output.diagnostics()}

    def after(self, index: int, output: make.Output) -> None:
        """Take the output of building a patch."""
        said = [found for found in output.diagnostics() if found.kind == "warning"]
        again, compiled = {found.key for found in said}, set(output.objects)
        for key, (name, _) in tuple(self._open.items()):
            if name in compiled and key not in again:
                del self._open[key]
        for found in said:
            if found.key not in self._known and found.key not in self._open:
                warned = Warned(
                    index=index,
                    file=found.file,
                    line=found.line,
                    flag=found.flag,
                    text=found.text,
                    lines=found.lines,
                )
                self._open[found.key] = (found.object, warned)

    def of(self, index: int) -> tuple[Warned, ...]:
        """Return what patch ``index`` brought and no later one mended, in order of place."""
        found = [warned for _, warned in self._open.values() if warned.index == index]
        return tuple(sorted(found, key=lambda w: (w.file, w.line, w.flag, w.text)))
