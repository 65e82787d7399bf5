"""Turns a series into the jobs to run, with every limit frozen in."""

from __future__ import annotations

from collections.abc import Sequence

from bot.contract import BuildRequest, KernelConfig, Limits, PatchText
from bot.mail import quote
from bot.review.base import Base
from bot.settings import Settings
from policies import stress as stress_policy
from policies.kernels import KernelPolicy
from policies.stress import Filesystem, Profile


def limits(settings: Settings) -> Limits:
    """Return the limits that the settings give a build."""
    return Limits(
        wall_seconds=settings.build_seconds,
        memory_bytes=settings.build_memory,
        processes=settings.build_processes,
        file_bytes=settings.build_file,
        disk_bytes=settings.build_disk,
        parallel=settings.cores,
    )


def kernel(policy: KernelPolicy) -> KernelConfig:
    """Return a policy's configuration as it goes to a worker, without the reasons."""
    return KernelConfig(
        name=policy.name,
        arch=policy.arch,
        target=policy.target,
        compiler=policy.compiler,
        base=policy.base,
        options=tuple(option.text for option in policy.options),
    )


def build(
    settings: Settings, base: Base, policy: KernelPolicy, patches: tuple[PatchText, ...]
) -> BuildRequest:
    """Return the build job of a series."""
    return BuildRequest(
        tree=base.tree,
        base=base.commit,
        config=kernel(policy),
        patches=patches,
        limits=limits(settings),
        prerequisites=base.prerequisites,
    )


def runs(
    patches: Sequence[PatchText], profiles: Sequence[str]
) -> tuple[tuple[Profile, Filesystem], ...]:
    """Return what a series is stressed with: each profile on each filesystem that it concerns.

    Raises StressPolicyError.
    """
    paths = {hunk.file for patch in patches for hunk in quote.hunks(patch.diff)}
    wanted = stress_policy.filesystems(paths)
    loaded = [stress_policy.load(name) for name in profiles]
    return tuple((one, fs) for one in loaded for fs in wanted if fs in one.filesystems)
