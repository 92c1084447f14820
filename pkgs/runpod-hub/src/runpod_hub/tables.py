"""The tables, and how money and times are stored in them.

SQLite has neither decimals nor time zones, so both are column types of our own: money
as exact text, times as UTC. Changing a table takes a new revision in `migrations/`.
"""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
)


class Money(TypeDecorator[Decimal]):
    """A `Decimal`, stored as text so that no cent is lost to binary fractions."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> str | None:
        """Write the decimal as text."""
        del dialect
        return None if value is None else str(value)

    def process_result_value(
        self, value: str | None, dialect: Dialect
    ) -> Decimal | None:
        """Read the text as a decimal."""
        del dialect
        return None if value is None else Decimal(value)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Convert to UTC; a naive time is a bug, so it is refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self, value: datetime | None, dialect: Dialect
    ) -> datetime | None:
        """Attach UTC, which SQLite forgets."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value


METADATA = MetaData()

PODS = Table(
    "pods",
    METADATA,
    Column("pod_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("status", String, nullable=False),
    Column("status_reason", String, nullable=False),
    Column("gpu_type", String, nullable=False),
    Column("gpu_count", Integer, nullable=False),
    Column("image", String, nullable=False),
    Column("price_usd_per_hour", Money, nullable=False),
    Column("is_spot", Boolean, nullable=False),
    Column("data_center_id", String, nullable=False),
    Column("uptime_seconds", Integer),
    Column("ssh_host", String, nullable=False),
    Column("ssh_port", Integer),
    Column("ports", JSON, nullable=False),
    Column("owner", String, nullable=False),
    Column("first_seen_at", UTCDateTime, nullable=False),
    Column("last_seen_at", UTCDateTime, nullable=False),
    Column("absences", Integer, nullable=False),
    Column("gone_at", UTCDateTime),
    Index("pods_gone_at", "gone_at"),
)

POD_SAMPLES = Table(
    "pod_samples",
    METADATA,
    Column(
        "pod_id",
        String,
        ForeignKey("pods.pod_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("sampled_at", UTCDateTime, primary_key=True),
    Column("status", String, nullable=False),
    Column("price_usd_per_hour", Money, nullable=False),
    Index("pod_samples_sampled_at", "sampled_at"),
)

TICKS = Table(
    "ticks",
    METADATA,
    Column("tick_id", Integer, primary_key=True, autoincrement=True),
    Column("started_at", UTCDateTime, nullable=False),
    Column("finished_at", UTCDateTime, nullable=False),
    Column("outcome", String, nullable=False),
    Column("error", String, nullable=False),
    Index("ticks_started_at", "started_at"),
)

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("account_id", String, primary_key=True),
    Column("balance_usd", Money, nullable=False),
    Column("spend_usd_per_hour", Money, nullable=False),
    Column("spend_limit_usd_per_hour", Money),
    Column("observed_at", UTCDateTime, nullable=False),
)

AGENT_SESSIONS = Table(
    "agent_sessions",
    METADATA,
    Column(
        "pod_id",
        String,
        ForeignKey("pods.pod_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    Column("agent", String, primary_key=True),
    Column("started_at", UTCDateTime, primary_key=True),
    Column("status", String, nullable=False),
    Column("current_task", String, nullable=False),
    Column("last_heartbeat_at", UTCDateTime, nullable=False),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("occurred_at", UTCDateTime, nullable=False),
    Column("actor", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_subject", "subject"),
    # AUTOINCREMENT: a sequence number is never given out twice, even after deletes
    sqlite_autoincrement=True,
)
