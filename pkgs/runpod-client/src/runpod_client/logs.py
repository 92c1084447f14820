"""structlog for all tools: stderr only, secrets removed, people or machines as readers.

A console renderer on a terminal, JSON otherwise; `format_name` overrides. Values that
look like credentials are hidden wherever they stand, whatever key they have.
"""

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from runpod_client.model import Secret

# RunPod keys (rpa_), GitHub tokens (ghp_, ghs_, github_pat_, ...), private key blocks
_SECRET_VALUE = re.compile(
    r"\b(?:rpa_[A-Za-z0-9]{6,}|gh[pousr]_[A-Za-z0-9]{6,}|github_pat_\w{6,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|(?<=[?&]api_key=)[^&\s]+|(?<=Bearer )\S+",
    re.DOTALL,
)
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:api_key|token|password|secret|jit_config|authorization|private_key)$",
    re.IGNORECASE,
)
STARS = "***"


def scrub(text: str) -> str:
    """Return `text` with everything that looks like a credential replaced by stars."""
    return _SECRET_VALUE.sub(STARS, text)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide secrets by key and by value; a structlog processor."""
    for key, value in event.items():
        if isinstance(value, Secret) or (value and _SECRET_KEY.search(key)):
            event[key] = STARS
        elif isinstance(value, str):
            event[key] = scrub(value)
    return event


def adopt_retry(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Say stamina's retry event in our words; a structlog processor."""
    if event.get("event") != "stamina.retry_scheduled":
        return event
    kind, _, detail = str(event.get("caused_by", "")).partition("(")
    return {
        "event": "call_retried",
        "level": event.get("level", "warning"),
        "attempt": event.get("retry_num"),
        "wait_seconds": event.get("wait_for"),
        "error": kind,
        "error_detail": detail.removesuffix(")").strip("'\""),
    }


def configure(
    *,
    level: str = "info",
    format_name: str = "auto",
    stream: TextIO | None = None,
    colors: bool | None = None,
) -> None:
    """Set up logging for a process, once, at its start.

    Args:
        level: debug, info, warning or error.
        format_name: auto, console or json.
        stream: Defaults to stderr; stdout stays free for results.
        colors: None decides by the terminal.
    """
    target = stream or sys.stderr
    is_terminal = target.isatty()
    as_json = format_name == "json" or (format_name == "auto" and not is_terminal)
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=is_terminal if colors is None else colors
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            adopt_retry,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks
            if as_json
            else structlog.processors.StackInfoRenderer(),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )
