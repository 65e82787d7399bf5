"""From a wish to what lies in the outbox; who runs is small and real, without workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.contract import (
    Apply,
    BuildRequest,
    BuildResult,
    Call,
    Frame,
    OursError,
    Outcome,
    PatchBuilt,
    Queue,
    StackRequest,
    StackResult,
    TheirsError,
)  # fmt: skip
from bot.mail.following import Fetched
from bot.mail.headers import Address
from bot.mail.outbox import Outbox
from bot.mail.outrules import Rules
from bot.mail.patchtext import patch_texts
from bot.mail.series import Series
from bot.review import fingerprint, frozen, plan
from bot.review.base import Base
from bot.review.frozen import Frozen
from bot.review.jobs import Wanted
from bot.review.prerequisites import Known
from bot.review.told import Planned
from bot.service import intake, planning, reports, scoping
from bot.service.advancing import advance
from bot.service.carrying import Carriage, Limits
from bot.service.intake import Patience
from bot.service.planning import Office
from bot.service.telling import Mouth, Voice
from bot.settings import Settings
from bot.store import jobs, labels, mutes, parts, wishes
from bot.store import series as kept
from bot.store.labels import Kind
from bot.store.mutes import Muted
from bot.store.outbox import State
from bot.store.tables import RequestRow
from bot.store.wishes import Asked, Wish
from policies import kernels
from policies.lists import load as load_lists
from policies.schema import load_gates
from policies.scope import load as load_scope
from tests.carriers import Desk
from tests.letters import letter, sending
from tests.stores import opened

NOW = datetime(2026, 1, 6, 9, 0, tzinfo=UTC)
ASKER = "m@example.org"
SETTINGS = Settings()  # type: ignore[call-arg] # pydantic-settings fills the fields


def stack(after: int) -> StackResult:
    frame = Frame(
        function="pageout", file="mm/one.c", line=2, before=88, after=after, dynamic=False, patch=1,
        object="mm/one.o",
    )  # fmt: skip
    calls: tuple[Call, ...] = ()
    frames = (frame,) if after > 88 else ()
    return StackResult(outcome=Outcome.PASSED, frames=frames, calls=calls, functions=9, objects=1)


class Lab:
    """Plans, and a worker that knows the result of each version and counts its builds."""

    def __init__(self) -> None:
        self.after = {1: 608, 2: 608}
        self.made: list[str] = []
        self.error: Exception | None = None
        self.broken = ""

    def plan(self, series: Series, args: dict[str, Any], known: Known) -> Planned:
        if self.error:
            raise self.error
        if args.get("base") == "nowhere" or known.by_patch_id:
            raise TheirsError("nowhere is no commit that is known")
        base = Base("t", "c" * 40, "the head", ())
        policy = kernels.load(args.get("config") or "default")
        request = plan.build(SETTINGS, base, policy, patch_texts(series))
        wanted = Wanted(stack="stack" in (args.get("jobs") or ["stack"]))
        return Planned(SETTINGS, series, base, "s", 9, load_gates(), request, wanted)

    def thaw(self, kept: Frozen, series: Series) -> Planned:
        return frozen.thaw(kept, series, SETTINGS, load_gates())

    def answer(self, kind: Queue, request: dict[str, Any]) -> dict[str, Any]:
        if self.broken:
            return BuildResult(outcome=Outcome.BROKEN, reason=self.broken).model_dump(mode="json")
        if kind is Queue.STACK:
            version = 2 if request["after"][0]["facts"] == "d" * 64 else 1
            return stack(self.after[version]).model_dump(mode="json")
        wanted = BuildRequest.model_validate(request)
        lead = wanted.patches[0].message_id.partition("-")[0] + "-0"
        self.made.append(lead)
        facts = ("d" if lead == "b-0" else "e") * 64
        built = tuple(
            PatchBuilt(
                index=one.index, commit="1" * 40, applied=Apply.EXACT, seconds=1, facts=facts,
                objects=("mm/one.o",),
            )
            for one in wanted.patches
        )  # fmt: skip
        return BuildResult(
            outcome=Outcome.PASSED, base_commit="c" * 40, compiler="gcc", base_facts="f" * 64,
            patches=built,
        ).model_dump(mode="json")  # fmt: skip


class Room:
    """A store with v1 of a series, and what answers."""

    def __init__(self, path: Path) -> None:
        self.store = opened(path / "store.db")
        self.outbox = Outbox(self.store, Rules())
        self.lab = Lab()
        self.desk = Desk(self.lab.answer)
        self.now = NOW
        self.ticks = 0.0
        self.limits = Limits(backoff=lambda tries: timedelta(minutes=2**tries))
        self.carriage = Carriage(self.store, self.desk, self.limits, lambda: self.ticks)
        self.voice = Voice("stackhog <bot@example.org>", ("bot@example.org",), load_lists(), lambda _: (), lambda one: "lists" in one)  # noqa: E501 # fmt: skip
        self.take(*sending("a", 2))

    def take(self, *raws: bytes) -> None:
        for raw in raws:
            intake.take(self.store, "list", Fetched(raw, ""), NOW)
        intake.settle(self.store, NOW, Patience())
        intake.give_up(self.store, NOW)

    def ask(self, id: str, series: str = "a-0", **args: object) -> None:  # noqa: A002
        """Want a run as a mail of the maintainer's would."""
        raw = letter("Re: [PATCH 0/2] the cover", "/test\n", id=id, parents=[series],
                     sender=f"M. Maintainer <{ASKER}>")  # fmt: skip
        self.take(raw)
        with self.store.session() as session:
            asked = Asked(id, 1, ASKER, "test", args, series, allowed=True, reason="")
            number = wishes.audit(session, asked, "", NOW)
            wishes.want(session, series, args, number, NOW)

    @property
    def office(self) -> Office:
        return Office(self.store, self.lab, self.outbox, self.voice.address, self.limits.backoff)

    def plan(self) -> list[str]:
        with self.store.session() as session:
            waiting = wishes.waiting(session, self.now)
        return [planning.plan(self.office, one, self.now) for one in waiting]

    def advance(self, early: dict[str, StackRequest] | None = None) -> list[str]:
        with self.store.session() as session:
            running = wishes.running(session, self.now)
        mouth = Mouth(self.store, self.outbox, self.voice)
        found = [advance(self.office, mouth, one, early or {}, self.now) for one in running]
        return [one for one in found if one]

    def answer(self) -> list[str]:
        """Do all that there is to do; return what came of it."""
        said = [one for one in self.plan() if not one.startswith("planned")]
        while True:
            said += self.advance()
            self.carriage.dispatch(self.now)
            if not self.desk.work():
                return said
            self.carriage.collect(self.now)

    def mails(self) -> list[str]:
        found = self.outbox.listed(tuple(State))
        return [self.outbox.show(one.id)[1].decode().replace("\r\n", "\n") for one in found]

    def open(self) -> int:
        """Return how many runs have not ended."""
        with self.store.session() as session:
            return len(wishes.waiting(session)) + len(wishes.running(session))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def test_what_was_asked_for_is_answered_in_the_thread(room: Room) -> None:
    room.ask("ask@x")
    assert room.answer() == [f"{ASKER} asked for it"]
    (mail,) = room.mails()
    head, _, body = mail.partition("\n\n")
    assert 'To: "M. Maintainer" <m@example.org>' in head
    assert "Cc: Jane Doe <jane@example.org>" in head
    assert "In-Reply-To: <ask@x>" in head
    assert "Subject: Re: [PATCH 0/2] the cover" in head
    assert body.startswith("stack: pageout() grows by 520 bytes, 88 to 608.\n\nM. Maintainer asked")
    assert room.open() == 0
    assert room.answer() == []


