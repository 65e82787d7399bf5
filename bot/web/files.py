"""Files that a run left, kernels and consoles among them, from where the workers put them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bot.service.reports import Report


@dataclass(frozen=True)
class Left:
    """A file that a run left."""

    name: str  # as it is saved
    key: str
    what: str


def left(report: Report) -> tuple[Left, ...]:
    """Return the files of a run, in the order of the work."""
    return tuple(_left(report))


def _left(report: Report) -> Iterator[Left]:
    build = report.build
    for name, key, what in (
        ("config.txt", build.config_file, "the .config that was built"),
        ("bzImage", build.image, "the kernel with the series"),
        ("vmlinux", build.vmlinux, "the same with symbols"),
        ("bzImage-base", build.base_image, "the kernel before the series"),
        ("vmlinux-base", build.base_vmlinux, "the same with symbols"),
    ):
        if key:
            yield Left(name, key, what)
    for run in report.stress.runs if report.stress else ():
        where = f"{run.profile.name}-{run.filesystem}"
        for side, boots in (("base", run.base), ("patched", run.patched)):
            for number, boot in enumerate(boots, 1):
                named = f"{where}-{side}-{number}"
                if boot.console:
                    yield Left(f"console-{named}.txt", boot.console, f"console, {named}")
                if boot.account:
                    yield Left(f"account-{named}.txt", boot.account, f"counters, {named}")
        if run.dumps:
            yield Left(f"stacks-{where}.txt", run.dumps, f"stacks of the patched kernel, {where}")
