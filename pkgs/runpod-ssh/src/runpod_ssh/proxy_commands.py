"""A program that carries a connection, as ssh_config's ProxyCommand names it.

It gets one end of a socket pair as its input and output; it ends when the connection
does, and is ended where it does not.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence

from runpod_client import SSHAddress
from runpod_ssh.errors import SSHUnreachableError
from runpod_ssh.taps import Tap

_END_SECONDS = 1.0


async def carry_by_command(
    stack: contextlib.AsyncExitStack,
    address: SSHAddress,
    command: Sequence[str],
    tap: Tap,
) -> None:
    """Start the program and carry a tap over it; it ends with the stack.

    Raises:
        SSHUnreachableError: It cannot be started.
    """
    loop = asyncio.get_running_loop()
    ours, its = socket.socketpair()
    try:
        with its:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=its.fileno(), stdout=its.fileno()
            )
        stack.push_async_callback(_end, process)
        ours.setblocking(False)  # the method's own shape
        await loop.create_connection(lambda: tap, sock=ours)
    except OSError as error:
        ours.close()
        raise SSHUnreachableError(
            f"cannot start {command[0]}, the way to {address}: {error.strerror}",
            address=address,
            hint="See ProxyCommand in your ssh_config.",
        ) from error
    except BaseException:
        ours.close()
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a program that the end of its input should have ended."""
    for stop in (None, signal.SIGTERM, signal.SIGKILL):
        if stop is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(stop)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
                return
