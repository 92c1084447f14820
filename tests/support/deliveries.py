"""Webhook deliveries as GitHub signs and sends them."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

SECRET = "It's a Secret to Everybody"
MADE_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def payload(job_id: int = 1, action: str = "queued", **job: Any) -> dict[str, Any]:
    """Return what GitHub tells about a job."""
    return {
        "action": action,
        "workflow_job": {
            "id": job_id,
            "run_id": 1000 + job_id,
            "run_attempt": 1,
            "name": "train",
            "workflow_name": "CI",
            "status": action,
            "conclusion": None,
            "labels": ["gpu"],
            "runner_id": None,
            "runner_name": None,
            "created_at": MADE_AT.isoformat(),
            "started_at": MADE_AT.isoformat(),
            "completed_at": None,
            "steps": [],
            **job,
        },
        "repository": {"full_name": "acme/widgets", "private": True},
        "sender": {"login": "acme"},
    }


def sign(body: bytes, secret: str = SECRET) -> str:
    """Return the signature of a body."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def headers_for(
    body: bytes,
    *,
    delivery: str = "d-1",
    event: str = "workflow_job",
    secret: str = SECRET,
) -> dict[str, str]:
    """Return the headers of a delivery, in small letters."""
    return {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/5110000",
        "x-github-event": event,
        "x-github-delivery": delivery,
        "x-hub-signature-256": sign(body, secret),
    }


def encode(document: object) -> bytes:
    """Return a body's bytes."""
    return json.dumps(document).encode()
