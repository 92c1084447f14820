"""The status file: what a running `serve` sees and decides, for `pools` and others.

Written whole after each tick that changed something, and every few seconds anyway, so
that its age tells whether the writer lives. A stable document.
"""

import fcntl
import json
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from runner_installer.reconciler import Report
from runner_installer.scaling import PodPhase
from runner_installer.serve_memory import Memory, write_whole
from runpod_client import ConfigError
from runpod_client.logs import get_logger

log = get_logger(__name__)
LONGEST = timedelta(seconds=5)
_DECISIONS = 50


class StatusFile:
    """Writes the file."""

    def __init__(
        self, path: Path, memory: Memory, *, now: Callable[[], datetime]
    ) -> None:
        self._path = path
        self._memory = memory
        self._now = now
        self._decisions: deque[dict[str, Any]] = deque(maxlen=_DECISIONS)
        self._last: Any = None
        self._written_at: datetime | None = None

    def write(self, reports: Sequence[Report]) -> None:
        """Write what a tick saw and decided; a full disk costs the status alone."""
        now = self._now()
        for report in reports:
            if report.decision.actions:
                self._decisions.append(decision_document(report))
        shown = {
            "pools": [self._pool(report) for report in reports],
            "decisions": list(self._decisions),
        }
        is_young = self._written_at is not None and now - self._written_at < LONGEST
        if shown == self._last and is_young:
            return
        document = {"written_at": now.isoformat(), **shown}
        try:
            write_whole(self._path, json.dumps(document).encode())
        except OSError as error:
            log.warning("serve_status_unwritable", error_detail=str(error))
        self._last, self._written_at = shown, now

    def _pool(self, report: Report) -> dict[str, Any]:
        memory = self._memory.pool(report.pool.name)
        tally, pods = report.decision.tally, report.view.pods
        day = report.at.date().isoformat()
        return {
            "pool": report.pool.name,
            "scope": str(report.pool.scope),
            "labels": list(report.pool.labels),
            "max": report.pool.most,
            "waiting_jobs": report.demand.waiting,
            "assigned_jobs": report.demand.assigned,
            "wanted": tally.wanted,
            "online": tally.busy + tally.idle,
            "busy": tally.busy,
            "booting": tally.starting + tally.booting,
            "warm": sum(pod.phase is PodPhase.STOPPED for pod in pods),
            "usd_per_hour": _money(report.usd_per_hour),
            "usd_today": _money(self._memory.spent_on(day, report.pool.name)),
            "trouble": memory.trouble,
            "retry_at": memory.retry_at.isoformat() if memory.retry_at else None,
            "last_decision": memory.last_decision,
            "decided_at": memory.decided_at.isoformat() if memory.decided_at else None,
            "pods": [
                {
                    "pod_id": pod.pod_id or None,
                    "phase": str(pod.phase),
                    "runners": sum(
                        r.is_online
                        for r in report.view.runners
                        if r.pod_id == pod.pod_id
                    ),
                    "installing": pod.installing,
                    "trouble": pod.trouble,
                }
                for pod in pods
            ],
        }


def decision_document(report: Report) -> dict[str, Any]:
    """Return one decision: what was wanted and seen, what is done, and why."""
    tally = report.decision.tally
    return {
        "at": report.at.isoformat(),
        "pool": report.pool.name,
        "wanted": tally.wanted,
        "waiting_jobs": report.demand.waiting,
        "busy": tally.busy,
        "idle": tally.idle,
        "starting": tally.starting,
        "booting": tally.booting,
        "actions": [
            {
                "kind": type(action).__name__,
                "pod_id": getattr(action, "pod_id", None),
                "why": action.why,
            }
            for action in report.decision.actions
        ],
        "reasons": list(report.decision.reasons),
    }


def read_status(path: Path) -> dict[str, Any]:
    """Return the status last written.

    Raises:
        ConfigError: Nobody ever served from this state folder.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise ConfigError(
            "runner-installer serve has not run on this state folder",
            source=str(path),
            hint="Start it: runner-installer serve --pools runners.toml",
        ) from None
    return document


def is_serving(lock: Path) -> bool:
    """Tell whether a process serves now."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _money(amount: Decimal) -> str:
    return f"{amount:.4f}"
