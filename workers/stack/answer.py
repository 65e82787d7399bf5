"""Runs a stack job: frames and calls of what was rebuilt, depth and reach in the whole kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from bot.contract import StackRequest, StackResult
from policies.stackrules import StackPolicy
from workers.stack import change, compare, unit
from workers.stack import kernel as kernels
from workers.stack.depth import Kernel
from workers.stack.kernel import ObjectDirectoryError
from workers.stack.pack import unpack
from workers.stack.rules import RuleError
from workers.stack.unit import MixedBuildError, Unit

LOG = logging.getLogger(__name__)
Fetch = Callable[[str], bytes]
KEPT: dict[tuple[str, str], Kernel] = {}  # the last kernel: the next job often has it too


def answer(request: StackRequest, fetch: Fetch) -> StackResult:
    """Run a StackRequest; ``fetch`` gets an artifact by its key.

    Raises FactsError, PackError and what ``fetch`` raises.
    """
    packs = [(one.index, unpack(fetch(one.facts))) for one in request.after]
    base = compare.read(unpack(fetch(request.base_facts)))
    result = compare.compare(base, [(index, compare.read(files)) for index, files in packs])
    if request.kernel_facts is None or not packs:
        return result
    policy = kernels.policy()
    try:
        kernel = _kernel(policy, request.kernel_facts, request.arch, fetch)
    except (ObjectDirectoryError, MixedBuildError) as error:
        return result.model_copy(update={"reason": f"call chains were not added up: {error}"})
    return result.model_copy(update=_whole(policy, kernel, packs))


def _kernel(policy: StackPolicy, key: str, arch: str, fetch: Fetch) -> Kernel:
    if (key, arch) not in KEPT:
        machine = kernels.by_arch(policy, arch)
        units = unit.read(unpack(fetch(key)))
        KEPT.clear()
        KEPT[key, arch] = kernels.link({one.object: one for one in units}, policy, machine)
    return KEPT[key, arch]


def _whole(
    policy: StackPolicy, first: Kernel, packs: list[tuple[int, dict[str, bytes]]]
) -> dict[str, object]:
    """Return the fields of the result that need the whole kernel."""
    before = first.program.units
    after: list[tuple[int, Mapping[str, Unit]]] = []
    units: Mapping[str, Unit] = before
    for index, files in packs:
        units = kernels.updated(units, unit.read(files))
        after.append((index, units))
    found: dict[str, object] = {
        "guards": change.guards(before, after),
        "targets": change.targets(before, after),
    }
    try:
        found["chains"] = change.compared(policy, first.machine, before, after, first=first)
    except RuleError as error:
        LOG.warning("no call chains: %s", error)
        found["reason"] = f"call chains were not added up: {error}"
    return found
