"""the page."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go up."""
    op.create_table(
        "labels",
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("date", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series"], ["series.id"], name=op.f("fk_labels_series"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("series", "kind", "value", name=op.f("pk_labels")),
    )
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.create_index(
            "ix_labels_kind_value_date", ["kind", "value", "date", "series"], unique=False
        )
    op.create_table(
        "depths",
        sa.Column("run", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("series", sa.String(length=998), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("tree", sa.String(length=200), nullable=False),
        sa.Column("release", sa.String(length=200), nullable=False),
        sa.Column("before", sa.Integer(), nullable=True),
        sa.Column("after", sa.Integer(), nullable=True),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run", "profile", "name", name=op.f("pk_depths")),
    )
    with op.batch_alter_table("depths", schema=None) as batch_op:
        batch_op.create_index("ix_depths_name_at", ["name", "at"], unique=False)
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("log", sa.Text(), nullable=False, server_default=sa.text("''"))
        )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("found", sa.Integer(), nullable=False, server_default=sa.text("0"))
        )


def downgrade() -> None:
    """Go down."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("found")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_column("log")
    with op.batch_alter_table("depths", schema=None) as batch_op:
        batch_op.drop_index("ix_depths_name_at")
    op.drop_table("depths")
    with op.batch_alter_table("labels", schema=None) as batch_op:
        batch_op.drop_index("ix_labels_kind_value_date")
    op.drop_table("labels")
