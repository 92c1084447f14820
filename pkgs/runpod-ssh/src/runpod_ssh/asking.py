"""Asking RunPod where a pod is, beside whatever else takes time.

RunPod's answer comes from afar, and what speaks HTTP takes as long to load as what speaks
SSH: a child process does the one while this one does the other. Meanwhile the place where
the pod was last is tried: a link to it is lent when RunPod has said that it is the place
still, and hung up when not. Nothing is sent over it before. It knows no connection's
making; the question is anything that returns a pod.
"""

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, NoReturn, Self

from runpod_client import Error, Pod, PodStatus
from runpod_ssh.target_cache import OpenLink, OutdatedError

if TYPE_CHECKING:
    import asyncio

    from runpod_ssh.connection import Connection

# each of its calls has a limit of its own; this is for a child that nobody waits for
_MOST_SECONDS = 300


class Asking:
    """A question to RunPod, under way from the beginning of the block it is used in.

    Args:
        ask: Returns the pod, in a child process, which shares nothing with this one but
            stderr; once more in this process where the child fails to tell.
    """

    def __init__(self, ask: Callable[[], Pod]) -> None:
        self._ask = ask
        # None where the child did not tell
        self._answer: Future[Pod | None] = Future()
        # whoever waits for it may be cancelled, it itself not
        self._answer.set_running_or_notify_cancel()
        self._child = 0

    def __enter__(self) -> Self:
        self._child, pipe = _begin(self._ask)
        threading.Thread(target=self._listen, args=(pipe,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError):
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)

    def answer(self) -> Pod:
        """Wait for the answer.

        Raises:
            Error: As asking does.
        """
        return self._answer.result() or self._ask()

    @contextlib.asynccontextmanager
    async def confirm(
        self, open_link: OpenLink, pod: Pod
    ) -> "AsyncIterator[Connection]":
        """Connect to where a pod was, and lend the link once RunPod has agreed.

        Args:
            open_link: Connects; it is cut short when the answer is another.

        Raises:
            OutdatedError: The pod is elsewhere, or does not run.
            SSHError: As connecting does.
            Error: As asking does.
        """
        import asyncio  # noqa: PLC0415  # the child is to begin before it is loaded

        answer = asyncio.wrap_future(self._answer)
        async with contextlib.AsyncExitStack() as stack:
            # an answer that nobody waits for is told to nobody
            stack.callback(answer.cancel)
            connection = None
            with contextlib.suppress(TimeoutError):
                async with _until_other(answer, pod):
                    connection = await stack.enter_async_context(open_link())
            found = await answer
            if found is None:
                found = await asyncio.to_thread(self._ask)
            if connection is None or not _leads_to(found, pod):
                raise OutdatedError(f"{pod.name} is elsewhere by now")
            yield connection

    def _listen(self, pipe: int) -> None:
        try:
            found = _read(pipe)
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            self._answer.set_exception(error)
        else:
            self._answer.set_result(found)


def _begin(ask: Callable[[], Pod]) -> tuple[int, int]:
    """Start a child that asks; return its number and where its answer comes."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _tell(ask, writer)
    os.close(writer)
    return child, reader


def _tell(ask: Callable[[], Pod], pipe: int) -> NoReturn:
    """Be the child: ask, tell and end, whatever happens."""
    try:
        signal.alarm(_MOST_SECONDS)
        # whoever reads our output must not have to wait for this process
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        try:
            answer: Pod | Error = ask()
        except Error as error:
            answer = error
        with os.fdopen(pipe, "wb") as stream:
            pickle.dump(answer, stream)
    finally:
        os._exit(0)


def _read(pipe: int) -> Pod | None:
    """Return what the child found; None where it did not tell.

    Raises:
        Error: It told of one.
    """
    try:
        with os.fdopen(pipe, "rb") as stream:
            answer = pickle.load(stream)  # noqa: S301  # our own child wrote it
    except Exception:  # noqa: BLE001  # nothing came, or an error that does not travel
        return None
    if isinstance(answer, Error):
        raise answer
    return answer if isinstance(answer, Pod) else None


@contextlib.asynccontextmanager
async def _until_other(
    answer: "asyncio.Future[Pod | None]", pod: Pod
) -> AsyncIterator[None]:
    """End the block with TimeoutError when the answer does not lead to the pod."""
    import asyncio  # noqa: PLC0415  # see `confirm`

    loop = asyncio.get_running_loop()
    is_within = True
    async with asyncio.timeout(None) as limit:

        def consider(done: "asyncio.Future[Pod | None]") -> None:
            if is_within and not _may_lead_to(done, pod):
                limit.reschedule(loop.time())

        answer.add_done_callback(consider)
        try:
            yield
        finally:
            is_within = False


def _may_lead_to(done: "asyncio.Future[Pod | None]", pod: Pod) -> bool:
    if done.cancelled() or done.exception() is not None:
        return False
    found = done.result()
    return found is None or _leads_to(found, pod)


def _leads_to(answer: Pod, pod: Pod) -> bool:
    """Return whether RunPod's answer is that very start of the pod, at that address."""
    return answer.status is PodStatus.RUNNING and (
        (answer.pod_id, answer.started_at, answer.ssh_address)
        == (pod.pod_id, pod.started_at, pod.ssh_address)
    )
