"""`make bench`: the figures that stackhog promises, as ratios within one run.

Every pair is run alternately on the same machine against the same baseline, and each
figure is the median of its runs. Exit 1 when a promise is not kept.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bot.review import plan
from bot.settings import load as load_settings
from bot.verbs.wiring import worker_config
from policies import kernels
from tests.bench import bigtree, mail, pages, stack, stress
from tests.bench.service import dispatch, idle
from tests.gitmail import Repo
from workers import baseline, layers, make, process, sandbox, trees
from workers.baseline import Base
from workers.sandbox import Cell, Layers

ROOT = Path(__file__).parents[2]
STACKHOG = [sys.executable, "-m", "bot"]
TREE = "debian-6.1"
RUNS = 3
GUARD = "\tif (!is_page_cache_freeable(folio))\n\t\treturn PAGE_KEEP;\n\tif (!mapping) {\n"
CHANGED = GUARD.replace("\t\treturn", "\t\treturn !mapping ? PAGE_ACTIVATE :")

failed: list[str] = []


def say(name: str, value: float, limit: float, detail: str) -> None:
    """Print one figure beside what it may be."""
    kept = value <= limit
    if not kept:
        failed.append(name)
    print(f"{'ok  ' if kept else 'MISS'} {name}: {value:.3f} (at most {limit:.3f}) {detail}", flush=True)  # noqa: T201, E501 # fmt: skip


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def start_time() -> None:
    """Time `stackhog --help`."""
    command = [str(ROOT / ".venv/bin/stackhog"), "--help"]
    runs = [
        timed(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(7)
    ]
    say("start of `stackhog --help`, seconds", statistics.median(runs), 0.3, "")


def base_of_tree() -> tuple[Base, baseline.Baseline]:
    """Return the default baseline, built when it is not there."""
    settings = load_settings()
    head = trees.get(worker_config(settings), TREE).head
    base = Base(TREE, head, plan.kernel(kernels.load("default")), plan.limits(settings))
    return base, baseline.ensure(worker_config(settings), base, lambda _: None)


def bare_make(found: baseline.Baseline, base: Base, source: Path, objects: Path) -> float:
    """Time plain make on a plain copy, at the same paths, without the sandbox around it."""
    build = make.build(base.config, base.limits.parallel)
    ((plugin, _),) = baseline.shown(worker_config(), base.config)
    script = (
        "mount -t tmpfs none /mnt && mkdir /mnt/src /mnt/obj && "
        f"mount -t overlay overlay -o lowerdir={source}:{found.source} /mnt/src && "
        f"mount --bind {objects} /mnt/obj && mkdir /mnt/plugin && "
        f"cp {plugin} {make.PLUGIN.replace('/build', '/mnt')} && "
        "mkdir -p /build && mount --rbind /mnt /build && "
        'cd / && exec "$@"'
    )
    words = ["unshare", "--mount", "sh", "-c", script, "sh", *build]
    return timed(lambda: process.run(words, timeout=3600, env=sandbox.ENVIRONMENT))


def warm_review() -> None:
    """Compare a review of a one-patch change in mm/vmscan.c with bare make of the same change."""
    base, found = base_of_tree()
    config = worker_config()
    with tempfile.TemporaryDirectory() as name, ExitStack() as kept:
        top = Path(name)
        repo = Repo(top / "repo")
        text = (found.source / "mm/vmscan.c").read_text()
        first = repo.commit("base", {"mm/vmscan.c": text})
        repo.edit("mm/vmscan: change", "mm/vmscan.c", GUARD, CHANGED)
        mail = repo.mbox(first, top / "one.mbox")
        copies = kept.enter_context(layers.job_directory(config.builds))
        bare, whole, answer = [], [], []
        for number in range(RUNS):
            objects = copies / f"obj{number}"
            process.check(["cp", "-a", str(found.objects[0]), str(objects)], timeout=600)
            source = copies / f"src{number}"
            (source / "mm").mkdir(parents=True)
            (source / "mm/vmscan.c").write_text((repo.path / "mm/vmscan.c").read_text())
            bare.append(bare_make(found, base, source, objects))
            whole.append(timed(lambda: review(mail, top / "report.json")))
            answer.append(answer_after_objects(top / "log"))
        limit = 1.15 * statistics.median(bare) + 3
        say("warm review, seconds", statistics.median(whole), limit,
            f"bare make {statistics.median(bare):.2f} s, "
            f"ratio {statistics.median(whole) / statistics.median(bare):.2f}")  # fmt: skip
        say("stack answer after the objects, seconds", statistics.median(answer), 3.0, "")


def review(mail: Path, report: Path) -> None:
    """Run a review, its progress with times kept in a log beside the report."""
    with (report.parent / "log").open("w") as log:
        subprocess.run(
            [*STACKHOG, "review", str(mail), "--tree", TREE, "--json", str(report)],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=log,
        )  # fmt: skip


def answer_after_objects(log: Path) -> float:
    """Return the seconds between the last object and the stack answer, by the review's log."""

    def at(words: str) -> float:
        lines = [line for line in log.read_text().splitlines() if "s] " in line]
        line = next(line for line in lines if line.partition("s] ")[2].startswith(words))
        return float(line.partition("[")[2].partition("s]")[0])

    return at("stack compared …") - at("building patch 1/1: linking …")


def cold_baseline() -> None:
    """Compare building a baseline with bare make of the same tree."""
    base, found = base_of_tree()
    config = worker_config()
    times = {}
    for kind in ("sandboxed", "bare"):
        with layers.job_directory(config.builds) as job:
            cell = Cell(job, Layers((found.source,)), Layers((), job / "tree"), base.limits, config.sandbox_uid, baseline.shown(config, base.config))  # noqa: E501 # fmt: skip
            began = time.monotonic()
            baseline.configure(cell, base.config, lambda _: None, fresh=True)
            configured = time.monotonic() - began
            if kind == "sandboxed":
                seconds = timed(lambda: baseline.compile_kernel(cell, base.config, lambda _: None))  # noqa: B023 # fmt: skip
            else:
                (job / "none").mkdir()
                seconds = bare_make(found, base, job / "none", job / "tree")
            times[kind] = configured + seconds
    say("cold baseline to bare make, ratio", times["sandboxed"] / times["bare"], 1.05,
        f"{times['sandboxed']:.0f} s and {times['bare']:.0f} s")  # fmt: skip


def stack_figures() -> None:
    """Measure the stack analysis."""
    stack.run(say)


def mail_figures() -> None:
    """Measure the way from mail to series, and from a series to its base."""
    mail.run(say)
    bigtree.run(say)


def dispatch_figures() -> None:
    """Measure what carrying a job costs."""
    dispatch.run(say)


def idle_figures() -> None:
    """Measure what the service takes while nothing comes."""
    idle.run(say)


def page_figures() -> None:
    """Measure what pages take at the server."""
    with tempfile.TemporaryDirectory() as home:
        pages.run(say, Path(home))


def main() -> None:
    """Run all, or the benches named on the command line."""
    benches = {
        "start": start_time, "warm": warm_review, "cold": cold_baseline,
        "stack": stack_figures, "stress": stress.run, "mail": mail_figures,
        "dispatch": dispatch_figures, "idle": idle_figures, "page": page_figures,
    }  # fmt: skip
    for name in sys.argv[1:] or benches:
        benches[name]()
    if failed:
        sys.exit(1)


main()
