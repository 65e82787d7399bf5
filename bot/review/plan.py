"""Turns a series into the jobs to run, with every limit frozen in."""

from __future__ import annotations

from bot.contract import BuildRequest, KernelConfig, Limits, PatchText
from bot.review.base import Base
from bot.settings import Settings
from policies.kernels import KernelPolicy


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
    settings: Settings, tree: str, base: Base, policy: KernelPolicy, patches: tuple[PatchText, ...]
) -> BuildRequest:
    """Return the build job of a series."""
    return BuildRequest(
        tree=tree,
        base=base.commit,
        config=kernel(policy),
        patches=patches,
        limits=limits(settings),
    )
