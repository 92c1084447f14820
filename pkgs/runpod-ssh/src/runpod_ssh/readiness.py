"""When a pod's sshd can be talked to: polling its greeting, nothing more.

A pod is RUNNING, with an address, seconds before its sshd listens. No login is tried
here, so that waiting leaves no failed logins behind.
"""

import asyncio
from collections.abc import Callable

from runpod_client import DeadlineError, Error, SSHAddress

_USUAL_CAUSE = "Does the image start an sshd? See the pod's log in RunPod's console."
_EXPLAIN_SECONDS = 5.0


async def wait_until_reachable(
    address: SSHAddress,
    *,
    timeout: float = 120.0,  # noqa: ASYNC109  # a deadline over many attempts
    interval: float = 0.25,
    probe_seconds: float = 5.0,
    on_status: Callable[[str], None] = lambda _status: None,
    explain: Callable[[], str] | None = None,
) -> None:
    """Return when sshd has greeted.

    Args:
        timeout: In seconds, over all attempts.
        interval: Seconds between two attempts.
        probe_seconds: The bound of one attempt.
        on_status: Told in a few words what each attempt met.
        explain: Returns what RunPod says of the pod, in a sentence; asked, in a
            thread, only when the time is up.

    Raises:
        DeadlineError: It did not greet in time; carries what was last seen.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    status = "not tried"
    try:
        async with asyncio.timeout(timeout):
            while True:
                status = await _probe(address, probe_seconds)
                on_status(status)
                if status == "ready":
                    return
                await asyncio.sleep(interval)
    except TimeoutError as error:
        waited = loop.time() - started
        raise DeadlineError(
            f"waited {waited:.0f} s for sshd on {address}; last seen: {status}",
            waited_seconds=waited,
            last_status=status,
            hint=await _explanation(explain) or _USUAL_CAUSE,
        ) from error


async def _explanation(explain: Callable[[], str] | None) -> str:
    """Return what the caller knows of the pod; what takes long is not waited for."""
    if explain is None:
        return ""
    try:
        async with asyncio.timeout(_EXPLAIN_SECONDS):
            return await asyncio.to_thread(explain)
    except (TimeoutError, Error):
        return ""


async def _probe(address: SSHAddress, probe_seconds: float) -> str:
    """Return `ready`, or what stands in the way."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(probe_seconds):
            reader, writer = await asyncio.open_connection(address.host, address.port)
            greeting = await reader.read(4)
    except TimeoutError:
        return "no greeting" if writer else "no answer"
    except ConnectionRefusedError:
        return "connection refused"
    except OSError as error:
        return error.strerror or str(error)
    finally:
        if writer is not None:
            writer.close()
    if greeting.startswith(b"SSH"):
        return "ready"
    return "closed without greeting" if not greeting else "something that is no sshd"