def test_nothing_found_is_told_when_it_was_asked_for(room: Room) -> None:
    room.lab.after[1] = 88
    room.ask("ask@x")
    room.answer()
    (mail,) = room.mails()
    assert mail.partition("\n\n")[2].startswith("No findings.")


def test_the_same_work_is_done_once_unless_it_is_to_be_fresh(room: Room) -> None:
    room.ask("ask@x")
    room.ask("again@x")
    room.answer()
    assert room.lab.made == ["a-0"]
    assert len(room.mails()) == 2
    room.ask("fresh@x", fresh=True)
    room.answer()
    assert room.lab.made == ["a-0"] * 2
    room.ask("less@x", jobs=["build"])
    room.answer()
    assert room.lab.made == ["a-0"] * 2
    assert len(room.mails()) == 4


def test_a_version_with_the_same_diffs_is_the_same_work(room: Room) -> None:
    room.ask("ask@x")
    room.answer()
    room.take(*sending("r", 2, label="PATCH v2", minutes=60, content="a"))
    room.ask("again@x", "r-0")
    room.answer()
    assert room.lab.made == ["a-0"]
    assert "In-Reply-To: <again@x>" in room.mails()[1]


def test_another_configuration_is_other_work(room: Room) -> None:
    room.ask("ask@x")
    room.ask("debug@x", config="debug")
    room.answer()
    assert room.lab.made == ["a-0"] * 2


