"""Webhooks of the simulated GitHub: signed `workflow_job` deliveries and their record.

Jobs change in the forge; this carries each change to whoever listens, once and without
retries, as GitHub does. It must not decide anything about jobs.
"""

import asyncio
import hashlib
import hmac
import json
import random
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from runpod_sim.forge import Forge
from runpod_sim.forge_model import JobEvent, RefusedError, Scope, ScopeKind
from runpod_sim.github_wire import render_instant, render_job, render_repository

ANSWER_TIMEOUT_SECONDS = 10.0
NO_ANSWER = 502


@dataclass(slots=True)
class Hook:
    """Someone who wants to hear about jobs.

    Args:
        copies: How often each delivery is sent, with the same id.
        lost: How many of the next deliveries do not arrive.
    """

    id: int
    scope: Scope
    url: str
    secret: str = field(repr=False)
    copies: int = 1
    lost: int = 0

    def covers(self, repository: str) -> bool:
        """Tell whether the hook hears about a repository."""
        key = repository.casefold()
        if self.scope.kind is ScopeKind.ORGANIZATION:
            key = key.partition("/")[0]
        return self.scope.key == key


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to tell a hook something."""

    id: int
    guid: str
    hook_id: int
    action: str
    repository_id: int
    headers: Mapping[str, str]
    payload: Mapping[str, Any]
    delivered_at: datetime
    is_redelivery: bool
    duration_seconds: float
    status: str
    status_code: int


class Hooks:
    """The hooks of one served forge, and what was sent to them."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self.hooks: dict[int, Hook] = {}
        self.deliveries: list[Delivery] = []
        self._random = random.Random(forge.seed)  # noqa: S311  (made-up ids)
        self._told = 0
        self._next_id = 9001
        # The loop keeps no hold on its tasks.
        self._sending: set[asyncio.Task[None]] = set()

    def create(self, scope: Scope, url: str, secret: str) -> Hook:
        """Add a hook, which hears of what happens from now on."""
        self.flush()
        hook = Hook(len(self.hooks) + 1, scope, url, secret)
        self.hooks[hook.id] = hook
        return hook

    def get(self, scope: Scope, hook_id: int) -> Hook:
        """Return the scope's hook of that id.

        Raises:
            RefusedError: 404: it has none.
        """
        hook = self.hooks.get(hook_id)
        if hook is None or hook.scope != scope:
            raise RefusedError(404, "Not Found")
        return hook

    def get_delivery(self, hook: Hook, delivery_id: int) -> Delivery:
        """Return a delivery to the hook.

        Raises:
            RefusedError: 404: there was none of that id.
        """
        for delivery in self.deliveries:
            if delivery.id == delivery_id and delivery.hook_id == hook.id:
                return delivery
        raise RefusedError(404, "Not Found")

    def flush(self) -> None:
        """Start to deliver what has happened since the last time; never waits."""
        fresh, self._told = self.forge.events[self._told :], len(self.forge.events)
        for event in fresh:
            for hook in self.hooks.values():
                if hook.covers(event.job.repository):
                    guid = str(uuid.UUID(int=self._random.getrandbits(128)))
                    payload = self._payload(event)
                    for _ in range(hook.copies):
                        self._start(hook, guid, payload, is_redelivery=False)

    def redeliver(self, hook: Hook, delivery: Delivery) -> None:
        """Deliver once more, under the same guid."""
        self._start(hook, delivery.guid, delivery.payload, is_redelivery=True)

    def _payload(self, event: JobEvent) -> dict[str, Any]:
        owner = event.job.repository.partition("/")[0]
        person = {"login": owner, "id": self.forge.repository_id(owner)}
        return {
            "action": event.action,
            "workflow_job": render_job(self.forge, event.job),
            "repository": render_repository(self.forge, event.job.repository),
            "organization": person,
            "sender": {**person, "type": "User"},
        }

    def _start(
        self, hook: Hook, guid: str, payload: Mapping[str, Any], *, is_redelivery: bool
    ) -> None:
        task = asyncio.get_running_loop().create_task(
            self._deliver(hook, guid, payload, is_redelivery=is_redelivery)
        )
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _deliver(
        self, hook: Hook, guid: str, payload: Mapping[str, Any], *, is_redelivery: bool
    ) -> None:
        body = json.dumps(payload).encode()
        headers = render_headers(hook, guid, body)
        started = asyncio.get_running_loop().time()
        if hook.lost > 0:
            hook.lost -= 1
            status_code, status = NO_ANSWER, "failed to connect"
        else:
            status_code, status = await post(hook.url, headers, body)
        self.deliveries.append(
            Delivery(
                id=self._next_id,
                guid=guid,
                hook_id=hook.id,
                action=payload["action"],
                repository_id=payload["repository"]["id"],
                headers=headers,
                payload=payload,
                delivered_at=self.forge.clock.now(),
                is_redelivery=is_redelivery,
                duration_seconds=asyncio.get_running_loop().time() - started,
                status=status,
                status_code=status_code,
            )
        )
        self._next_id += 1


def render_headers(hook: Hook, guid: str, body: bytes) -> dict[str, str]:
    """Return the headers of a delivery, its signature among them."""
    kinds = {ScopeKind.REPOSITORY: "repository", ScopeKind.ORGANIZATION: "organization"}
    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/5110000",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": "workflow_job",
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-Type": kinds.get(
            hook.scope.kind, "enterprise"
        ),
        "X-Hub-Signature-256": sign(hook.secret, body),
    }


def sign(secret: str, body: bytes) -> str:
    """Return the signature GitHub puts on a delivery."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


async def post(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
    """Send a delivery and return how it was received; trouble is an outcome too."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            return await _exchange(url, headers, body)
    except TimeoutError:
        return 504, "timed out"
    except (OSError, ValueError, EOFError):
        return NO_ANSWER, "failed to connect"


async def _exchange(
    url: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, str]:
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        _, code, *_ = (await reader.readline()).decode("latin-1").split()
        return int(code), "OK" if code.startswith("2") else "Invalid HTTP Response"
    finally:
        writer.close()


def render_delivery(delivery: Delivery, *, whole: bool) -> dict[str, Any]:
    """Render a delivery; the whole of it has request and response too."""
    body = {
        "id": delivery.id,
        "guid": delivery.guid,
        "delivered_at": render_instant(delivery.delivered_at),
        "redelivery": delivery.is_redelivery,
        "duration": round(delivery.duration_seconds, 3),
        "status": delivery.status,
        "status_code": delivery.status_code,
        "event": "workflow_job",
        "action": delivery.action,
        "installation_id": None,
        "repository_id": delivery.repository_id,
    }
    if whole:
        sent = {"headers": dict(delivery.headers), "payload": dict(delivery.payload)}
        body |= {"request": sent, "response": {"headers": {}, "payload": ""}}
    return body
