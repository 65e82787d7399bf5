"""the mail side."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go up."""

    op.create_table(
        "commands",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=998), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("sender", sa.String(length=320), nullable=False),
        sa.Column("verb", sa.String(length=40), nullable=False),
        sa.Column("args", sa.JSON(), nullable=False),
        sa.Column("series", sa.String(length=998), nullable=True),
        sa.Column("allowed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=True),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
        sa.UniqueConstraint("message_id", "line", name=op.f("uq_commands_message_id_line")),
    )
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commands_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_commands_sender"), ["sender"], unique=False)
        batch_op.create_index(batch_op.f("ix_commands_series"), ["series"], unique=False)
        batch_op.create_index(batch_op.f("ix_commands_signature"), ["signature"], unique=False)

    op.create_table(
        "cursors",
        sa.Column("source", sa.String(length=500), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_cursors")),
    )
    op.create_table(
        "mails",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=998), nullable=False),
        sa.Column("source", sa.String(length=500), nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
        sa.Column("written", sa.DateTime(), nullable=False),
        sa.Column("sender", sa.String(length=320), nullable=False),
        sa.Column("name", sa.String(length=320), nullable=False),
        sa.Column("full", sa.String(length=320), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("ancestors", sa.JSON(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("heard", sa.Boolean(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.UniqueConstraint("message_id", name=op.f("uq_mails_message_id")),
    )
    with op.batch_alter_table("mails", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mails_heard"), ["heard"], unique=False)
        batch_op.create_index(batch_op.f("ix_mails_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_mails_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_mails_received"), ["received"], unique=False)
        batch_op.create_index(batch_op.f("ix_mails_sender"), ["sender"], unique=False)
        batch_op.create_index(batch_op.f("ix_mails_settled"), ["settled"], unique=False)
        batch_op.create_index(batch_op.f("ix_mails_written"), ["written"], unique=False)

    op.create_table(
        "mutes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series", sa.String(length=998), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=320), nullable=False),
        sa.Column("message_id", sa.String(length=998), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("lifted", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mutes")),
    )
    with op.batch_alter_table("mutes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mutes_fingerprint"), ["fingerprint"], unique=False)
        batch_op.create_index(batch_op.f("ix_mutes_series"), ["series"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.String(length=998), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("series", sa.String(length=998), nullable=True),
        sa.Column("thread", sa.String(length=998), nullable=False),
        sa.Column("sender", sa.String(length=320), nullable=False),
        sa.Column("recipients", sa.JSON(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("mail", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("due", sa.DateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("approved", sa.DateTime(), nullable=True),
        sa.Column("tried", sa.DateTime(), nullable=True),
        sa.Column("claim", sa.String(length=64), nullable=True),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("message_id", name=op.f("uq_outbox_message_id")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outbox_changed"), ["changed"], unique=False)
        batch_op.create_index(batch_op.f("ix_outbox_series"), ["series"], unique=False)
        batch_op.create_index("ix_outbox_state_due", ["state", "due"], unique=False)
        batch_op.create_index(batch_op.f("ix_outbox_thread"), ["thread"], unique=False)

    op.create_table(
        "runs",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("series", sa.String(length=998), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_runs")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_runs_series"), ["series"], unique=False)

    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("lead", sa.String(length=998), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("plain", sa.String(length=500), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("submitter", sa.String(length=320), nullable=False),
        sa.Column("date", sa.DateTime(), nullable=False),
        sa.Column("change_id", sa.String(length=200), nullable=True),
        sa.Column("supersedes", sa.String(length=998), nullable=True),
        sa.Column("partial", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
        sa.Column("due", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint("lead", name=op.f("uq_series_lead")),
    )
    with op.batch_alter_table("series", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_series_change_id"), ["change_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_changed"), ["changed"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_date"), ["date"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_due"), ["due"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_plain"), ["plain"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_submitter"), ["submitter"], unique=False)
        batch_op.create_index(batch_op.f("ix_series_supersedes"), ["supersedes"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("outbox", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("stage", sa.String(length=20), nullable=False),
        sa.Column("said", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["outbox"], ["outbox.id"], name=op.f("fk_deliveries_outbox")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deliveries_outbox"), ["outbox"], unique=False)

    op.create_table(
        "members",
        sa.Column("mail", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["mail"], ["mails.id"], name=op.f("fk_members_mail")),
        sa.ForeignKeyConstraint(
            ["series"], ["series.id"], name=op.f("fk_members_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("mail", "series", name=op.f("pk_members")),
    )
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_members_series"), ["series"], unique=False)

    op.create_table(
        "refs",
        sa.Column("mail", sa.Integer(), nullable=False),
        sa.Column("ancestor", sa.String(length=998), nullable=False),
        sa.ForeignKeyConstraint(["mail"], ["mails.id"], name=op.f("fk_refs_mail")),
        sa.PrimaryKeyConstraint("mail", "ancestor", name=op.f("pk_refs")),
    )
    with op.batch_alter_table("refs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_refs_ancestor"), ["ancestor"], unique=False)

    op.create_table(
        "requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("series", sa.String(length=998), nullable=False),
        sa.Column("command", sa.Integer(), nullable=True),
        sa.Column("args", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("due", sa.DateTime(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("run", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["command"], ["commands.id"], name=op.f("fk_requests_command")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_requests")),
    )
    with op.batch_alter_table("requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_requests_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_requests_due"), ["due"], unique=False)
        batch_op.create_index(batch_op.f("ix_requests_run"), ["run"], unique=False)
        batch_op.create_index(batch_op.f("ix_requests_series"), ["series"], unique=False)
        batch_op.create_index(batch_op.f("ix_requests_state"), ["state"], unique=False)

    op.create_table(
        "sent",
        sa.Column("outbox", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(length=320), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["outbox"], ["outbox.id"], name=op.f("fk_sent_outbox")),
        sa.PrimaryKeyConstraint("outbox", "recipient", name=op.f("pk_sent")),
    )
    with op.batch_alter_table("sent", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sent_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_sent_recipient"), ["recipient"], unique=False)

    switches = op.create_table(
        "switches",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("stopped", sa.DateTime(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_switches")),
    )
    op.bulk_insert(switches, [{"name": "sending", "stopped": None, "reason": ""}])


def downgrade() -> None:
    """Go back."""

    op.drop_table("switches")
    with op.batch_alter_table("sent", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sent_recipient"))
        batch_op.drop_index(batch_op.f("ix_sent_at"))

    op.drop_table("sent")
    with op.batch_alter_table("requests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_requests_state"))
        batch_op.drop_index(batch_op.f("ix_requests_series"))
        batch_op.drop_index(batch_op.f("ix_requests_run"))
        batch_op.drop_index(batch_op.f("ix_requests_due"))
        batch_op.drop_index(batch_op.f("ix_requests_at"))

    op.drop_table("requests")
    with op.batch_alter_table("refs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_refs_ancestor"))

    op.drop_table("refs")
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_members_series"))

    op.drop_table("members")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deliveries_outbox"))

    op.drop_table("deliveries")
    with op.batch_alter_table("series", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_series_supersedes"))
        batch_op.drop_index(batch_op.f("ix_series_submitter"))
        batch_op.drop_index(batch_op.f("ix_series_state"))
        batch_op.drop_index(batch_op.f("ix_series_plain"))
        batch_op.drop_index(batch_op.f("ix_series_due"))
        batch_op.drop_index(batch_op.f("ix_series_date"))
        batch_op.drop_index(batch_op.f("ix_series_changed"))
        batch_op.drop_index(batch_op.f("ix_series_change_id"))

    op.drop_table("series")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_runs_series"))

    op.drop_table("runs")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_outbox_thread"))
        batch_op.drop_index("ix_outbox_state_due")
        batch_op.drop_index(batch_op.f("ix_outbox_series"))
        batch_op.drop_index(batch_op.f("ix_outbox_changed"))

    op.drop_table("outbox")
    with op.batch_alter_table("mutes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_mutes_series"))
        batch_op.drop_index(batch_op.f("ix_mutes_fingerprint"))

    op.drop_table("mutes")
    with op.batch_alter_table("mails", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_mails_written"))
        batch_op.drop_index(batch_op.f("ix_mails_settled"))
        batch_op.drop_index(batch_op.f("ix_mails_sender"))
        batch_op.drop_index(batch_op.f("ix_mails_received"))
        batch_op.drop_index(batch_op.f("ix_mails_name"))
        batch_op.drop_index(batch_op.f("ix_mails_kind"))
        batch_op.drop_index(batch_op.f("ix_mails_heard"))

    op.drop_table("mails")
    op.drop_table("cursors")
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_commands_signature"))
        batch_op.drop_index(batch_op.f("ix_commands_series"))
        batch_op.drop_index(batch_op.f("ix_commands_sender"))
        batch_op.drop_index(batch_op.f("ix_commands_at"))

    op.drop_table("commands")
