"""What the hub remembers, in SQLite: short transactions, no network call inside one.

Rows become the values of `model.py` here and nowhere else. Events are only appended.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, event, insert, select, text
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from runpod_client import Account, PodStatus, PortMapping, Protocol
from runpod_hub.errors import StoreError
from runpod_hub.model import (
    AccountRecord,
    AgentSession,
    AgentStatus,
    Event,
    PodRecord,
    PodSample,
    Snapshot,
    Tick,
    TickOutcome,
)
from runpod_hub.tables import (
    ACCOUNTS,
    AGENT_SESSIONS,
    EVENTS,
    POD_SAMPLES,
    PODS,
    TICKS,
)

RECENT_EVENTS = 50
_BUSY_TIMEOUT_MS = 5_000


class Store:
    """The database of one hub; migrated before it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = _open(path)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()

    async def check(self) -> None:
        """Read something, to see that the database still answers.

        Raises:
            StoreError: It does not.
        """
        async with self._transaction() as connection:
            await connection.execute(text("SELECT 1 FROM alembic_version"))

    async def load_snapshot(self) -> Snapshot:
        """Return the last known state of everything."""
        async with self._transaction() as connection:
            return Snapshot(
                pods=await _load_pods(connection),
                agents=await _load_agents(connection),
                events=await _load_events(connection),
                account=await _load_account(connection),
                pods_as_of=await _last_success(connection),
                last_tick=await _last_tick(connection),
            )

    async def record_tick(
        self,
        tick: Tick,
        *,
        pods: Iterable[PodRecord] = (),
        samples: Iterable[PodSample] = (),
        events: Iterable[Event] = (),
        agents: Iterable[AgentSession] = (),
        account: AccountRecord | None = None,
    ) -> None:
        """Write what one run of the monitor found, all of it or nothing."""
        async with self._transaction() as connection:
            await _put(connection, PODS, [_pod_row(pod) for pod in pods])
            await _put(connection, POD_SAMPLES, [_sample_row(s) for s in samples])
            await _put(connection, AGENT_SESSIONS, [_agent_row(a) for a in agents])
            if account is not None:
                await _put(connection, ACCOUNTS, [_account_row(account)])
            await _append(connection, events)
            await connection.execute(insert(TICKS).values(_tick_row(tick)))

    async def record_agent(
        self, session: AgentSession, events: Iterable[Event]
    ) -> None:
        """Write one agent's session."""
        async with self._transaction() as connection:
            await _put(connection, AGENT_SESSIONS, [_agent_row(session)])
            await _append(connection, events)

    async def prune(self, *, now: datetime, retention: timedelta) -> int:
        """Forget samples, ticks and gone pods older than `retention`.

        Returns:
            How many rows went. Events stay: they are the audit.
        """
        oldest = now - retention
        statements = (
            delete(POD_SAMPLES).where(POD_SAMPLES.c.sampled_at < oldest),
            delete(TICKS).where(TICKS.c.started_at < oldest),
            delete(AGENT_SESSIONS).where(AGENT_SESSIONS.c.last_heartbeat_at < oldest),
            delete(PODS).where(PODS.c.gone_at < oldest),
        )
        async with self._transaction() as connection:
            results = [await connection.execute(each) for each in statements]
            return sum(result.rowcount for result in results)

    async def list_samples(self, pod_id: str, *, since: datetime) -> list[PodSample]:
        """Return a pod's samples, oldest first."""
        query = (
            select(POD_SAMPLES)
            .where(POD_SAMPLES.c.pod_id == pod_id, POD_SAMPLES.c.sampled_at >= since)
            .order_by(POD_SAMPLES.c.sampled_at)
        )
        async with self._transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            PodSample(**{**row, "status": PodStatus(row["status"])}) for row in rows
        ]

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = getattr(error, "orig", None) or error
            raise StoreError(
                f"the database {self._path} failed: {reason}",
                path=self._path,
                hint="Check the disk's space and the file's owner.",
            ) from error


def _open(path: Path) -> AsyncEngine:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            f"busy_timeout={_BUSY_TIMEOUT_MS}",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


async def _put(connection: AsyncConnection, table: Any, rows: list[Any]) -> None:
    """Insert rows, replacing those with the same key."""
    if not rows:
        return
    statement = upsert(table)
    keys = {column.name for column in table.primary_key}
    values = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if column.name not in keys
    }
    await connection.execute(
        statement.on_conflict_do_update(index_elements=sorted(keys), set_=values), rows
    )


