"""One review on this machine, wired together: mail in, jobs through the queue, mail out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bot.contract import OursError, Outcome, Progress, TheirsError
from bot.mail.load import load
from bot.mail.patchtext import patch_texts
from bot.mail.reply import Sender, compose
from bot.mail.series import Series, as_json
from bot.review import (
    allow,
    jobs,
    plan,
    prerequisites,
)
from bot.review import base as bases
from bot.review.prerequisites import Known
from bot.review.queue import Client
from bot.review.told import Planned, fold
from bot.settings import Settings
from bot.verbs import commanding
from bot.verbs.wiring import worker_config
from policies.kernels import KernelPolicyError
from policies.kernels import load as load_kernel
from policies.schema import Gates, PolicyError, load_gates
from policies.stress import StressPolicyError
from policies.trees import Trees
from policies.trees import load as load_trees
from workers import trees
from workers.fleet import Fleet

LEFT = ("applying", "baseline", "building patch", "stack compared", "stress", "reply")
BASELINE = "building the baseline"  # the step of which the number of objects is known
SHOWN = 8  # series named when there are too many


@dataclass(frozen=True)
class Asked:
    """What the user asked for."""

    path: str  # or a Message-ID
    tree: str | None
    base: str | None
    config: str | None
    series: str | None
    stack: bool
    stress: bool
    profiles: tuple[str, ...] = ()  # of the stress job; none: that of the kernel configuration


@dataclass(frozen=True)
class Done:
    """What came out: the reply and the report as bytes and text."""

    mail: bytes
    report: str
    failed: bool
    broken: str = ""  # what kept the stress job from running here; for the operator alone


def review(asked: Asked, settings: Settings, fleet: Fleet) -> Done:
    """Run the whole job on the broker and worker of ``fleet``.

    Raises TheirsError where the input is wrong, OursError where this machine is.
    """
    series, known = _read(asked, settings)
    planned = plan_for(series, asked, settings, prerequisites.known(_others(known, series)))
    return _done(planned, run(planned, fleet))


def run(planned: Planned, fleet: Fleet) -> jobs.Results:
    """Run what was planned, with progress on standard error.

    Raises TheirsError where the input is wrong, OursError where this machine is.
    """
    from bot.verbs.progress import reporter  # noqa: PLC0415 - a service shows none

    with reporter(LEFT) as tell:

        def told(progress: Progress) -> None:
            about = planned.about_objects if progress.step == BASELINE else None
            tell(progress.model_copy(update={"total": about}))

        port = _port(fleet, planned.settings.broker_ca)
        results = jobs.run(port, planned.request, told, planned.wanted)
        tell.end()
    jobs.check(results)
    return results


def _port(fleet: Fleet, ca: Path | None) -> jobs.Port:
    def revive() -> bool:
        fleet.stop()
        fleet.start()
        return True

    return jobs.Port(connect=lambda: Client(fleet.url, ca), alive=fleet.alive, revive=revive)


def plan_for(series: Series, asked: Asked, settings: Settings, known: Known) -> Planned:
    """Plan the run of a series; ``known`` are patches that it may need below it.

    Raises TheirsError where what was asked for is not there, OursError.
    """
    base = _base(asked, settings, series, known)
    tree = trees.get(worker_config(settings), base.tree)
    try:
        policy = load_kernel(asked.config or settings.kernel_config)
    except KernelPolicyError as error:
        raise TheirsError(str(error)) from error
    request = plan.build(settings, base, policy, patch_texts(series))
    try:
        profiles = (asked.profiles or (policy.stress,)) if asked.stress else ()
        runs = plan.runs(request.patches, profiles)
    except StressPolicyError as error:
        raise TheirsError(str(error)) from error
    wanted = jobs.Wanted(asked.stack, runs)
    return Planned(
        settings, series, base, tree.source, policy.about_objects, gates(), request, wanted
    )


def _others(known: Sequence[Series], series: Series) -> list[Series]:
    return [one for one in known if one.id != series.id]


def _base(asked: Asked, settings: Settings, series: Series, known: Known) -> bases.Base:
    """Find the base in the tree that was asked for, else in all that are here."""
    worker, name = worker_config(settings), asked.tree or settings.tree
    here = () if asked.tree else trees.list_trees(worker)
    candidates = [
        bases.Candidate(one.name, trees.repository(worker, one.name), one.head, one.source)
        for one in here or (trees.get(worker, name),)
    ]
    needed = prerequisites.find(series, known)
    owners, _ = commanding.owners_of(settings, None, asked.tree)
    sources = allow.responsible(owners, series).trees if owners else ()
    wish = bases.Wish(name, tree_policy(), asked=asked.base, sources=sources, prerequisites=needed)
    return bases.find(series, candidates, wish)


def gates() -> Gates:
    """Return the gates.

    Raises OursError with file, line and key where they cannot be used.
    """
    try:
        return load_gates()
    except PolicyError as error:
        raise _ours(error) from error


def tree_policy() -> Trees:
    """Return which trees series are meant for.

    Raises OursError with file, line and key where that cannot be used.
    """
    try:
        return load_trees()
    except PolicyError as error:
        raise _ours(error) from error


def _ours(error: PolicyError) -> OursError:
    line = _line(error.file, error.key) if error.key else None
    where = [str(error.file), f"line {line}" if line else ""]
    said = [", ".join(filter(None, where)), error.key, error.problem]
    return OursError(": ".join(filter(None, said)))


def _line(file: Path, key: str) -> int | None:
    """Return the line of a key such as "frame.note_bytes" or "call.0.file", else of its table."""
    table, *words = key.split(".")
    nth = int(words.pop(0)) if words and words[0].isdigit() else 0
    lines = file.read_text(encoding="utf-8").splitlines()
    tables = [n for n, line in enumerate(lines) if line.strip("[] ").partition("]")[0] == table]
    if nth >= len(tables):
        return None
    for number in range(tables[nth] + 1, len(lines)):
        if lines[number].startswith("["):
            break
        if lines[number].partition("=")[0].strip() in words:
            return number + 1
    return tables[nth] + 1


def _read(asked: Asked, settings: Settings) -> tuple[Series, tuple[Series, ...]]:
    """Return the series in a path, or the one that a Message-ID belongs to; and all beside it."""
    path = Path(asked.path)
    if path.exists() or "@" not in asked.path or "/" in asked.path:
        found = load([path])
        return pick(found, asked.series, asked.path), found
    from bot.mail import lore  # noqa: PLC0415 - brings requests, for the network alone

    with tempfile.NamedTemporaryFile(prefix="stackhog-", suffix=".mbox") as file:
        file.write(lore.thread(settings.lore_url, asked.path))
        file.flush()
        found = load([Path(file.name)])
        return pick(found, asked.series or asked.path, asked.path), found


def pick(found: Sequence[Series], wanted: str | None, path: str) -> Series:
    """Return the one series to review.

    Raises TheirsError when there are several, or when it is not whole.
    """
    if wanted is not None:
        chosen = [one for one in found if wanted.strip("<>") in (one.id, *_ids(one))]
        if not chosen:
            raise TheirsError(
                f"no series in {path} has the Message-ID {wanted}: see `stackhog series`"
            )
        found = chosen
    if len(found) > 1:
        names = "; ".join(f"{one.title} ({one.id})" for one in found[:SHOWN])
        raise TheirsError(
            f"{path} holds {len(found)} series: name one with --series MESSAGE-ID: {names}"
        )
    series = found[0]
    if series.obstacle:
        raise TheirsError(f"{path}: {series.obstacle}")
    return series


def _ids(series: Series) -> tuple[str, ...]:
    return tuple(patch.message.message_id for patch in series.patches)


def _done(planned: Planned, results: jobs.Results) -> Done:
    sender = Sender(planned.settings.address, planned.gates.reply)
    folded = fold(planned, results)
    mail = compose(planned.series, folded.run, sender, datetime.now(UTC).replace(microsecond=0))
    decided = folded.decided
    report = {
        "series": as_json(planned.series),
        "tree": planned.base.tree,
        "base": {
            "commit": planned.base.commit,
            "reason": planned.base.reason,
            "attempts": planned.base.attempts_json(),
        },
        "outcome": decided.outcome,
        "headline": decided.headline,
        "findings": [finding.model_dump(mode="json") for finding in decided.findings],
        "build": results.build.model_dump(mode="json"),
        "stack": results.stack.model_dump(mode="json") if results.stack else None,
        "stress": results.stress.model_dump(mode="json") if results.stress else None,
    }
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    failed = decided.outcome is Outcome.FAILED
    return Done(mail.as_bytes(), text, failed=failed, broken=folded.broken)
