"""One series as its page shows it: everything is put together here, and escaped by the template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from bot.contract import Chain, Finding, FindingKind, Outcome, Severity, Span, StressRun
from bot.mail import quote, wording
from bot.mail.series import Series
from bot.review import chaintable
from bot.review.fingerprint import fingerprint, names
from bot.review.frozen import Frozen, Tried
from bot.service import intake, reports
from bot.service.reports import Report
from bot.store import catalog, dossier, labels
from bot.store import series as kept
from bot.store.catalog import Card
from bot.store.database import Store
from bot.store.dossier import Dossier, Mail
from bot.store.labels import Kind

LINES = 3000  # of diffs that a page shows
CHAINS = {FindingKind.CHAIN_GREW, FindingKind.CHAIN_REACHED}
WIDE = 400  # characters of a line


@dataclass(frozen=True)
class Said:
    """A finding as it is told."""

    name: str  # what it is muted by
    kind: str
    severity: str
    headline: str
    lines: tuple[str, ...]
    file: str
    line: int | None
    muted: str  # why, or ""
    anchor: str


@dataclass(frozen=True)
class Line:
    """A line of a diff, and what was found there."""

    text: str
    number: int
    kind: str  # "add", "del" or "same"
    found: tuple[Said, ...]


@dataclass(frozen=True)
class Hunk:
    """A hunk of a diff."""

    file: str
    header: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Patch:
    """A patch of a series."""

    index: int
    subject: str
    author: str
    message_id: str
    hunks: tuple[Hunk, ...]
    left: int  # lines of its diff that are not shown
    loose: tuple[Said, ...]  # findings that have no place in it


@dataclass(frozen=True)
class Check:
    """A row of *check, base, patched, verdict*."""

    name: str
    base: str
    patched: str
    verdict: str  # "passed", "findings", "inconclusive" or "note"
    link: str


@dataclass(frozen=True)
class Version:
    """One version of a submission, and what became of the findings of the one before."""

    card: Card
    fixed: tuple[str, ...]
    came: tuple[str, ...]
    stayed: int
    has_report: bool


@dataclass(frozen=True)
class About:
    """All that a page of a series shows."""

    card: Card
    series: Series | None  # None: its mails are not kept any more
    versions: tuple[Version, ...]
    patches: tuple[Patch, ...]
    checks: tuple[Check, ...]
    tried: tuple[Tried, ...]
    base_reason: str
    report: Report | None
    dossier: Dossier
    mails: tuple[tuple[Mail, str], ...]  # with its text
    lists: tuple[str, ...]
    maintainers: tuple[str, ...]


def look(store: Store, lead: str) -> About | None:
    """Return what is known of a series; None: there is none of that id. Raises StoreError."""
    with store.reading() as session:
        card = catalog.card(session, lead)
        if card is None:
            return None
        lineage = kept.lineage(session, lead)
        cards = [one for other in lineage if (one := catalog.card(session, other))]
        papers = dossier.read(session, lead, lineage)
        texts = dossier.reports(session, lineage)
        marked = labels.of(session, lead)
    series = intake.load(store, lead)
    found = {one: report for one, text in texts.items() if (report := _read(text))}
    plan = _plan(papers.plan)
    mine = found.get(lead)
    return About(
        card=card, series=series, versions=_versions(cards, found), report=mine, dossier=papers,
        patches=tuple(_patches(series, mine, papers)) if series else (),
        checks=tuple(_checks(mine)) if mine else (),
        tried=plan.tried if plan else (), base_reason=plan.reason if plan else "",
        mails=tuple((one, _text(one.text)) for one in papers.mails),
        lists=tuple(value for kind, value in marked if kind is Kind.LIST),
        maintainers=tuple(value for kind, value in marked if kind is Kind.MAINTAINER),
    )  # fmt: skip


def report(store: Store, lead: str) -> tuple[Card, Report | None] | None:
    """Return a series and what its last run came to; None: there is no such series."""
    with store.reading() as session:
        card = catalog.card(session, lead)
        text = dossier.reports(session, [lead]).get(lead) if card else None
    return (card, _read(text) if text else None) if card else None


def chain_anchor(chain: Chain) -> str:
    """Return the name of a chain's part of a page."""
    return f"{chain.profile}-{chain.name}" if chain.name else chain.profile


def run_anchor(run: StressRun) -> str:
    """Return the name of a stress run's part of a page."""
    return f"{run.profile.name}-{run.filesystem}"


def _read(text: str) -> Report | None:
    """Return a report; None: it is of another version of this program."""
    try:
        return reports.read(text)
    except ValidationError:
        return None


def _plan(text: str | None) -> Frozen | None:
    try:
        return Frozen.model_validate_json(text) if text else None
    except ValidationError:
        return None


def _text(raw: bytes) -> str:
    """Return a mail of ours as a person reads it: headers that count, and the body."""
    head, _, body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")
    wanted = (b"from:", b"to:", b"cc:", b"subject:", b"date:", b"message-id:", b"in-reply-to:")
    lines: list[bytes] = []
    keep = False
    for line in head.split(b"\n"):
        keep = line.lower().startswith(wanted) if line[:1] not in b" \t" else keep
        if keep:
            lines.append(line)
    return b"\n".join((*lines, b"", body)).decode("utf-8", "replace")


def _versions(cards: Sequence[Card], found: dict[str, Report]) -> tuple[Version, ...]:
    ordered = sorted(cards, key=lambda one: (one.version, one.date, one.lead))
    before: dict[str, str] = {}
    versions = []
    for card in ordered:
        there = found.get(card.lead)
        now = {fingerprint(one): headline(one) for one in there.findings} if there else {}
        fixed = tuple(sorted(before[one] for one in before.keys() - now.keys())) if there else ()
        came = tuple(sorted(now[one] for one in now.keys() - before.keys()))
        versions.append(Version(card, fixed, came, len(now.keys() & before.keys()), bool(there)))
        before = now if there else before
    return tuple(versions)


