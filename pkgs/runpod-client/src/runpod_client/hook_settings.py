"""Which programs run when something happens to a pod, as the configuration says it.

    [hooks]
    pre_create = [{ command = ["/opt/check-budget"], on_failure = "abort" }]
    post_stop = { entry_point = "my_hooks:told", timeout_seconds = 5 }

Pure: a table goes in, settings come out, and every mistake in it is named. A program
found on a search path is the user's to trust: from a project's file this table must
only be taken when that project is trusted.
"""

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runpod_client.errors import ConfigError
from runpod_client.nearest import render_nearest

DEFAULT_TIMEOUT_SECONDS = 30.0
MAX_TIMEOUT_SECONDS = 3600.0
_KEYS = {"command", "entry_point", "timeout_seconds", "on_failure", "pass_api_key"}
_EXAMPLE = 'Write it like { command = ["/path/to/program", "argument"] }.'


class HookEvent(enum.StrEnum):
    """When hooks run."""

    PRE_CREATE = "pre_create"
    POST_CREATE = "post_create"
    READY = "ready"
    PRE_START = "pre_start"
    POST_START = "post_start"
    PRE_STOP = "pre_stop"
    POST_STOP = "post_stop"
    PRE_TERMINATE = "pre_terminate"
    POST_TERMINATE = "post_terminate"
    LEASE_EXPIRED = "lease_expired"

    @property
    def may_veto(self) -> bool:
        """Return whether a failing hook can keep it from happening."""
        return self in {HookEvent.PRE_CREATE, HookEvent.PRE_START}


class OnFailure(enum.StrEnum):
    """What a hook's failure means."""

    ABORT = "abort"
    WARN = "warn"


@dataclass(frozen=True, kw_only=True)
class Hook:
    """One program.

    Attributes:
        command: Its argv; empty for an entry point.
        entry_point: A Python function as `module:function`; empty for a command.
        timeout_seconds: It is killed after this long.
    """

    command: tuple[str, ...] = ()
    entry_point: str = ""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    on_failure: OnFailure = OnFailure.WARN
    pass_api_key: bool = False

    @property
    def title(self) -> str:
        """Return what it is called in messages: never its arguments."""
        return self.entry_point or self.command[0]

    @property
    def argv(self) -> tuple[str, ...]:
        """Return the command line of its process."""
        if self.command:
            return self.command
        # -P: modules come from where Python is installed, not from wherever we stand
        runner = (sys.executable, "-P", "-m", "runpod_client.hook_process")
        return (*runner, self.entry_point)


@dataclass(frozen=True, kw_only=True)
class HookSettings:
    """The hooks of each event, in the order they run."""

    by_event: Mapping[HookEvent, tuple[Hook, ...]] = field(default_factory=dict)

    def list_for(self, event: HookEvent) -> tuple[Hook, ...]:
        """Return the hooks of an event."""
        return self.by_event.get(event, ())


def parse_hooks(table: Mapping[str, Any], *, source: str) -> HookSettings:
    """Return the hooks a `[hooks]` table describes.

    Args:
        source: Where the table stands, for errors.

    Raises:
        ConfigError: An event, a key or a value makes no sense.
    """
    by_event: dict[HookEvent, tuple[Hook, ...]] = {}
    for name, value in table.items():
        try:
            event = HookEvent(name)
        except ValueError:
            raise ConfigError(
                f"there is no hook event {name!r}",
                setting=f"hooks.{name}",
                source=source,
                hint=render_nearest(name, [e.value for e in HookEvent]),
            ) from None
        entries = value if isinstance(value, list) else [value]
        by_event[event] = tuple(_parse_hook(e, event, source) for e in entries)
    return HookSettings(by_event=by_event)


def _parse_hook(entry: Any, event: HookEvent, source: str) -> Hook:
    fault, hint = _find_fault(entry, event)
    if fault:
        raise ConfigError(
            f"a hook of {event} {fault}",
            setting=f"hooks.{event}",
            source=source,
            hint=hint,
        )
    default = OnFailure.ABORT if event.may_veto else OnFailure.WARN
    return Hook(
        command=tuple(entry.get("command", ())),
        entry_point=entry.get("entry_point", ""),
        timeout_seconds=float(entry.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS)),
        on_failure=OnFailure(entry.get("on_failure", default)),
        pass_api_key=entry.get("pass_api_key", False),
    )


def _find_fault(entry: Any, event: HookEvent) -> tuple[str, str]:
    """Return what is wrong with a hook's table, and what to do; both empty if right."""
    if not isinstance(entry, Mapping):
        return "is no table", _EXAMPLE
    unknown = next((key for key in entry if key not in _KEYS), None)
    if unknown is not None:
        return f"has no {unknown!r}", render_nearest(unknown, sorted(_KEYS))
    if ("command" in entry) == ("entry_point" in entry):
        return "needs either a command or an entry_point", _EXAMPLE
    fault = _find_fault_of_program(entry)
    return fault if fault[0] else _find_fault_of_options(entry, event)


def _find_fault_of_program(entry: Mapping[str, Any]) -> tuple[str, str]:
    command, entry_point = entry.get("command", ["x"]), entry.get("entry_point", "x:x")
    if not isinstance(command, list) or not all(isinstance(a, str) for a in command):
        return "has a command that is no list of texts", _EXAMPLE
    if not command or not command[0]:
        return "has an empty command", _EXAMPLE
    if not isinstance(entry_point, str) or not _is_entry_point(entry_point):
        return f"has an entry_point {entry_point!r}", "Write it like module:function."
    return "", ""


def _find_fault_of_options(
    entry: Mapping[str, Any], event: HookEvent
) -> tuple[str, str]:
    timeout = entry.get("timeout_seconds", DEFAULT_TIMEOUT_SECONDS)
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not is_number or not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        limit = f"It is a number of seconds up to {MAX_TIMEOUT_SECONDS:.0f}."
        return "has a timeout_seconds that makes no sense", limit
    on_failure = entry.get("on_failure", OnFailure.WARN)
    if on_failure not in list(OnFailure):
        return f"has on_failure = {on_failure!r}", "It is `abort` or `warn`."
    if on_failure == OnFailure.ABORT and not event.may_veto:
        vetoing = " and ".join(e.value for e in HookEvent if e.may_veto)
        return "cannot abort", f"Only {vetoing} can; write `warn`."
    if not isinstance(entry.get("pass_api_key", False), bool):
        return "has a pass_api_key that is neither true nor false", ""
    return "", ""


def _is_entry_point(text: str) -> bool:
    module, separator, function = text.partition(":")
    names = [*module.split("."), function]
    return bool(separator) and all(name.isidentifier() for name in names)
