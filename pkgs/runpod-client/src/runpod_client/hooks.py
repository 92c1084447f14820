"""Programs of the user's that run when something happens to a pod.

    pre_create   pre_start                  waited for; on_failure = "abort" vetoes
    post_create  ready  post_start          waited for; a failure is a warning
    pre_stop     pre_terminate              started, never waited for: what ends
    post_stop    post_terminate  lease_expired    spending is held up by nobody

A hook is a child process (an entry point too: `runpod_client.hook_process`) in a
process group of its own, which is killed at its time limit. It gets one JSON document
on stdin (`HookDocument`), and no RunPod key unless it says `pass_api_key = true`. What
it writes is kept up to 64 KiB and logged without secrets. Which hooks there are is
`runpod_client.hook_settings`' business, their processes `runpod_client.hook_runs`'. It
must not know what starts or stops pods.
"""

import json
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from runpod_client.errors import HookError
from runpod_client.hook_runs import EndedRun, HookRun, end_runs
from runpod_client.hook_settings import (
    Hook,
    HookEvent,
    HookSettings,
    OnFailure,
    parse_hooks,
)
from runpod_client.logs import get_logger, scrub
from runpod_client.model import Pod, PodSpec, Secret

__all__ = [
    "Hook",
    "HookDocument",
    "HookEvent",
    "HookSettings",
    "Hooks",
    "OnFailure",
    "parse_hooks",
    "render_document",
]

DOCUMENT_VERSION = 1
LINGER_SECONDS = 5.0
_KEY_VARIABLE = "RUNPOD_API_KEY"

_log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class HookDocument:
    """What a hook is told; see `render_document` for its JSON.

    Attributes:
        pod: None before there is one.
        spec: None where nothing is being rented.
        reason: In words, where there is one: why a pod is reaped.
    """

    owner: str
    pod: Pod | None = None
    spec: PodSpec | None = None
    reason: str = ""
    is_dry_run: bool = False


