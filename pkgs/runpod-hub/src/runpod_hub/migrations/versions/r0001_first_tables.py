"""Create pods, samples, ticks, accounts, agent sessions and events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the first tables."""
    _create_pods()
    _create_observations()
    op.create_table(
        "agent_sessions",
        sa.Column("pod_id", sa.String, _pod(), primary_key=True),
        sa.Column("agent", sa.String, primary_key=True),
        sa.Column("started_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("current_task", sa.String, nullable=False),
        sa.Column("last_heartbeat_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_subject", "events", ["subject"])


def downgrade() -> None:
    """Drop everything, dependants first."""
    for table in (
        "events",
        "agent_sessions",
        "accounts",
        "ticks",
        "pod_samples",
        "pods",
    ):
        op.drop_table(table)


def _pod() -> sa.ForeignKey:
    return sa.ForeignKey("pods.pod_id", ondelete="CASCADE")


def _create_pods() -> None:
    op.create_table(
        "pods",
        sa.Column("pod_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("status_reason", sa.String, nullable=False),
        sa.Column("gpu_type", sa.String, nullable=False),
        sa.Column("gpu_count", sa.Integer, nullable=False),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("price_usd_per_hour", sa.String, nullable=False),
        sa.Column("is_spot", sa.Boolean, nullable=False),
        sa.Column("data_center_id", sa.String, nullable=False),
        sa.Column("uptime_seconds", sa.Integer),
        sa.Column("ssh_host", sa.String, nullable=False),
        sa.Column("ssh_port", sa.Integer),
        sa.Column("ports", sa.JSON, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("absences", sa.Integer, nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True)),
    )
    op.create_index("pods_gone_at", "pods", ["gone_at"])


def _create_observations() -> None:
    op.create_table(
        "pod_samples",
        sa.Column("pod_id", sa.String, _pod(), primary_key=True),
        sa.Column("sampled_at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("price_usd_per_hour", sa.String, nullable=False),
    )
    op.create_index("pod_samples_sampled_at", "pod_samples", ["sampled_at"])
    op.create_table(
        "ticks",
        sa.Column("tick_id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.String, nullable=False),
        sa.Column("error", sa.String, nullable=False),
    )
    op.create_index("ticks_started_at", "ticks", ["started_at"])
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("balance_usd", sa.String, nullable=False),
        sa.Column("spend_usd_per_hour", sa.String, nullable=False),
        sa.Column("spend_limit_usd_per_hour", sa.String),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
    )
