"""Which pod a selector means, asked of RunPod no more often than it may have changed.

An id means the same pod as long as a link to it lives, for a stopped pod's link dies. A
name may be given to another pod meanwhile: what was found is used for a minute, looked
up again beside the command when it is older than ten seconds, before it when older.
Without a living link RunPod is always asked, since the address may be another's by now.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from runpod_client import Error
from runpod_client.logs import get_logger
from runpod_ssh.model import PodTarget

log = get_logger(__name__)

JUST_ASKED_SECONDS = 2.0
NAME_FRESH_SECONDS = 10.0
NAME_USABLE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """Where a selector leads.

    Attributes:
        is_remembered: It was not asked for just now, so it may be outdated.
    """

    target: PodTarget
    is_remembered: bool


class RememberedTargets:
    """What selectors were found to mean.

    Args:
        find: Asks RunPod; blocking, so it is called in a thread.
        is_linked: Whether a link to the pod of that id stands.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        find: Callable[[str], PodTarget],
        *,
        is_linked: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._find = find
        self._is_linked = is_linked
        self._clock = clock
        self._known: dict[str, tuple[PodTarget, float]] = {}
        self._asking: dict[str, asyncio.Task[PodTarget]] = {}

    async def get(self, selector: str) -> Found:
        """Return the pod's target.

        Raises:
            Error: As resolving a pod does.
        """
        known = self._known.get(selector)
        if known is not None:
            target, asked_at = known
            age = self._clock() - asked_at
            if self._is_usable(selector, target, age):
                if target.pod.pod_id != selector and age >= NAME_FRESH_SECONDS:
                    self._ask(selector)
                return Found(target=target, is_remembered=True)
        return Found(target=await self.ask(selector), is_remembered=False)

    async def ask(self, selector: str) -> PodTarget:
        """Ask RunPod, once however many do at the same time."""
        # shielded: whoever gives up must not take the answer from the others
        return await asyncio.shield(self._ask(selector))

    def forget(self, selector: str) -> None:
        """Have RunPod asked before the selector is used again."""
        self._known.pop(selector, None)

    async def close(self) -> None:
        """Forget what is being asked for."""
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    def _is_usable(self, selector: str, target: PodTarget, age: float) -> bool:
        if age < JUST_ASKED_SECONDS:
            return True
        if not self._is_linked(target.pod.pod_id):
            return False
        return target.pod.pod_id == selector or age < NAME_USABLE_SECONDS

    def _ask(self, selector: str) -> asyncio.Task[PodTarget]:
        task = self._asking.get(selector)
        if task is None:
            task = asyncio.create_task(self._look_up(selector))
            # nobody may be waiting for it: its failure is told to whoever asks next
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asking[selector] = task
        return task

    async def _look_up(self, selector: str) -> PodTarget:
        try:
            target = await asyncio.to_thread(self._find, selector)
        except Error as error:
            self._known.pop(selector, None)
            log.debug("pod_lookup_failed", error=type(error).__name__)
            raise
        finally:
            del self._asking[selector]
        self._known[selector] = (target, self._clock())
        return target