def render_document(event: HookEvent, document: HookDocument) -> str:
    """Return the JSON a hook reads: stable keys, no value of any variable.

    `version`, `event`, `owner`, `dry_run`, `reason`, `pod` (null, or `pod_id`, `name`,
    `status`, `gpu_type`, `gpu_count`, `image`, `price_usd_per_hour`, `cloud_type`,
    `is_spot`, `started_at`, `lease_ends_at`, `intent_id`, `ssh` as host and port or
    null, `env_names`) and `spec` (null, or `name`, `image`, `gpu_types`, `gpu_count`,
    `cloud_type`, `bid`, `max_price_usd_per_hour`, `container_disk_gb`, `volume_gb`,
    `network_volume_id`, `ports`, `start_command`, `lease_seconds`, `env_names`). Money
    is text with an exact number, times are RFC 3339.
    """
    rendered = {
        "version": DOCUMENT_VERSION,
        "event": event.value,
        "owner": document.owner,
        "dry_run": document.is_dry_run,
        "reason": document.reason,
        "pod": None if document.pod is None else _render_pod(document.pod),
        "spec": None if document.spec is None else _render_spec(document.spec),
    }
    return json.dumps(rendered, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def _render_pod(pod: Pod) -> dict[str, Any]:
    address = pod.ssh_address
    return {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "status": pod.status,
        "gpu_type": pod.gpu_type,
        "gpu_count": pod.gpu_count,
        "image": pod.image,
        "price_usd_per_hour": pod.price_usd_per_hour,
        "cloud_type": pod.cloud_type,
        "is_spot": pod.is_spot,
        "started_at": pod.started_at,
        "lease_ends_at": pod.lease_ends_at,
        "intent_id": pod.intent_id,
        "ssh": address and {"host": address.host, "port": address.port},
        "env_names": sorted(pod.env),
    }


def _render_spec(spec: PodSpec) -> dict[str, Any]:
    place = spec.place
    return {
        "name": spec.name,
        "image": spec.image,
        "gpu_types": list(place.gpu_types),
        "gpu_count": place.gpu_count,
        "cloud_type": place.cloud_type,
        "bid": place.bid,
        "max_price_usd_per_hour": place.max_price_usd_per_hour,
        "container_disk_gb": spec.container_disk_gb,
        "volume_gb": spec.volume_gb,
        "network_volume_id": spec.network_volume_id,
        "ports": list(spec.ports),
        "start_command": scrub(spec.start_command) if spec.start_command else None,
        "lease_seconds": spec.lease and int(spec.lease.total_seconds()),
        "env_names": sorted(spec.env),
    }


class Hooks:
    """Runs what the settings name; a context manager that leaves no child behind."""

    def __init__(
        self,
        settings: HookSettings,
        *,
        environ: Mapping[str, str],
        api_key: Secret | None = None,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        """Take what is needed; nothing is started.

        Args:
            environ: What hooks inherit, without anything that holds the RunPod key.
            api_key: For the hooks that ask for it.
            linger_seconds: How long `close` waits, in all, for hooks nobody waited
                for.
        """
        self._settings = settings
        self._environ = _without_key(environ, api_key)
        self._api_key = api_key
        self._linger_seconds = linger_seconds
        self._running: list[HookRun] = []
        # a process that ends without close() leaves no child either
        self._cleanup = weakref.finalize(self, end_runs, self._running, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Collect the hooks that still run, and kill those that do not end soon."""
        end_runs(self._running, self._linger_seconds)

    def before(self, event: HookEvent, document: HookDocument) -> None:
        """Run an event's hooks one after the other, and wait for each.

        Raises:
            HookError: One that may veto failed, hung or is missing; the rest did not
                run.
        """
        for hook in self._settings.list_for(event):
            ended = self._start(hook, event, document).wait()
            failure = ended.describe_failure()
            if failure and event.may_veto and hook.on_failure is OnFailure.ABORT:
                raise HookError(
                    f"the {event} hook {hook.title} {failure}",
                    event=event,
                    command=hook.title,
                    hint="Nothing was asked of RunPod. The hook is set in the [hooks] "
                    'table; on_failure = "warn" lets it pass.',
                )

    def after(self, event: HookEvent, document: HookDocument) -> None:
        """Run an event's hooks; those about the end of a pod are not waited for."""
        for hook in self._settings.list_for(event):
            run = self._start(hook, event, document)
            if event not in _ABOUT_THE_END:
                run.wait()

    @contextmanager
    def alongside(self, event: HookEvent, document: HookDocument) -> Iterator[None]:
        """Start an event's hooks and go on at once; `close` collects them.

        Neither entering nor leaving waits for a hook.
        """
        for hook in self._settings.list_for(event):
            self._start(hook, event, document)
        yield

    def _start(self, hook: Hook, event: HookEvent, document: HookDocument) -> HookRun:
        environ = self._environ
        if hook.pass_api_key and self._api_key:
            environ = {**environ, _KEY_VARIABLE: str(self._api_key)}
        run = HookRun(
            hook.argv,
            stdin=render_document(event, document).encode(),
            environ=environ,
            timeout_seconds=hook.timeout_seconds,
            on_end=lambda ended: _report(ended, hook, event, document),
        )
        self._running[:] = [r for r in self._running if not r.has_ended]
        self._running.append(run)
        run.start()
        return run


_ABOUT_THE_END = {
    HookEvent.POST_STOP,
    HookEvent.POST_TERMINATE,
    HookEvent.LEASE_EXPIRED,
}


def _report(
    ended: EndedRun, hook: Hook, event: HookEvent, document: HookDocument
) -> None:
    """Log how a hook ended."""
    failure = ended.describe_failure()
    facts = {
        "hook_event": event.value,
        "command": hook.title,
        "pod_id": document.pod.pod_id if document.pod else None,
        "elapsed_seconds": round(ended.elapsed_seconds, 3),
        "output": scrub(ended.output) or None,
        "is_output_cut": ended.is_output_cut,
    }
    if failure:
        _log.warning("hook_failed", error_detail=failure, **facts)
    elif ended.is_output_cut:
        _log.warning("hook_finished", **facts)
    else:
        _log.info("hook_finished", **facts)


def _without_key(environ: Mapping[str, str], api_key: Secret | None) -> dict[str, str]:
    """Return an environment from which the RunPod key cannot be read."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(_KEY_VARIABLE)
        and not (api_key and str(api_key) in value)
    }
