"""structlog for all tools: stderr only, secrets removed, people or machines as readers.

A console renderer on a terminal, JSON otherwise; `format_name` overrides. Values that
look like credentials are hidden wherever they stand, whatever key they have.

structlog takes longer to import than most commands take to run, and most commands log
nothing: `configure` only keeps what was asked, and `get_logger` gives a stand-in that
loads structlog when the first event is to be written.
"""

import io
import re
import sys
import threading
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, TextIO, cast

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
# structlog's and the standard library's numbers, without importing either
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What `configure` was asked for."""

    level: int
    as_json: bool
    colors: bool
    stream: TextIO


# what structlog has still to be told; None when it knows, or when nobody asked
_pending: _Wanted | None = None
# no thread may log through a structlog that another is about to configure
_applying = threading.Lock()


class Logger:
    """A named logger that costs nothing until it has something to say."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, event: str, **facts: Any) -> None:
        """Tell of a detail of the wire."""
        self._emit("debug", event, facts)

    def info(self, event: str, **facts: Any) -> None:
        """Tell of a change of state."""
        self._emit("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        """Tell of something retried or degraded."""
        self._emit("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        """Tell of something given up."""
        self._emit("error", event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """Tell of something given up, with the traceback of what is being handled."""
        self._emit("error", event, {"exc_info": True, **facts})

    def log(self, level: int, event: str, **facts: Any) -> None:
        """Tell at a level given as the standard library's number."""
        names = [name for name, number in _LEVELS.items() if number <= level]
        self._emit(names[-1] if names else "debug", event, facts)

    def _emit(self, level: str, event: str, facts: dict[str, Any]) -> None:
        if not _is_wanted(_LEVELS[level]):
            return
        apply_configuration()
        import structlog  # noqa: PLC0415  # slow, and most commands log nothing

        getattr(structlog.get_logger(self._name), level)(event, **facts)


def get_logger(name: str) -> Logger:
    """Return a logger for a module; structlog is loaded at the first event."""
    return Logger(name)


def scrub(text: str) -> str:
    """Return `text` with everything that looks like a credential replaced by stars."""
    return _SECRET_VALUE.sub(STARS, text)


def redact(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Hide secrets by key and by value; a structlog processor."""
    for key, value in event.items():
        if isinstance(value, Secret) or (value and _SECRET_KEY.search(key)):
            event[key] = STARS
        elif isinstance(value, str):
            event[key] = scrub(value)
    return event


def adopt_retry(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
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
    global _pending  # noqa: PLW0603  # logging is the process's, as structlog's own is
    target = stream or sys.stderr
    is_terminal = target.isatty()
    _pending = _Wanted(
        level=_LEVELS[level.lower()],
        as_json=format_name == "json" or (format_name == "auto" and not is_terminal),
        colors=is_terminal if colors is None else colors,
        stream=stream or _current_stderr(),
    )
    if "structlog" in sys.modules:
        # someone may log through structlog itself, past `get_logger`
        apply_configuration()


def apply_configuration() -> None:
    """Tell structlog what `configure` was asked for, if it was not told yet.

    For the moment before a third party (stamina) logs through structlog.
    """
    global _pending  # noqa: PLW0603  # see configure
    with _applying:
        if _pending is not None:
            _tell_structlog(_pending)
            _pending = None
        elif "structlog" not in sys.modules:
            # nobody asked for anything: like the standard library's last resort
            _tell_structlog(_last_resort())


class _CurrentStderr(io.TextIOBase):
    """Whatever standard error is when a line is written: a program may exchange it."""

    def write(self, text: str) -> int:
        """Write to it."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush it."""
        sys.stderr.flush()


def _current_stderr() -> TextIO:
    # all that a logger asks of a text stream is there
    return cast("TextIO", _CurrentStderr())


def _last_resort() -> _Wanted:
    is_terminal = sys.stderr.isatty()
    return _Wanted(
        level=_LEVELS["warning"],
        as_json=not is_terminal,
        colors=is_terminal,
        stream=_current_stderr(),
    )


def _is_wanted(level: int) -> bool:
    """Return whether an event may matter; structlog's own filter has the last word."""
    if _pending is not None:
        return level >= _pending.level
    return "structlog" in sys.modules or level >= _LEVELS["warning"]


def _tell_structlog(wanted: _Wanted) -> None:
    import structlog  # noqa: PLC0415  # see the module's docstring

    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if wanted.as_json
        else structlog.dev.ConsoleRenderer(colors=wanted.colors)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            adopt_retry,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # without local variables: they hold commands, and what is given to them
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            )
            if wanted.as_json
            else structlog.processors.StackInfoRenderer(),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(wanted.level),
        logger_factory=structlog.WriteLoggerFactory(file=wanted.stream),
        cache_logger_on_first_use=False,
    )
