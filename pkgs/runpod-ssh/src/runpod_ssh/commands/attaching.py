"""One command on one pod with our own streams: which place to try, what to remember.

The place of a moment ago is believed, for the host key proves it; an older one is tried
while RunPod is asked; else RunPod says where. See `target_cache` and `asking`.
"""

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runpod_ssh.commands.arguments import run_async
from runpod_ssh.target_cache import (
    OpenLink,
    OutdatedError,
    RememberedPlace,
    keeping,
)

if TYPE_CHECKING:
    from runpod_ssh.asking import Asking
    from runpod_ssh.commands.arguments import Access
    from runpod_ssh.model import PodTarget

    # runs the command on the pod, over what is opened
    Begin = Callable[[PodTarget, OpenLink], int]


def run_on_one(
    access: "Access",
    selector: str,
    identity: Path | None,
    begin: "Begin",
) -> int:
    """Run a command on the pod where it was lately, else where RunPod says it is."""
    began = time.monotonic()
    target = access.recall_target(selector, identity)
    if target is None:
        return _run_once_asked(access, selector, identity, begin)
    status = _run_where_it_was(access, selector, target, begin)
    if status is not None:
        return status
    access.remembered.forget(selector)
    access = access.spend(time.monotonic() - began)
    return _run_at(access, selector, access.find_target(selector, identity), begin)


def _run_once_asked(
    access: "Access",
    selector: str,
    identity: Path | None,
    begin: "Begin",
) -> int:
    """Run a command where RunPod says the pod is; where it was is tried meanwhile."""
    from runpod_ssh.asking import Asking  # noqa: PLC0415  # seldom needed
    from runpod_ssh.quick_start import load_transport  # noqa: PLC0415  # as above

    with Asking(functools.partial(access.client.resolve_pod, selector)) as asking:
        guesses = replace(access, remembered=access.remembered.guessing())
        guess = guesses.recall_target(selector, identity)
        if guess is not None:
            status = _run_where_it_was(access, selector, guess, begin, asking)
            if status is not None:
                return status
        load_transport(access.settings)
        target = access.target_of(asking.answer(), identity)
    return _run_at(access, selector, target, begin)


def _run_at(
    access: "Access",
    selector: str,
    target: "PodTarget",
    begin: "Begin",
) -> int:
    """Run a command where RunPod has just said the pod is; remember the place."""
    keep = functools.partial(access.remembered.keep, selector, target.pod)
    connect = functools.partial(access.connect, target)
    return begin(target, functools.partial(keeping, connect, keep))


def _run_where_it_was(
    access: "Access",
    selector: str,
    target: "PodTarget",
    begin: "Begin",
    asking: "Asking | None" = None,
) -> int | None:
    """Run a command on the pod if it still is where it was; None if nothing was sent.

    Args:
        asking: RunPod has to agree; None where what is remembered is to be believed.
    """
    hurry = functools.partial(access.hurry().connect, target)
    connect = functools.partial(access.connect, target)
    open_link = RememberedPlace(hurry, connect).open_link
    if asking is not None:
        confirmed = functools.partial(asking.confirm, hurry, target.pod)

        def keep() -> None:
            access.remembered.keep(selector, asking.answer())

        open_link = functools.partial(
            keeping, RememberedPlace(confirmed, connect).open_link, keep
        )
    try:
        return begin(target, open_link)
    except OutdatedError:
        return None
    finally:
        if target.route.head_start is not None:
            target.route.head_start.close()


def run_attached(
    open_link: OpenLink,
    command: str,
    *,
    timeout: float | None,
    env: Mapping[str, str],
    is_idempotent: bool,
) -> int:
    """Run a command with our own streams; return its status."""
    from runpod_ssh import exec as attached  # noqa: PLC0415  # asyncssh is slow

    async def work() -> int:
        if is_idempotent:
            return await attached.run_attached_again(
                open_link, command, timeout=timeout, env=env
            )
        async with open_link() as connection:
            return await attached.run_attached(
                connection, command, timeout=timeout, env=env
            )

    return run_async(work())
