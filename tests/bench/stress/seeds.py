"""Seeded bugs: each is built, booted beside the base, and must be caught within three boots.

`python -m tests.bench.stress.seeds RESULTS [NAME...]` goes on where it stopped: a seed that
stands in the file RESULTS (a JSON object by name) is not run again.
"""

from __future__ import annotations

import json
import sys
import time
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot.contract import (
    BuildRequest,
    BuildResult,
    Finding,
    FindingKind,
    Kernel,
    PatchText,
    StressRequest,
)
from bot.review import plan, stress
from bot.review.touched import touched
from bot.settings import load as load_settings
from bot.verbs.wiring import worker_config
from policies import kernels
from policies import stress as policy
from policies.stress import Filesystem
from workers import build as building
from workers import trees
from workers.stress import run as stressing

HERE = Path(__file__).parent
TREE = "debian-6.1"
BOOTS = 3
# class → the findings that count as having caught it
CAUGHT = {
    "direct-write": {FindingKind.DIRECT_WRITE},
    "stack": {FindingKind.STACK_DEEPER, FindingKind.KERNEL_REPORT},
    "data-loss": {FindingKind.DATA_LOST},
    "crash": {FindingKind.KERNEL_REPORT},
    "efficiency": {FindingKind.LESS_EFFICIENT},
    "locking": {FindingKind.KERNEL_REPORT},
    "stall": {FindingKind.STALL, FindingKind.KERNEL_REPORT},
    "false-oom": {FindingKind.OOM_KILL},
}
PROFILES = {
    "errors": "errors", "fsync": "writepage", "enospc": "enospc", "memcg": "memcg", "swap": "swap",
    "clean-reads": "efficiency",
}  # fmt: skip


def load() -> Iterator[dict[str, Any]]:
    """Yield the seeds, each with the text of its patch."""
    for seed in tomllib.loads((HERE / "seeds.toml").read_text())["seed"]:
        yield {**seed, "patch": (HERE / "seeds" / f"{seed['name']}.patch").read_text()}


def patch(seed: dict[str, Any]) -> PatchText:
    """Return a seed as a series of one patch."""
    text = seed["patch"]
    start = text.index("diff --git ")
    subject = text.partition("\n")[0].removeprefix("Subject: ")
    return PatchText(
        index=1, message_id=f"{seed['name']}@seeds", subject=subject, author_name="Seed",
        author_email="seed@example.org", date=datetime(2026, 1, 1, tzinfo=UTC), message="",
        diff=text[start:].encode(),
    )  # fmt: skip


def build(seed: dict[str, Any]) -> BuildResult:
    """Build the kernel with a seed in it."""
    settings = load_settings()
    worker = worker_config(settings)
    request = BuildRequest(
        tree=TREE, base=trees.get(worker, TREE).head,
        config=plan.kernel(kernels.load(seed["config"])), patches=(patch(seed),),
        limits=plan.limits(settings),
    )  # fmt: skip
    return building.build(worker, request, lambda _: None)


def boots(seed: dict[str, Any], built: BuildResult) -> tuple[int, tuple[Finding, ...]]:
    """Boot base and patched until something is found; return boots of the patched kernel too."""
    assert built.image, built.reason
    assert built.base_image
    usual = "debug" if seed["config"] == "debug" else "quick"
    profile = policy.load(seed.get("profile") or PROFILES.get(seed["needs"], usual))
    filesystem = Filesystem(seed["filesystem"] or "ext4")
    made, found = 0, tuple[Finding, ...]()
    while made < BOOTS and not found:
        request = StressRequest(
            patched=Kernel(image=built.image, vmlinux=built.vmlinux),
            base=Kernel(image=built.base_image, vmlinux=built.base_vmlinux),
            runs=((profile, filesystem),), decoder=built.decoder,
        )  # fmt: skip
        result = stressing.run(worker_config(), request, lambda _: None)
        made += len(result.runs[0].patched)
        found = tuple(stress.find(result, touched((patch(seed),)), 1, "IMAGE"))
    return made, found


def judge(seed: dict[str, Any]) -> dict[str, Any]:
    """Return what became of one seed."""
    began = time.monotonic()
    built = build(seed)
    seconds = time.monotonic() - began
    if built.image is None:
        return {"class": seed["class"], "caught": False, "why": built.reason or "not built"}
    made, found = boots(seed, built)
    right = [one for one in found if one.kind in CAUGHT[seed["class"]]]
    named = [one for one in right if one.function in seed["functions"]]
    return {
        "class": seed["class"], "caught": bool(right), "named": bool(named), "boots": made,
        "build_seconds": round(seconds), "seconds": round(time.monotonic() - began),
        "findings": [f"{one.kind}: {one.text[0]} [{one.function}]" for one in found],
    }  # fmt: skip


def main() -> None:
    """Run what is left, and print the table by class."""
    results, names = Path(sys.argv[1]), sys.argv[2:]
    done: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    for seed in load():
        if (names and seed["name"] not in names) or (not names and seed["name"] in done):
            continue
        try:
            done[seed["name"]] = judge(seed)
        except Exception as error:  # noqa: BLE001 - one seed must not end the others
            done[seed["name"]] = {"class": seed["class"], "caught": False, "why": repr(error)}
        print(seed["name"], json.dumps(done[seed["name"]]), flush=True)  # noqa: T201
        results.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
    print("\n".join(table(done)))  # noqa: T201


def table(done: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each class, and one for all."""
    for name in (*CAUGHT, "all"):
        of = [one for one in done.values() if name in (one["class"], "all")]
        caught = sum(one["caught"] for one in of)
        named = sum(bool(one.get("named")) for one in of)
        yield f"{name:14} {caught:3} of {len(of):3} caught, {named:3} named"


if __name__ == "__main__":
    main()
