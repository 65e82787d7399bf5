"""The tables. Times are UTC; lists and objects are JSON; Message-IDs have no angle brackets."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bot.store.kinds import ID_BYTES, MessageId, Moment, Number, Prose, Words

NAMES = {  # constraints need names to be altered by a migration
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
MESSAGE_ID = MessageId(ID_BYTES)


class Base(DeclarativeBase):
    """Root of all tables."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own class attribute
        datetime: Moment,
        int: Number,
        str: Prose,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        bytes: LargeBinary,
    }


class MailRow(Base):
    """A mail that came in, once for each Message-ID; ``raw`` is kept where it is still needed."""

    __tablename__ = "mails"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(MESSAGE_ID, unique=True)
    source: Mapped[str] = mapped_column(Words(500))
    received: Mapped[datetime] = mapped_column(index=True)
    written: Mapped[datetime] = mapped_column(index=True)
    sender: Mapped[str] = mapped_column(Words(320), index=True)  # address alone, lower case
    name: Mapped[str] = mapped_column(Words(320), index=True)  # full name, case folded, or ""
    full: Mapped[str] = mapped_column(Words(320))  # the same as it was written
    subject: Mapped[str] = mapped_column(Prose)
    ancestors: Mapped[list[Any]]  # References in their order, the parent last
    kind: Mapped[str] = mapped_column(Words(20), index=True)  # bot/mail/kinds.py
    reason: Mapped[str] = mapped_column(Prose)  # why it is of this kind
    settled: Mapped[bool] = mapped_column(index=True)  # False: assembly has not looked at it yet
    heard: Mapped[bool] = mapped_column(index=True)  # False: there are commands in it to be judged
    raw: Mapped[bytes | None]  # packed by zlib


class ReferenceRow(Base):
    """An ancestor of a mail, as its References say."""

    __tablename__ = "refs"

    mail: Mapped[int] = mapped_column(ForeignKey("mails.id"), primary_key=True)
    ancestor: Mapped[str] = mapped_column(MESSAGE_ID, primary_key=True, index=True)


class SeriesRow(Base):
    """One version of one submission, as far as it has come in."""

    __tablename__ = "series"

    id: Mapped[int] = mapped_column(primary_key=True)
    lead: Mapped[str] = mapped_column(MESSAGE_ID, unique=True)  # Series.id; changes with the cover
    title: Mapped[str] = mapped_column(Prose)
    plain: Mapped[str] = mapped_column(Words(500), index=True)  # the title's letters and digits
    version: Mapped[int]
    total: Mapped[int]
    missing: Mapped[list[Any]]
    problem: Mapped[str | None] = mapped_column(Prose)
    submitter: Mapped[str] = mapped_column(Words(320), index=True)
    date: Mapped[datetime] = mapped_column(index=True)
    change_id: Mapped[str | None] = mapped_column(Words(200), index=True)
    supersedes: Mapped[str | None] = mapped_column(MESSAGE_ID, index=True)  # lead of the former
    partial: Mapped[bool]  # some patches are those of the version before
    state: Mapped[str] = mapped_column(Words(20), index=True)  # bot/store/series.py
    reason: Mapped[str] = mapped_column(Prose)  # for its state, one line
    changed: Mapped[datetime] = mapped_column(index=True)  # when its mails last changed
    due: Mapped[datetime] = mapped_column(index=True)  # when the state is looked at again


