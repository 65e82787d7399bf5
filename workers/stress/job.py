"""What the guest's program is told: its /job, line by line as guest/main.c reads it."""

from __future__ import annotations

from collections.abc import Iterator

from policies.stress import Filesystem, Metric, Profile, Work

NONE = "-"  # sscanf(3) reads no empty word


def text(profile: Profile, filesystem: Filesystem, nonce: str, seed: int, *, prepare: bool) -> str:
    """Return the job of a boot; ``prepare`` fills the disks instead of stressing them."""
    return "".join(f"{line}\n" for line in _lines(profile, filesystem, nonce, seed, prepare))


def _lines(
    profile: Profile,
    filesystem: Filesystem,
    nonce: str,
    seed: int,
    prepare: bool,  # noqa: FBT001
) -> Iterator[str]:
    yield f"nonce {nonce}"
    yield f"prepare {int(prepare)}"
    yield f"stall {profile.limits.stall_seconds}"
    yield f"window {profile.window_ms}"
    yield f"seed {seed}"
    yield f"filter {' '.join(profile.trace)}"
    if filesystem in profile.own:
        yield f"own {' '.join(profile.own[filesystem])}"
    yield f"disk vda {filesystem} {profile.layers or NONE} {profile.file_mib}"
    if profile.swap_mib:
        yield f"disk vdb swap {NONE} 0"
    if prepare:
        return
    yield f"memcg {profile.memcg_mib << 20}"
    yield f"until {until(profile, filesystem)}"
    for name, value in sorted(profile.sysctl.items()):
        yield f"tune {name} {value}"
    for work in profile.work:
        yield f"work {work.kind} {work.processes} {work.operations} {work.size} {_where(work)}"


def until(profile: Profile, filesystem: Filesystem) -> int:
    """Return how many file pages kswapd is to have written before the work may end."""
    return profile.floors(filesystem).get(Metric.KSWAPD_FILE_WRITES, 0)


def _where(work: Work) -> str:
    """Return the disk that a work is done on: there is one with files, the first."""
    return NONE if work.kind in {"churn", "anonymous", "select"} else "0"