def headline(finding: Finding) -> str:
    """Return a finding in one line."""
    lines = [line for line in wording.said(_bare(finding), None) if line]
    return " ".join(lines[:3]).strip()[:200]


def _bare(finding: Finding) -> Finding:
    return finding.model_copy(update={"reproduce": ""})


def _patches(series: Series, mine: Report | None, papers: Dossier) -> Iterator[Patch]:
    told = names(mine.findings) if mine else {}
    muted = {one.fingerprint: one.reason or f"by {one.by}" for one in papers.mutes if not one.lifted}  # noqa: E501 # fmt: skip
    left = LINES
    for patch in series.patches:
        mail = patch.message
        own = [one for one in mine.findings if one.patch == patch.index] if mine else []
        hunks = quote.hunks(mail.diff)
        spans = mine.stack.spans if mine and mine.stack else ()
        placed, loose = _placed(own, hunks, spans, told, muted)
        whole = sum(len(one.lines) for one in hunks)
        shown = list(_hunks(hunks, placed, left))
        left = max(0, left - whole)
        yield Patch(
            patch.index, mail.label.title, str(mail.sender), mail.message_id, tuple(shown),
            whole - sum(len(one.lines) for one in shown), tuple(loose),
        )  # fmt: skip


def _placed(
    own: Sequence[Finding], hunks: Sequence[quote.Hunk], spans: Sequence[Span],
    told: object, muted: dict[str, str],
) -> tuple[dict[tuple[int, int], list[Said]], list[Said]]:  # fmt: skip
    """Return findings by hunk and line, and those that have no place."""
    placed: dict[tuple[int, int], list[Said]] = {}
    loose = []
    for finding in own:
        name = told.get(finding, "") if isinstance(told, dict) else ""
        place = quote.place(finding, hunks, spans)
        said = _said(finding, place, name, muted)
        if place is None or not wording.is_inline(finding):
            loose.append(said)
            continue
        at = place.around[-1] if place.around else len(place.hunk.lines) - 1
        placed.setdefault((hunks.index(place.hunk), at), []).append(said)
    return placed, loose


def _said(
    finding: Finding, place: quote.Place | None, name: str, muted: dict[str, str]
) -> Said:  # fmt: skip
    lines = tuple(wording.said(finding, place, ""))
    return Said(
        name, finding.kind.value, finding.severity.value, headline(finding), lines, finding.file,
        finding.line, muted.get(fingerprint(finding), ""), f"finding-{name or 'x'}",
    )  # fmt: skip


def _hunks(
    hunks: Sequence[quote.Hunk], placed: dict[tuple[int, int], list[Said]], left: int
) -> Iterator[Hunk]:
    for number, hunk in enumerate(hunks):
        if left <= 0:
            return
        lines = []
        for place, (text, at) in enumerate(hunk.lines[:left]):
            kind = {"+": "add", "-": "del"}.get(text[:1], "same")
            found = tuple(placed.get((number, place), ()))
            lines.append(Line(text[:WIDE], at, kind, found))
        left -= len(lines)
        yield Hunk(hunk.file, hunk.header, tuple(lines))


def _checks(mine: Report) -> Iterator[Check]:
    build = mine.build
    yield Check(
        "build", build.base_commit[:12] or mine.commit[:12],
        f"{sum(not one.error for one in build.patches)} patches" if build.patches else "none",
        "passed" if build.outcome is Outcome.PASSED else "findings", "",
    )  # fmt: skip
    if mine.stack:
        grown = [one for one in mine.stack.frames if (one.after or 0) > (one.before or 0)]
        failing = any(one.severity is Severity.FAIL and one.file for one in mine.findings)
        most = max((one.after or 0 for one in grown), default=0)
        yield Check(
            "frames", f"{mine.stack.functions} functions",
            f"{len(grown)} grew, the largest to {most:,} bytes" if grown else "none grew",
            "findings" if grown and failing else "passed", "stack",
        )  # fmt: skip
        deeper = any(
            one.kind in CHAINS and one.severity is Severity.FAIL for one in mine.findings
        )  # fmt: skip
        for chain in mine.stack.chains:
            yield _chain_check(chain, fails=deeper)
    for run in mine.stress.runs if mine.stress else ():
        yield _stress_check(run, mine)


def _chain_check(chain: Chain, *, fails: bool) -> Check:
    sides = [one.witness_bytes if one else None for one in (chain.before, chain.after)]
    base, patched = (f"{one:,} bytes" if one is not None else "not reached" for one in sides)
    grown = sides[1] is not None and (sides[0] is None or sides[1] > sides[0])
    verdict = "passed" if not grown else "findings" if fails else "note"
    name = f"{chain.profile} {chain.name}".strip()
    return Check(chaintable.clean(name), base, patched, verdict, f"stack#{chain_anchor(chain)}")


def _stress_check(run: StressRun, mine: Report) -> Check:
    ends = [
        ", ".join(str(one.ending) for one in side) or "none" for side in (run.base, run.patched)
    ]
    about = f"({run.profile.name} on {run.filesystem})"
    hit = any(one.text and one.text[0].endswith(about) for one in mine.findings)
    done = all(one.ending == "done" for one in run.patched) and bool(run.patched)
    verdict = "findings" if hit else "passed" if done else "inconclusive"
    name = f"stress {run.profile.name} on {run.filesystem}"
    return Check(name, ends[0], ends[1], verdict, f"stress#{run_anchor(run)}")
