"""`interfaces.Cloud` over `runpod_client`: the one bridge from threads to asyncio.

Calls run on daemon threads of their own rather than in an executor: an executor's
threads are joined at exit, and a hub must stop in two seconds even while RunPod hangs.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from runpod_client import (
    Account,
    DeadlineError,
    Pod,
    Priority,
    RunPodClient,
    reading_as,
)

Result = TypeVar("Result")

_MAX_CALLS = 4


class RunPodCloud:
    """RunPod as the hub sees it: at most four calls at a time, each with a limit."""

    def __init__(self, client: RunPodClient, *, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._slots = threading.BoundedSemaphore(_MAX_CALLS)

    async def list_pods(self) -> list[Pod]:
        """Return all pods of the account, whoever made them.

        Raises:
            APIError: RunPod refused or could not be reached.
            DeadlineError: The client did not return in time.
        """
        return await self._call(self._client.list_pods, "list the pods")

    async def get_account(self) -> Account:
        """Return the account's balance and spending.

        Raises:
            APIError: RunPod refused or could not be reached.
            DeadlineError: The client did not return in time.
        """
        return await self._call(self._client.get_account, "read the account")

    async def _call(self, function: Callable[[], Result], what: str) -> Result:
        if not self._slots.acquire(blocking=False):
            raise DeadlineError(
                f"cannot {what}: {_MAX_CALLS} earlier calls to RunPod still hang",
                waited_seconds=0.0,
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        threading.Thread(
            target=self._work, args=(function, loop, future), daemon=True
        ).start()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await future
        except TimeoutError as error:
            raise DeadlineError(
                f"RunPod did not {what} within {self._timeout_seconds:g} s",
                waited_seconds=self._timeout_seconds,
            ) from error

    def _work(
        self,
        function: Callable[[], Result],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Result],
    ) -> None:
        """Run on the thread; hand the outcome over unless nobody waits any more."""

        def deliver(result: Result | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # error is None

        result: Result | None = None
        failure: BaseException | None = None
        try:
            # looking gives way to whatever changes pods under the same key
            with reading_as(Priority.TELEMETRY):
                result = function()
        except BaseException as error:  # noqa: BLE001  # re-raised where it is awaited
            failure = error
        finally:
            self._slots.release()
        try:
            loop.call_soon_threadsafe(deliver, result, failure)
        except RuntimeError:
            return  # the loop is closed: the hub stopped while RunPod was answering
