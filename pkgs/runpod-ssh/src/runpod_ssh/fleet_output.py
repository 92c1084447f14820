"""What a run on many pods writes: lines with a prefix, or JSON for programs.

It writes bytes into sinks, each event at once, and knows nothing of terminals.
"""

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runpod_client.logs import scrub
from runpod_ssh.fleet_model import (
    Ended,
    Event,
    Job,
    Outcome,
    Output,
    State,
    exit_status_over,
)
from runpod_ssh.model import Sink

_LABEL_WIDTH = 32


def labels_of(jobs: Sequence[Job]) -> dict[str, str]:
    """Return what each pod is called in the output: its name, its id if names clash."""
    counts = Counter(job.name for job in jobs)
    return {
        job.pod_id: job.name if counts[job.name] == 1 else job.pod_id for job in jobs
    }


class PrefixedLines:
    """Writes `trainer | text`: stdout to stdout, stderr to stderr, bytes as they are."""

    def __init__(
        self, labels: Mapping[str, str], *, stdout: Sink, stderr: Sink
    ) -> None:
        width = min(max(map(len, labels.values()), default=0), _LABEL_WIDTH)
        self._prefixes = {
            pod_id: f"{label:<{width}} | ".encode() for pod_id, label in labels.items()
        }
        self._sinks = {"stdout": stdout, "stderr": stderr}
        # a line that takes several writes must not be cut by another pod's
        self._locks = {name: asyncio.Lock() for name in self._sinks}

    async def observe(self, event: Event) -> None:
        """Write what is output."""
        if not isinstance(event, Output):
            return
        prefix = self._prefixes[event.job.pod_id]
        text = b"".join(prefix + line + b"\n" for line in event.lines)
        async with self._locks[event.stream]:
            await self._sinks[event.stream](text)


class JsonLines:
    """Writes one JSON object a line for each event; bytes that are no text too."""

    def __init__(self, stdout: Sink) -> None:
        self._stdout = stdout
        self._lock = asyncio.Lock()

    async def observe(self, event: Event) -> None:
        """Write an event that says something."""
        await self._write(_describe(event))

    async def summarize(
        self, outcomes: Sequence[Outcome], elapsed_seconds: float
    ) -> None:
        """Write the object that ends the output."""
        await self._write([summary_document(outcomes, elapsed_seconds)])

    async def _write(self, documents: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(document) + "\n" for document in documents)
        async with self._lock:
            await self._stdout(text.encode())


def _describe(event: Event) -> list[dict[str, Any]]:
    who = {"pod_id": event.job.pod_id, "name": event.job.name}
    if isinstance(event, Output):
        return [
            who | {"event": "output", "stream": event.stream} | _text(line)
            for line in event.lines
        ]
    if isinstance(event, Ended):
        return [who | _ending(event.outcome)]
    return []


def _text(line: bytes) -> dict[str, str]:
    """Return a line as JSON has it; bytes that are no UTF-8 are kept beside it."""
    try:
        return {"text": line.decode()}
    except UnicodeDecodeError:
        kept = base64.b64encode(line).decode()
        return {"text": line.decode(errors="replace"), "base64": kept}


def _ending(outcome: Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {
        "event": {State.EXITED: "exit", State.SKIPPED: "skipped"}.get(
            outcome.state, "error"
        ),
        "exit_status": outcome.exit_status,
        "elapsed_seconds": round(outcome.elapsed_seconds, 3),
    }
    if outcome.error is not None:
        told |= {
            "error": type(outcome.error).__name__,
            "message": scrub(outcome.error.message),
            "hint": scrub(outcome.error.hint),
        }
    return told


def summary_document(
    outcomes: Sequence[Outcome], elapsed_seconds: float
) -> dict[str, Any]:
    """Return how it went on all pods, for programs."""
    return {
        "event": "summary",
        **_counts(outcomes),
        "exit_status": exit_status_over(outcomes),
        "elapsed_seconds": round(elapsed_seconds, 3),
        "results": [
            {
                "pod_id": outcome.pod_id,
                "name": outcome.name,
                "state": str(outcome.state),
                "exit_status": outcome.exit_status,
                "error": type(outcome.error).__name__ if outcome.error else None,
                "elapsed_seconds": round(outcome.elapsed_seconds, 3),
            }
            for outcome in outcomes
        ],
    }


def _counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    states = Counter(outcome.state for outcome in outcomes)
    succeeded = sum(outcome.is_success for outcome in outcomes)
    return {
        "pods": len(outcomes),
        "succeeded": succeeded,
        "failed": states[State.EXITED] - succeeded,
        "unreached": states[State.FAILED],
        "interrupted": states[State.INTERRUPTED],
        "not_started": states[State.WAITING],
        "skipped": states[State.SKIPPED],
    }


_WORDS = {
    "succeeded": "succeeded",
    "failed": "failed",
    "unreached": "could not be run or awaited",
    "interrupted": "interrupted",
    "not_started": "not started",
    "skipped": "skipped",
}


def render_summary(outcomes: Sequence[Outcome], elapsed_seconds: float) -> str:
    """Return how it went on all pods, for people: counts, then whoever went wrong."""
    counts = _counts(outcomes)
    parts = [
        f"{counts[key]} {words}"
        for key, words in _WORDS.items()
        if counts[key] or key == "succeeded"
    ]
    pods = "1 pod" if counts["pods"] == 1 else f"{counts['pods']} pods"
    head = f"{pods}: {', '.join(parts)}, in {elapsed_seconds:.1f} s"
    return "\n".join([head, *_complaints(outcomes)])


def _complaints(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.is_success or outcome.state is State.WAITING:
            continue
        yield f"  {outcome.name}: {explain(outcome)}"


def explain(outcome: Outcome) -> str:
    """Return one sentence on how it ended."""
    if outcome.error is not None:
        skipped = "skipped, " if outcome.state is State.SKIPPED else ""
        return skipped + scrub(outcome.error.message)
    if outcome.state is State.EXITED:
        return f"exit status {outcome.exit_status}"
    return str(outcome.state)