async def _append(connection: AsyncConnection, events: Iterable[Event]) -> None:
    rows = [
        {
            "occurred_at": each.occurred_at,
            "actor": each.actor,
            "kind": each.kind,
            "subject": each.subject,
            "data": dict(each.data),
        }
        for each in events
    ]
    if rows:
        await connection.execute(insert(EVENTS), rows)


async def _load_pods(connection: AsyncConnection) -> tuple[PodRecord, ...]:
    query = select(PODS).where(PODS.c.gone_at.is_(None))
    rows = (await connection.execute(query)).mappings().all()
    pods = [_parse_pod(row) for row in rows]
    return tuple(sorted(pods, key=lambda pod: pod.name.casefold()))


async def _load_agents(connection: AsyncConnection) -> tuple[AgentSession, ...]:
    """Return each agent's newest session on the pods that are still there."""
    query = (
        select(AGENT_SESSIONS)
        .join(PODS, PODS.c.pod_id == AGENT_SESSIONS.c.pod_id)
        .where(PODS.c.gone_at.is_(None))
        .order_by(AGENT_SESSIONS.c.started_at)
    )
    rows = (await connection.execute(query)).mappings().all()
    newest = {(row["pod_id"], row["agent"]): _parse_agent(row) for row in rows}
    return tuple(newest[key] for key in sorted(newest))


async def _load_events(connection: AsyncConnection) -> tuple[Event, ...]:
    """Return the newest events, newest first."""
    query = select(EVENTS).order_by(EVENTS.c.sequence.desc()).limit(RECENT_EVENTS)
    rows = (await connection.execute(query)).mappings().all()
    return tuple(Event(**row) for row in rows)


async def _load_account(connection: AsyncConnection) -> AccountRecord | None:
    query = select(ACCOUNTS).order_by(ACCOUNTS.c.observed_at.desc()).limit(1)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    values = dict(row)
    observed_at = values.pop("observed_at")
    return AccountRecord(account=Account(**values), observed_at=observed_at)


async def _last_tick(connection: AsyncConnection) -> Tick | None:
    query = select(TICKS).order_by(TICKS.c.tick_id.desc()).limit(1)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        return None
    return Tick(
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        outcome=TickOutcome(row["outcome"]),
        error=row["error"],
    )


async def _last_success(connection: AsyncConnection) -> datetime | None:
    query = (
        select(TICKS.c.finished_at)
        .where(TICKS.c.outcome == TickOutcome.OK)
        .order_by(TICKS.c.tick_id.desc())
        .limit(1)
    )
    found: datetime | None = (await connection.execute(query)).scalar()
    return found


def _pod_row(pod: PodRecord) -> dict[str, Any]:
    row = {column.name: getattr(pod, column.name) for column in PODS.columns}
    row["ports"] = [
        {
            "private_port": port.private_port,
            "public_port": port.public_port,
            "ip": port.ip,
            "is_public": port.is_public,
            "protocol": str(port.protocol),
        }
        for port in pod.ports
    ]
    return row


def _parse_pod(row: RowMapping) -> PodRecord:
    values = dict(row)
    values["status"] = PodStatus(values["status"])
    values["ports"] = tuple(
        PortMapping(**{**port, "protocol": Protocol(port["protocol"])})
        for port in values["ports"]
    )
    return PodRecord(**values)


def _sample_row(sample: PodSample) -> dict[str, Any]:
    return {column.name: getattr(sample, column.name) for column in POD_SAMPLES.columns}


def _agent_row(session: AgentSession) -> dict[str, Any]:
    return {
        column.name: getattr(session, column.name) for column in AGENT_SESSIONS.columns
    }


def _parse_agent(row: RowMapping) -> AgentSession:
    return AgentSession(**{**row, "status": AgentStatus(row["status"])})


def _account_row(record: AccountRecord) -> dict[str, Any]:
    account = record.account
    return {
        "account_id": account.account_id,
        "balance_usd": account.balance_usd,
        "spend_usd_per_hour": account.spend_usd_per_hour,
        "spend_limit_usd_per_hour": account.spend_limit_usd_per_hour,
        "observed_at": record.observed_at,
    }


def _tick_row(tick: Tick) -> dict[str, Any]:
    return {
        "started_at": tick.started_at,
        "finished_at": tick.finished_at,
        "outcome": str(tick.outcome),
        "error": tick.error,
    }
