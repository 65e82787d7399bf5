"""False alarms: the unmodified kernel is booted again and again, and must show nothing.

`python -m tests.bench.stress.alarms RESULTS BOOTS [LANES]` adds lines to the file RESULTS
until it holds BOOTS of them, LANES at a time; one line is one boot as JSON. The same file
gives the spread of the exact sensors and the exposure.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bot.contract import Boot, Kernel, StressRequest, StressRun
from bot.review import plan, stress
from bot.settings import load as load_settings
from bot.verbs.wiring import worker_config
from policies import kernels
from policies import stress as policy
from policies.stress import Filesystem
from workers import baseline, trees
from workers.artifacts import Artifacts
from workers.baseline import Base
from workers.stress import run as stressing

TREE = "debian-6.1"
IMAGE = "arch/x86/boot/bzImage"
ROUND = (
    ("writepage", "ext4"), ("writepage", "ext2"), ("writepage", "vfat"), ("writepage", "xfs"),
    ("swap", "ext4"), ("quick", "ext4"), ("quick", "vfat"), ("memcg", "ext4"),
    ("deep-stack", "ext4"), ("errors", "ext4"), ("errors", "vfat"), ("enospc", "ext2"),
    ("swap", "xfs"), ("quick", "ext2"), ("efficiency", "ext4"), ("enospc", "vfat"),
)  # fmt: skip


def kernel() -> Kernel:
    """Return the unmodified kernel of the default configuration."""
    settings = load_settings()
    worker = worker_config(settings)
    head = trees.get(worker, TREE).head
    base = Base(TREE, head, plan.kernel(kernels.load("default")), plan.limits(settings))
    tree = baseline.ensure(worker, base, lambda _: None).objects[0]
    artifacts = Artifacts(worker.artifacts)
    return Kernel(
        image=artifacts.put((tree / IMAGE).read_bytes()),
        vmlinux=artifacts.put((tree / "vmlinux").read_bytes()),
    )


def once(plain: Kernel, profile: str, filesystem: str) -> dict[str, Any]:
    """Boot once as if it were a patched kernel, with the kernel itself as its base."""
    asked = policy.load(profile).model_copy(update={"pairs": 1})
    request = StressRequest(patched=plain, base=plain, runs=((asked, Filesystem(filesystem)),))
    result = stressing.run(worker_config(), request, lambda _: None)
    (run,) = result.runs
    # alone, without the base's boots: nothing may hide behind them
    found = list(stress.find(result.model_copy(update={"runs": (_alone(run),)}), (), 1, IMAGE))
    found += list(stress.find(result, (), 1, IMAGE))
    return {
        "profile": profile, "filesystem": filesystem, "accelerator": result.accelerator,
        "findings": sorted({one.text[0] for one in found}), "missing": stress.missing(run),
        "boots": [_boot(one) for one in run.patched],
        "stacks": sorted({(_names(s.frames), s.depth) for b in run.patched for s in b.stacks}),
    }  # fmt: skip


def _alone(run: StressRun) -> StressRun:
    return run.model_copy(update={"base": ()})


def _names(frames: tuple[tuple[str, int, int], ...]) -> str:
    """Return what tells one chain of functions from another, short enough to be kept."""
    names = "<".join(name for name, _, _ in frames)
    return hashlib.sha256(names.encode()).hexdigest()[:10]


def _boot(one: Boot) -> dict[str, Any]:
    moved = dict(one.counters)
    scanned = moved.get("pgscan_file", 0)
    return {
        "ending": one.ending, "problem": one.problem, "seconds": one.seconds,
        "metrics": dict(one.metrics), "direct": sum(w.count for w in one.direct_writes),
        "bad_pages": sum(v.bad + v.unread for v in one.verified),
        "steal_share": round(moved.get("pgsteal_file", 0) / scanned, 4) if scanned else None,
        "reports": [report.title for report in one.reports],
    }  # fmt: skip


def turns(already: int, most: int) -> Iterator[tuple[str, str]]:
    """Yield what is run for each line that is missing."""
    return itertools.islice(itertools.cycle(ROUND), already, most)


def main() -> None:
    """Go on until the file is full, then sum it up."""
    results, most = Path(sys.argv[1]), int(sys.argv[2])
    lanes = int(sys.argv[3]) if sys.argv[3:] else 1
    results.touch()
    already = len(results.read_text().splitlines())
    plain = kernel()
    with ThreadPoolExecutor(lanes) as pool, results.open("a") as file:
        for line in pool.map(lambda turn: _safely(plain, turn), turns(already, most)):
            file.write(json.dumps(line | {"lanes": lanes}, sort_keys=True) + "\n")
            file.flush()
    print("\n".join(summary([json.loads(line) for line in results.read_text().splitlines()])))  # noqa: T201


def _safely(plain: Kernel, turn: tuple[str, str]) -> dict[str, Any]:
    try:
        return once(plain, *turn)
    except Exception as error:  # noqa: BLE001 - it counts, and must not end the others
        return {"profile": turn[0], "filesystem": turn[1], "findings": [repr(error)], "boots": []}


def summary(lines: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what the lines say, all together and by run."""
    boots = [boot for line in lines for boot in line["boots"]]
    alarms = [found for line in lines for found in line["findings"]]
    yield f"{len(boots)} boots, {len(alarms)} false alarms {sorted(set(alarms))}"
    writes = sum(boot["metrics"].get("kswapd_file_writes", 0) for boot in boots)
    direct = sum(boot["direct"] for boot in boots)
    yield f"{writes} file pages written by kswapd, {direct} by direct reclaim"
    for profile, filesystem in sorted({(one["profile"], one["filesystem"]) for one in lines}):
        own = [one for one in lines if (one["profile"], one["filesystem"]) == (profile, filesystem)]
        of = [boot for one in own for boot in one["boots"]]
        reached = sum(
            boot["ending"] == "done" and boot["metrics"].get("kswapd_file_writes", 0) >= 500
            for boot in of
        )
        seconds = [boot["seconds"] for boot in of] or [0]
        depths: dict[str, set[int]] = {}
        for names, depth in (pair for one in own for pair in one.get("stacks", ())):
            depths.setdefault(names, set()).add(depth)
        spread = max((max(d) - min(d) for d in depths.values()), default=0)
        shares = [boot["steal_share"] for boot in of if boot["steal_share"] is not None] or [0]
        short = sum(bool(one.get("missing")) for one in own)
        yield (
            f"{profile:11} {filesystem:5} {len(of):4} boots, {min(seconds):5.1f} to "
            f"{max(seconds):5.1f} s; 500 writes by kswapd in {reached}; {short} inconclusive; "
            f"{len(depths)} chains, spread of depth {spread}; stolen {min(shares)} to {max(shares)}"
        )


if __name__ == "__main__":
    main()
