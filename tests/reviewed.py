"""Puts reviews that were made by hand into a store, as the service would have."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from bot.contract import BuildResult, Finding, StackResult, StressResult
from bot.mail import sources
from bot.mail.following import Fetched
from bot.mail.headers import Address
from bot.mail.outbox import Outbox, Place
from bot.mail.outrules import Mode, Rules
from bot.review.scope import scope
from bot.service import intake, reports, telling
from bot.service.intake import Patience
from bot.service.labelling import labels
from bot.service.reports import Report
from bot.service.telling import Voice
from bot.store import depths, wishes
from bot.store import labels as label
from bot.store import series as kept
from bot.store.database import Store
from bot.store.series import State
from bot.store.wishes import Ended, Wish
from policies.lists import load as load_lists
from policies.scope import load as load_scope

VOICE = Voice(
    "stackhog <bot@example.org>", ("bot@example.org",), load_lists(),
    lambda _: (Address("Owner", "owner@example.org"),), lambda one: "lists" in one,
)  # fmt: skip


def took(store: Store, raws: list[bytes], now: datetime) -> str:
    """Take a series in, and decide over it; return its lead."""
    for raw in raws:
        intake.take(store, "list", Fetched(raw, "1"), now)
    (lead,) = intake.settle(store, now, Patience())
    series = intake.load(store, lead)
    assert series is not None
    found = scope(series, load_scope())
    with store.session() as session:
        kept.mark(session, lead, State.INSIDE if found.inside else State.OUTSIDE, found.reason)
        label.put(session, lead, labels(series, found, VOICE))
        if found.inside:
            wishes.want(session, lead, {}, None, now)
    return lead


def told(
    store: Store, lead: str, report: dict[str, Any], reply: bytes | None, now: datetime
) -> None:  # fmt: skip
    """End the run of a series with what `stackhog review --json` wrote, and its reply."""
    found = Report(
        tree=report["tree"], commit=report["base"]["commit"], base_reason=report["base"]["reason"],
        findings=tuple(map(Finding.model_validate, report["findings"])),
        build=BuildResult.model_validate(report["build"]),
        stack=StackResult.model_validate(report["stack"]) if report["stack"] else None,
        stress=StressResult.model_validate(report["stress"]) if report["stress"] else None,
    )  # fmt: skip
    key, outcome = hashlib.sha256(lead.encode()).hexdigest(), report["outcome"]
    about = (key, lead, now, found.tree, found.build.kernel_release)
    with store.session() as session:
        ended = Ended(key, lead, outcome, reports.write(found), len(found.findings))
        wishes.keep(session, ended, now)
        chains = found.stack.chains if found.stack else ()
        depths.put(session, key, [telling._point(one, about) for one in chains])
        for one in (*wishes.waiting(session), *wishes.running(session)):
            if one.series == lead:
                wishes.end(session, one.id, Wish.DONE, "policy says: findings", now, key)
    if reply:
        mail = BytesParser(policy=policy.default).parsebytes(reply)
        Outbox(store, Rules(mode=Mode.MODERATE)).put(mail, Place(thread=lead, series=lead), now)


def demo(store: Store, mbox: Path, report: Path, reply: Path, now: datetime) -> str:
    """Put a review of a mailbox with one series into a store; return its lead."""
    with mbox.open("rb") as file:
        raws = list(sources.split(file))
    lead = took(store, raws, now - timedelta(minutes=9))
    told(store, lead, json.loads(report.read_text()), reply.read_bytes(), now)
    return lead
