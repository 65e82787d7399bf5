"""Baselines: a source tree and an object tree, built once per key and then immutable.

The key is (git tree, kernel configuration, compiler, how stackhog builds). A
*derived* baseline has more options and lies as an overlay on top of the one it
was derived from, so that only what the options add is compiled.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bot.contract import KernelConfig, Limits, OursError, Progress
from workers import budget, kconfig, make, process, sandbox, trees
from workers.artifacts import Artifacts
from workers.config import WorkerConfig
from workers.layers import discard, job_directory
from workers.locks import present
from workers.sandbox import Cell, Layers
from workers.stack import plugin, unit
from workers.stack.pack import pack

FORMAT = "1"  # of what lies in a baseline's directory; a change makes all of them anew
Report = Callable[[Progress], None]


class BaselineBrokenError(OursError):
    """The unpatched kernel does not build; carries the compiler's lines."""

    def __init__(self, what: str, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__(f"the baseline {what} does not build: {' / '.join(self.lines[:3])}")


class Manifest(BaseModel):
    """What a finished baseline says of itself, in manifest.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    parent: str | None
    commit: str
    config: KernelConfig
    compiler: str
    seconds: float
    objects: int
    source: str = ""  # id of the git tree whose files it was built from


@dataclass(frozen=True)
class Baseline:
    """A finished baseline."""

    key: str
    source: Path
    objects: tuple[Path, ...]  # object layers, topmost first
    logs: tuple[Path, ...]  # output of each layer's build, in the same order
    config: KernelConfig
    compiler: str
    made: bool = False  # it was not there before


@dataclass(frozen=True)
class Base:
    """What a baseline is made of: a commit, and how to build it."""

    tree: str  # name of the tree
    commit: str
    config: KernelConfig
    limits: Limits
    repository: Path | None = None  # that has the commit, where the tree's own has not


def compiler_version(compiler: str) -> str:
    """Return the first line of `gcc --version`."""
    words = process.check([compiler, "--version"], timeout=20).decode(errors="replace")
    return words.splitlines()[0]


def _key(*parts: str) -> str:
    words = (FORMAT, make.KCFLAGS, plugin.digest(), *parts)
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]


def shown(worker: WorkerConfig, config: KernelConfig) -> tuple[tuple[Path, str], ...]:
    """Return what a cell that compiles needs besides the trees: the compiler plugin.

    Raises NoPluginError.
    """
    return ((plugin.ensure(worker.plugins, config.compiler), make.PLUGIN),)


def source(worker: WorkerConfig, base: Base, report: Report, uses: ExitStack) -> Path:
    """Return the directory that holds a commit's files, written out once per git tree.

    Until ``uses`` is closed it is not evicted.
    """
    tree_id = trees.tree_id(worker, base.tree, base.commit, base.repository)
    path = worker.baselines / "src" / tree_id

    def make() -> None:
        budget.room(worker)
        report(Progress(step="writing out the source"))
        with job_directory(worker.builds) as job:
            trees.export(worker, base.tree, base.commit, job / "src", base.repository)
            path.parent.mkdir(parents=True, exist_ok=True)
            (job / "src").rename(path)

    uses.enter_context(present(path.with_name(f"{tree_id}.lock"), path.exists, make))
    os.utime(path)  # when it was used last
    return path


def ensure(
    worker: WorkerConfig,
    base: Base,
    report: Report,
    *,
    parent: Baseline | None = None,
    uses: ExitStack | None = None,
) -> Baseline:
    """Return the baseline, building it if it is not there.

    With ``parent`` it is derived: ``base.config`` holds more options than the parent's. Until
    ``uses`` is closed it is not evicted; without, that may happen at any time.

    Raises BaselineBrokenError, kconfig.DroppedOptionsError, NoSandboxError.
    """
    compiler = compiler_version(base.config.compiler)
    tree_id = trees.tree_id(worker, base.tree, base.commit, base.repository)
    key = _key(tree_id, base.config.model_dump_json(), compiler, parent.key if parent else "")
    path, made = worker.baselines / "obj" / key, []
    with ExitStack() as hold:
        files = source(worker, base, report, hold)

        def make() -> None:
            budget.room(worker)
            discard(path)
            _build(worker, base, report, files, path, parent, compiler)
            made.append(key)

        there = (path / "manifest.json").exists
        hold.enter_context(present(path.with_name(f"{key}.lock"), there, make))
        os.utime(path)  # when it was used last
        if not made and parent is None:
            budget.room(worker)  # for what will be built on it
        if uses is not None:
            uses.enter_context(hold.pop_all())
    below, logs = (parent.objects, parent.logs) if parent else ((), ())
    return Baseline(
        key, files, (path / "tree", *below), (path / "log", *logs), base.config, compiler,
        bool(made),
    )  # fmt: skip


def _build(
    worker: WorkerConfig,
    base: Base,
    report: Report,
    files: Path,
    path: Path,
    parent: Baseline | None,
    compiler: str,
) -> None:
    began = time.monotonic()
    with job_directory(worker.builds) as job:
        below = parent.objects if parent else ()
        cell = Cell(
            job, Layers((files,)), Layers(below, job / "tree"), base.limits, worker.sandbox_uid,
            shown(worker, base.config),
        )  # fmt: skip
        configure(cell, base.config, report, fresh=parent is None)
        output = _compile(cell, base.config, report, parent is not None)
        (job / "log").write_text("\n".join(output.lines) + "\n")
        manifest = Manifest(
            key=path.name, parent=parent.key if parent else None, commit=base.commit,
            config=base.config, compiler=compiler, seconds=time.monotonic() - began,
            objects=len(output.objects), source=files.name,
        )  # fmt: skip
        (job / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n")
        path.mkdir(parents=True)
        for name in ("tree", "log", "manifest.json"):  # the manifest last: it says "finished"
            (job / name).rename(path / name)


def configure(cell: Cell, config: KernelConfig, report: Report, *, fresh: bool) -> None:
    """Make the object tree's .config and check that no option was dropped.

    Raises BaselineBrokenError, kconfig.DroppedOptionsError.
    """
    report(Progress(step="configuring"))
    fragment = cell.stage / "options.config"
    fragment.write_text("\n".join(config.options) + "\n")
    inside = "/build/options.config"
    steps = [make.configure(config, config.base)] if fresh else []
    steps += [["sh", "-c", f"cat {inside} >> .config"], make.configure(config, "olddefconfig")]
    steps += [["cat", ".config"]]
    cell = replace(cell, shown=(*cell.shown, (fragment, inside)))
    done = None
    for argv in steps:
        done = sandbox.run(cell, argv)
        if done.status != 0:
            raise BaselineBrokenError("configuration", done.tail(5))
    assert done is not None  # noqa: S101 - there are always steps
    kconfig.check(config.options, done.output.decode(errors="replace"))


def facts(worker: WorkerConfig, of: Baseline) -> str:
    """Return the artifact with the facts files of all of a baseline's objects."""
    artifacts = Artifacts(worker.artifacts, worker.remote)
    noted = of.objects[0].with_name("facts")  # beside the layer's tree
    if noted.exists():
        key = noted.read_text()
        if artifacts.has(key):
            return key
    files: dict[str, bytes] = {}
    for layer in reversed(of.objects):
        files |= {
            str(path.relative_to(layer)): path.read_bytes()
            for path in sorted(layer.rglob(f"*{unit.SUFFIX}"))
            if path.is_file() and not path.is_symlink()
        }
    key = artifacts.put(pack(files))
    fresh = noted.with_name(f".facts.{os.getpid()}")
    fresh.write_text(key)
    fresh.replace(noted)
    return key


def _compile(cell: Cell, config: KernelConfig, report: Report, derived: bool) -> make.Output:  # noqa: FBT001
    what = "building the derived baseline" if derived else "building the baseline"
    status, output = compile_kernel(
        cell, config, lambda count: report(Progress(step=what, done=count))
    )
    if status != 0:
        raise BaselineBrokenError("kernel", output.failure())
    return output


def compile_kernel(
    cell: Cell,
    config: KernelConfig,
    compiled: Callable[[int], None],
    objects_done: Callable[[make.Output], None] = lambda _: None,
) -> tuple[int, make.Output]:
    """Run make in the cell; return its status and what it said.

    ``compiled`` gets the number of objects so far, ``objects_done`` is called once, as soon
    as all objects are there and the link begins.
    """
    output = make.Output()
    with sandbox.started(cell, make.build(config, cell.limits.parallel)) as (running, watch):
        told = False
        for line in process.lines(running, timeout=cell.limits.wall_seconds, every=watch):
            before = len(output.objects)
            output.feed(line)
            if len(output.objects) != before:
                compiled(len(output.objects))
            if output.objects_done and not told:
                told = True
                objects_done(output)
        status = running.wait()
    return status, output
