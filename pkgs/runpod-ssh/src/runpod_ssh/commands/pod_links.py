"""Links to one pod that are opened again and again, as long as a command runs."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runpod_client import Error
from runpod_ssh.commands.arguments import Access
from runpod_ssh.model import PodTarget

if TYPE_CHECKING:
    from runpod_ssh.connection import Connection


class PodLinks:
    """Opens links to a pod, wherever the pod is by then."""

    def __init__(
        self, access: Access, selector: str, identity: Path | None, target: PodTarget
    ) -> None:
        from runpod_ssh.reconnection import watchful  # noqa: PLC0415  # start-up time

        self._access = replace(access, bounds=watchful(access.bounds))
        self._selector = selector
        self._identity = identity
        self._target = target
        self._is_first = True

    @contextlib.asynccontextmanager
    async def open(self) -> "AsyncIterator[Connection]":
        """Connect; after the first time RunPod is asked where the pod is now."""
        if not self._is_first:
            self._target = await self._find_target()
        self._is_first = False
        async with self._access.connect(self._target) as connection:
            yield connection

    async def _find_target(self) -> PodTarget:
        """Ask RunPod in a thread of its own, which nobody waits for when we leave."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[PodTarget] = loop.create_future()

        def settle(found: PodTarget | Exception) -> None:
            if answer.done():
                return
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: PodTarget | Exception
            try:
                found = self._access.find_target(self._selector, self._identity)
            except Error as error:
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=ask, daemon=True, name="find-pod").start()
        return await answer
