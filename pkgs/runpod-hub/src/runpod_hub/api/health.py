"""Health: alive (open to all), ready, and deep, which names the part that fails."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from runpod_hub.api.documents import ExactJSON
from runpod_hub.errors import StoreError
from runpod_hub.hub import Hub

_LATE_AFTER_INTERVALS = 3.0
# A look that fails takes its time, retries included; only then is the loop itself late.
_LONGEST_LOOK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class PartDocument:
    """One part's health; `detail` is a sentence."""

    ok: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class HealthDocument:
    """The whole's health; `failing` names the parts that are not well."""

    status: str
    failing: list[str]
    parts: dict[str, PartDocument]


@dataclass(frozen=True, kw_only=True)
class LiveDocument:
    """That the process answers, and nothing more."""

    status: str


def build_router(hub: Hub) -> APIRouter:
    """Return the health routes."""
    router = APIRouter(prefix="/health", tags=["health"])
    unhealthy: dict[int | str, dict[str, Any]] = {
        HTTPStatus.SERVICE_UNAVAILABLE.value: {"model": HealthDocument}
    }

    @router.get("/live", response_model=LiveDocument)
    async def live() -> Response:
        """Say that the process answers; needs no token."""
        return ExactJSON(LiveDocument(status="ok"))

    @router.get("/ready", response_model=HealthDocument, responses=unhealthy)
    async def ready() -> Response:
        """Say whether there is a state to show, be it an old one."""
        snapshot = hub.board.snapshot
        state = PartDocument(
            ok=snapshot.last_tick is not None,
            detail="a state is known"
            if snapshot.last_tick
            else "no look has ended yet",
        )
        return _respond({"store": await _check_store(hub), "state": state})

    @router.get("", response_model=HealthDocument, responses=unhealthy)
    async def deep() -> Response:
        """Check the store, the monitor's pulse and RunPod's last answer."""
        return _respond(
            {
                "store": await _check_store(hub),
                "monitor": _check_monitor(hub),
                "cloud": _check_cloud(hub),
            }
        )

    return router


def _respond(parts: dict[str, PartDocument]) -> Response:
    failing = [name for name, part in parts.items() if not part.ok]
    document = HealthDocument(
        status="failing" if failing else "ok", failing=failing, parts=parts
    )
    status = HTTPStatus.SERVICE_UNAVAILABLE if failing else HTTPStatus.OK
    return ExactJSON(document, status_code=status)


async def _check_store(hub: Hub) -> PartDocument:
    try:
        await hub.store.check()
    except StoreError as error:
        return PartDocument(ok=False, detail=error.message)
    return PartDocument(ok=True, detail="the database answers")


def _check_monitor(hub: Hub) -> PartDocument:
    tick = hub.board.snapshot.last_tick
    if tick is None:
        return PartDocument(ok=False, detail="no look at RunPod has ended yet")
    age = (hub.clock.now() - tick.finished_at).total_seconds()
    limit = (
        hub.settings.interval_seconds * _LATE_AFTER_INTERVALS + _LONGEST_LOOK_SECONDS
    )
    return PartDocument(ok=age <= limit, detail=f"the last look ended {age:.0f} s ago")


def _check_cloud(hub: Hub) -> PartDocument:
    freshness = hub.judge_pods()
    if not freshness.is_stale:
        return PartDocument(ok=True, detail="RunPod answered the last look")
    age = freshness.age_seconds
    since = "has not come yet" if age is None else f"came {age:.0f} s ago"
    return PartDocument(
        ok=False, detail=f"{freshness.reason}; the last good answer {since}"
    )
