"""A kernel's facts, read from its object directory, under the policy that fits it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bot.contract import OursError, TheirsError
from policies import stackrules
from policies.stackrules import Machine, Profile, StackPolicy
from workers.stack import unit
from workers.stack.depth import Kernel, Known
from workers.stack.program import Program
from workers.stack.rules import Compiled
from workers.stack.unit import Unit

LINKED = ("vmlinux", "vmlinux.o", "vmlinux.a")
# elsewhere, or made by other compilers
SKIPPED = ("scripts", "tools", "Documentation", "include", "usr", "certs", ".git")


class ObjectDirectoryError(TheirsError):
    """A directory is not a kernel's objects as the analysis needs them."""


def read(directory: Path) -> dict[str, bytes]:
    """Return the facts files of a kernel's object directory, by path relative to it.

    Raises ObjectDirectoryError.
    """
    if not directory.is_dir():
        raise ObjectDirectoryError(f"{directory} is not a directory")
    found: dict[str, bytes] = {}
    bare: list[str] = []  # compiled with our flags but without the plugin
    for top, names in _walk(directory):
        stems = {name.removesuffix(unit.SUFFIX) for name in names if name.endswith(unit.SUFFIX)}
        for stem in sorted(stems):
            found[f"{top}{stem}{unit.SUFFIX}"] = Path(
                directory, top, stem + unit.SUFFIX
            ).read_bytes()
        bare += [top + n for n in names if n.endswith(".su") and n.removesuffix(".su") not in stems]
    bare = sorted(name for name in bare if unit.is_kernel(name))
    if not found:
        raise ObjectDirectoryError(
            f"{directory} holds no facts files: build the kernel with the flags that "
            "`stackhog stack --flags` prints"
        )
    if bare:
        more = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
        raise ObjectDirectoryError(
            f"{directory}: {bare[0].removesuffix('.su')}.o{more} was compiled without the plugin: "
            "build all of the kernel with the flags that `stackhog stack --flags` prints"
        )
    if not any((directory / name).exists() for name in LINKED):
        raise ObjectDirectoryError(
            f"{directory} holds half a build, there is no vmlinux: run make again and let it finish"
        )
    return found


def _walk(directory: Path) -> Iterator[tuple[str, list[str]]]:
    for top, below, names in os.walk(directory):
        relative = os.path.relpath(top, directory)
        prefix = "" if relative == "." else f"{relative}/"
        below[:] = sorted(one for one in below if prefix or one not in SKIPPED)
        yield prefix, names


def machine(policy: StackPolicy, config: str, asked: str | None = None) -> Machine:
    """Return the machine that a .config tells, or the one asked for by name.

    Raises ObjectDirectoryError.
    """
    lines = set(config.splitlines())
    for one in policy.machines:
        if one.name == asked or (asked is None and one.detect in lines):
            return one
    known = ", ".join(sorted(one.name for one in policy.machines))
    raise ObjectDirectoryError(
        f"nothing is known of the stack of {asked or 'this architecture'}: there are {known}"
    )


def by_arch(policy: StackPolicy, arch: str) -> Machine:
    """Return the machine of a kernel's ARCH=; raises ObjectDirectoryError."""
    return machine(policy, "", {"x86": "x86_64", "i386": "i386"}.get(arch, arch))


def link(
    units: Mapping[str, Unit], policy: StackPolicy, of: Machine, like: Kernel | None = None
) -> Kernel:
    """Return the kernel that the units make, under a policy.

    What is known of ``like``, a kernel of mostly the same units, is not searched for again.
    """
    program = Program(units.values())
    known = None
    if like is not None:
        changed = _changed(like.program.units, units)
        known = Known(like, changed) if changed is not None else None
    return Kernel(program, Compiled(program, policy.rules), of, known)


def _changed(before: Mapping[str, Unit], after: Mapping[str, Unit]) -> frozenset[str] | None:
    """Return the functions of all units that differ; None where pointers flow otherwise."""
    names: set[str] = set()
    if before.keys() != after.keys():
        return None
    for name, old in before.items():
        new = after[name]
        if old is new:
            continue
        if (old.flows, old.values, old.aliases) != (new.flows, new.values, new.aliases):
            return None
        if {one[1:] for one in old.sources} != {one[1:] for one in new.sources}:
            return None
        if {(f.id, f.type) for f in old.functions} != {(f.id, f.type) for f in new.functions}:
            return None
        names.update(function.id for function in old.functions)
    return frozenset(names)


def applicable(kernel: Kernel, profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """Return the profiles whose needs the kernel has, all of them."""
    return tuple(one for one in profiles if all(kernel.compiled.has((need,)) for need in one.needs))


def policy() -> StackPolicy:
    """Return the policy that comes with stackhog.

    Raises OursError with file and line.
    """
    try:
        return stackrules.load()
    except stackrules.StackPolicyError as error:
        raise OursError(str(error)) from error


def updated(units: Mapping[str, Unit], rebuilt: Iterable[Unit]) -> dict[str, Unit]:
    """Return the units of a kernel after some objects were compiled again."""
    return {**units, **{one.object: one for one in rebuilt}}