class MemberRow(Base):
    """A mail's place in a series: 0 is the cover, -1 a mail of another sending of the same."""

    __tablename__ = "members"

    mail: Mapped[int] = mapped_column(ForeignKey("mails.id"), primary_key=True)
    series: Mapped[int] = mapped_column(
        ForeignKey("series.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    place: Mapped[int]


class LabelRow(Base):
    """What a series may be looked up by: a list, a person, a file or directory, a filesystem."""

    __tablename__ = "labels"
    __table_args__ = (Index("ix_labels_kind_value_date", "kind", "value", "date", "series"),)

    series: Mapped[int] = mapped_column(
        ForeignKey("series.id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(Words(20), primary_key=True)  # bot/store/labels.py
    value: Mapped[str] = mapped_column(Words(200), primary_key=True)  # addresses in lower case
    date: Mapped[datetime]  # of the series, so that one index answers in its order


class CursorRow(Base):
    """Where a source goes on."""

    __tablename__ = "cursors"

    source: Mapped[str] = mapped_column(Words(500), primary_key=True)
    value: Mapped[str] = mapped_column(Prose)
    changed: Mapped[datetime]


class CommandRow(Base):
    """Who asked for what by mail, and what became of it."""

    __tablename__ = "commands"
    __table_args__ = (UniqueConstraint("message_id", "line"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(MESSAGE_ID)
    line: Mapped[int]
    at: Mapped[datetime] = mapped_column(index=True)
    sender: Mapped[str] = mapped_column(Words(320), index=True)
    verb: Mapped[str] = mapped_column(Words(40))
    args: Mapped[dict[str, Any]]
    series: Mapped[str | None] = mapped_column(MESSAGE_ID, index=True)
    allowed: Mapped[bool]
    reason: Mapped[str] = mapped_column(Prose)
    signature: Mapped[str | None] = mapped_column(Words(64), index=True)  # to know a replay by
    form: Mapped[str] = mapped_column(Prose, default="")  # unsigned headers, likewise
    outcome: Mapped[str] = mapped_column(Prose, default="")  # what was done, one line


class RequestRow(Base):
    """A run that is wanted: by a command, or because a series is in scope."""

    __tablename__ = "requests"

    id: Mapped[int] = mapped_column(primary_key=True)
    series: Mapped[str] = mapped_column(MESSAGE_ID, index=True)  # lead of the series
    command: Mapped[int | None] = mapped_column(ForeignKey("commands.id"))  # None: by scope
    args: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(index=True)
    due: Mapped[datetime] = mapped_column(index=True)  # not before: after a failure of ours
    tries: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(Words(20), index=True)  # bot/store/wishes.py
    reason: Mapped[str] = mapped_column(Prose, default="")
    run: Mapped[str | None] = mapped_column(Words(64), index=True)  # key of the run that answers
    priority: Mapped[int] = mapped_column(default=9)  # 0 first: bot/service/planning.py
    plan: Mapped[bytes | None]  # JSON, packed by zlib: the jobs with every limit frozen in
    started: Mapped[datetime | None]  # when it was planned
    ended: Mapped[datetime | None] = mapped_column(index=True)


class JobRow(Base):
    """A job, once for each key, whoever wants it; rows are never deleted."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_due", "state", "due"),)

    key: Mapped[str] = mapped_column(Words(64), primary_key=True)
    kind: Mapped[str] = mapped_column(Words(20), index=True)  # "build", "stack" or "stress"
    state: Mapped[str] = mapped_column(Words(20))  # bot/store/jobs.py
    request: Mapped[bytes]  # JSON, packed by zlib
    result: Mapped[bytes | None]  # likewise
    outcome: Mapped[str] = mapped_column(Words(20), default="")  # of the result
    reason: Mapped[str] = mapped_column(Prose, default="")  # for its state, one line
    priority: Mapped[int]
    seconds: Mapped[float]  # how long it may take
    created: Mapped[datetime] = mapped_column(index=True)
    due: Mapped[datetime]  # not before: after a failure of ours
    task: Mapped[str | None] = mapped_column(Words(80), unique=True)  # of the attempt under way
    epoch: Mapped[str] = mapped_column(Words(40), default="")  # of the broker that has the task
    lease: Mapped[datetime | None]  # until then the attempt counts as alive
    attempts: Mapped[int] = mapped_column(default=0)  # times it was sent
    losses: Mapped[int] = mapped_column(default=0)  # times it was lost while it ran
    failures: Mapped[int] = mapped_column(default=0)  # times it ended broken
    worker: Mapped[str] = mapped_column(Words(200), default="")  # that has it, or had it last
    step: Mapped[str] = mapped_column(Prose, default="")  # what it is doing
    log: Mapped[str] = mapped_column(Prose, default="", server_default="")  # its steps, a line each
    sent: Mapped[datetime | None]  # the attempt that counts
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None] = mapped_column(index=True)


class NeedRow(Base):
    """A run that is wanted needs a job."""

    __tablename__ = "needs"

    request: Mapped[int] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    job: Mapped[str] = mapped_column(ForeignKey("jobs.key"), primary_key=True, index=True)
    shared: Mapped[bool]  # the job was there already, wanted by another run


class PartRow(Base):
    """A process of ours that lives, or did: what it last said of itself."""

    __tablename__ = "parts"

    name: Mapped[str] = mapped_column(Words(200), primary_key=True)
    kind: Mapped[str] = mapped_column(Words(20))  # "bot" or "worker"
    since: Mapped[datetime]
    seen: Mapped[datetime] = mapped_column(index=True)
    facts: Mapped[dict[str, Any]]  # of a worker: bot/contract/wire.py Presence


class CounterRow(Base):
    """How often something happened since the store was made."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(Words(60), primary_key=True)
    label: Mapped[str] = mapped_column(Words(200), primary_key=True)
    value: Mapped[int]


class RunRow(Base):
    """What a run came to, kept so that the same work is not done twice."""

    __tablename__ = "runs"

    key: Mapped[str] = mapped_column(Words(64), primary_key=True)
    series: Mapped[str] = mapped_column(MESSAGE_ID, index=True)
    at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(Words(20))
    report: Mapped[bytes]  # JSON, packed by zlib
    found: Mapped[int] = mapped_column(server_default="0")  # findings that were told


class DepthRow(Base):
    """How deep a chain was in the kernels of a run, before and after its series, in bytes."""

    __tablename__ = "depths"
    __table_args__ = (Index("ix_depths_name_at", "name", "at"),)

    run: Mapped[str] = mapped_column(Words(64), primary_key=True)
    profile: Mapped[str] = mapped_column(Words(60), primary_key=True)
    name: Mapped[str] = mapped_column(Words(60), primary_key=True)  # a filesystem, or ""
    series: Mapped[str] = mapped_column(MESSAGE_ID)
    at: Mapped[datetime]
    tree: Mapped[str] = mapped_column(Words(200))
    release: Mapped[str] = mapped_column(Words(200))  # of the kernel
    before: Mapped[int | None]  # None: it cannot be reached
    after: Mapped[int | None]
    budget: Mapped[int]


class MuteRow(Base):
    """A finding that somebody asked not to hear of again."""

    __tablename__ = "mutes"

    id: Mapped[int] = mapped_column(primary_key=True)
    series: Mapped[str] = mapped_column(MESSAGE_ID, index=True)  # holds for all its versions
    fingerprint: Mapped[str] = mapped_column(Words(64), index=True)
    reason: Mapped[str] = mapped_column(Prose)
    by: Mapped[str] = mapped_column(Words(320))
    message_id: Mapped[str] = mapped_column(MESSAGE_ID)  # of the mail that asked
    at: Mapped[datetime]
    lifted: Mapped[datetime | None]


class OutboxRow(Base):
    """A mail that waits, or what became of it; rows are never deleted."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_state_due", "state", "due"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[str] = mapped_column(MESSAGE_ID, unique=True)
    kind: Mapped[str] = mapped_column(Words(20))  # "reply" to a thread, "private" to one person
    series: Mapped[str | None] = mapped_column(MESSAGE_ID, index=True)
    thread: Mapped[str] = mapped_column(MESSAGE_ID, index=True)  # its first mail
    sender: Mapped[str] = mapped_column(Words(320))  # envelope
    recipients: Mapped[list[Any]]  # addresses, sorted
    subject: Mapped[str] = mapped_column(Prose)
    mail: Mapped[bytes]  # as it is sent, packed by zlib
    state: Mapped[str] = mapped_column(Words(20))  # bot/store/outbox.py
    reason: Mapped[str] = mapped_column(Prose, default="")  # why it is in this state
    due: Mapped[datetime]  # not before: embargo, cap, next try
    attempts: Mapped[int] = mapped_column(default=0)
    approved: Mapped[datetime | None]  # by a person
    tried: Mapped[datetime | None]  # first attempt since then
    claim: Mapped[str | None] = mapped_column(Words(64))  # of the attempt that is under way
    created: Mapped[datetime]
    changed: Mapped[datetime] = mapped_column(index=True)


class DeliveryRow(Base):
    """One step of one attempt to send a mail: the trace."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(primary_key=True)
    outbox: Mapped[int] = mapped_column(ForeignKey("outbox.id"), index=True)
    attempt: Mapped[int]
    at: Mapped[datetime]
    stage: Mapped[str] = mapped_column(Words(20))  # of the SMTP dialogue
    said: Mapped[str] = mapped_column(Prose)  # the server's answer, or what broke


class SentRow(Base):
    """A recipient that a mail was or may be sent to: what daily caps count."""

    __tablename__ = "sent"

    outbox: Mapped[int] = mapped_column(ForeignKey("outbox.id"), primary_key=True)
    recipient: Mapped[str] = mapped_column(Words(320), primary_key=True, index=True)
    at: Mapped[datetime] = mapped_column(index=True)


class SwitchRow(Base):
    """A switch that a person turns, made by the migration; and the time of a restore."""

    __tablename__ = "switches"

    name: Mapped[str] = mapped_column(Words(20), primary_key=True)
    stopped: Mapped[datetime | None]  # None: goes
    reason: Mapped[str] = mapped_column(Prose)