def test_a_build_by_an_older_compiler_is_made_anew(room: Room) -> None:
    room.ask("ask@x")
    room.answer()
    with room.store.session() as session:
        parts.saw(session, "w", "worker", {"compiler": "gcc (Debian) 14"}, NOW)
    room.ask("again@x")
    room.answer()
    assert room.lab.made == ["a-0"] * 2


def test_a_crash_before_the_end_makes_nothing_twice(room: Room) -> None:
    room.ask("ask@x")
    room.answer()
    with room.store.session() as session:
        row = session.get_one(RequestRow, 1)
        row.state = Wish.RUNNING  # as it was before the last commit
    room.answer()
    assert room.lab.made == ["a-0"]
    assert len(room.mails()) == 1


def test_our_own_failure_is_told_to_nobody_and_tried_again(room: Room) -> None:
    room.ask("ask@x")
    room.lab.error = OursError("the disk is full")
    with pytest.raises(OursError):
        room.answer()
    assert (room.mails(), room.open()) == ([], 1)
    room.lab.error = None
    room.answer()
    assert (len(room.mails()), room.open()) == (1, 0)


def test_a_broken_job_is_tried_later_each_time_and_then_shown(room: Room) -> None:
    room.ask("ask@x")
    room.lab.broken = "the disk is full"
    waits = []
    for _ in range(5):
        assert room.answer() == []
        with room.store.session() as session:
            (job,) = jobs.ready(session, room.now + timedelta(hours=3), 9)
        assert (job.state, job.reason) == (jobs.State.READY, "the disk is full")
        waits.append(job.due - room.now)
        room.now = job.due
    assert waits == [timedelta(minutes=2**n) for n in range(5)]
    assert room.answer() == ["the build job is broken: the disk is full (given up)"]
    with room.store.session() as session:
        ((failed, _),) = wishes.failed(session)
        assert wishes.retry(session, failed.id, room.now)
    assert room.mails() == []
    room.lab.broken = ""
    room.answer()
    assert (len(room.mails()), room.open()) == (1, 0)


def test_planning_that_breaks_is_put_off_and_at_last_given_up(room: Room) -> None:
    room.ask("ask@x")
    with room.store.session() as session:
        (wanted,) = wishes.waiting(session)
    assert (
        planning.put_off(room.office, wanted, "no tree", NOW, 1) == "no tree (tried again at 09:01)"
    )
    with room.store.session() as session:
        assert wishes.waiting(session, NOW) == ()
        (wanted,) = wishes.waiting(session, NOW + timedelta(minutes=1))
    assert planning.put_off(room.office, wanted, "no tree", NOW, 1) == "no tree (given up)"
    assert room.open() == 0


def test_a_clock_that_was_far_ahead_puts_nothing_off_for_ever(room: Room) -> None:
    room.ask("ask@x")
    with room.store.session() as session:
        wishes.put_off(session, 1, "no tree", NOW + timedelta(days=400))
        assert len(wishes.waiting(session, NOW)) == 0
        assert len(wishes.waiting(session, NOW - timedelta(seconds=1))) == 1  # made by it
        wishes.hasten(session, NOW)
        assert len(wishes.waiting(session, NOW)) == 1


def test_what_cannot_be_done_is_told_to_whoever_asked_alone(room: Room) -> None:
    room.ask("ask@x", base="nowhere")
    assert room.answer() == ["nowhere is no commit that is known"]
    (mail,) = room.mails()
    assert 'To: "M. Maintainer" <m@example.org>' in mail
    assert "Cc:" not in mail
    assert "  nowhere is no commit that is known\n" in mail


def test_a_series_that_is_not_whole_is_not_run(room: Room) -> None:
    room.take(*sending("b", 3, minutes=60)[:2])
    room.ask("ask@x", "b-0")
    assert room.answer() == ["the series is not complete, patch 2/3, 3/3 is missing"]
    assert room.lab.made == []


def test_by_scope_nobody_hears_of_it_and_the_result_is_kept(room: Room) -> None:
    with room.store.session() as session:
        wishes.want(session, "a-0", {}, None, NOW)
    assert room.answer() == ["nobody asked for it"]
    assert room.mails() == []
    room.ask("ask@x")
    room.answer()
    assert room.lab.made == ["a-0"]
    assert len(room.mails()) == 1


def test_a_muted_finding_is_named_and_counts_for_nothing(room: Room) -> None:
    room.ask("ask@x")
    room.answer()
    with room.store.session() as session:
        text = wishes.latest(session, "a-0")
        assert text is not None
        (finding,) = reports.read(text).findings
        mark = fingerprint.fingerprint(finding)
        mutes.add(session, "a-0", Muted(mark, "it goes away", "M. Maintainer", "m@x"), NOW)
    room.take(*sending("b", 2, label="PATCH v2", minutes=60))
    room.ask("two@x", "b-0")
    room.answer()
    mail = room.mails()[-1]
    assert "No findings that are not muted." in mail
    said = " ".join(mail.split())
    assert mark[:7] in said
    assert "M. Maintainer" in said
    assert "it goes away" in said


def test_v2_tells_what_became_of_what_was_told_of_v1(room: Room) -> None:
    room.take(*sending("b", 2, label="PATCH v2", minutes=60))
    room.lab.after[2] = 88
    room.ask("ask@x")
    room.answer()
    with room.store.session() as session:
        from bot.store.tables import OutboxRow  # noqa: PLC0415 - as if it had been sent

        for row in session.query(OutboxRow):
            row.state = State.SENT
    room.ask("two@x", "b-0")
    room.answer()
    assert "The finding in v1 is gone: frame of pageout(), 608 bytes.\n" in room.mails()[-1]


def test_v2_is_silent_about_what_nobody_was_told(room: Room) -> None:
    with room.store.session() as session:
        wishes.want(session, "a-0", {}, None, NOW)
    room.answer()
    room.take(*sending("b", 2, label="PATCH v2", minutes=60))
    room.ask("two@x", "b-0")
    room.answer()
    assert "in v1" not in room.mails()[-1]


def test_what_is_in_scope_is_wanted_once_and_a_new_version_takes_its_place(tmp_path: Path) -> None:
    room = Room(tmp_path)
    reclaim = [
        one.replace(b"mm/one.c", b"mm/vmscan.c").replace(b"int b;", b"scan(b);")
        for one in (*sending("s", 1), *sending("t", 1, label="PATCH v2", minutes=60))
    ]
    room.take(*reclaim[:2])
    decided = dict(scoping.look(room.store, load_scope(), room.voice, NOW))
    assert decided["a-0"] == "no rule concerns mm/one.c"
    assert decided["s-0"].startswith("reclaim: mm/vmscan.c")
    assert scoping.look(room.store, load_scope(), room.voice, NOW) == ()
    with room.store.session() as session:
        about = labels.of(session, "s-0")
    assert {value for kind, value in about if kind is Kind.PATH} == {"mm", "mm/vmscan.c"}
    assert room.open() == 1
    room.take(*reclaim[2:])
    scoping.look(room.store, load_scope(), room.voice, NOW)
    with room.store.session() as session:
        assert [one.series for one in wishes.waiting(session)] == ["t-0"]
        former = kept.get(session, "s-0")
    assert former is not None
    assert (former.state, former.reason) == (kept.State.SUPERSEDED, "v2 has come")


def test_maintainers_of_the_files_get_a_copy_where_policy_says_so(room: Room) -> None:
    lists = load_lists()
    wide = lists.model_copy(update={"default": lists.default.model_copy(update={"cc": "maintainers"})})  # noqa: E501 # fmt: skip
    room.voice = Voice(room.voice.address, room.voice.own, wide, lambda _: (Address("R", "r@x.org"),), room.voice.is_list)  # noqa: E501 # fmt: skip
    room.ask("ask@x")
    room.answer()
    assert "Cc: Jane Doe <jane@example.org>, R <r@x.org>" in room.mails()[0]
