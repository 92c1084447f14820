"""Which hooks run around which of our own doings; see `runpod_client.hooks`.

It must not know how a pod is rented, started or ended: it is told that it happens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runpod_client.hook_settings import HookEvent
from runpod_client.hooks import HookDocument, Hooks
from runpod_client.model import Pod, PodSpec


class Announcements:
    """Those who are told what happens to pods; nobody, where there are no hooks."""

    def __init__(self, hooks: Hooks | None, *, owner: Callable[[], str]) -> None:
        self._hooks = hooks
        self._owner = owner

    @contextmanager
    def create(self, spec: PodSpec) -> Iterator[Callable[[Pod], None]]:
        """Ask before a pod is rented; yield what is to be told of the pod made.

        Raises:
            HookError: A hook vetoed; nothing was rented.
        """
        made: list[Pod] = []
        self._before(HookEvent.PRE_CREATE, spec=spec)
        yield made.append
        for pod in made:
            self._after(HookEvent.POST_CREATE, pod, spec=spec)

    @contextmanager
    def start(self, pod: Pod) -> Iterator[None]:
        """Ask before a pod is started, and tell afterwards.

        Raises:
            HookError: A hook vetoed; nothing was started.
        """
        self._before(HookEvent.PRE_START, pod)
        yield
        self._after(HookEvent.POST_START, pod)

    @contextmanager
    def stop(self, pod: Pod) -> Iterator[None]:
        """Tell that a pod is being stopped, which no hook holds up."""
        with self._alongside(HookEvent.PRE_STOP, HookEvent.POST_STOP, pod):
            yield

    @contextmanager
    def terminate(self, pod: Pod | None) -> Iterator[None]:
        """Tell that a pod is being terminated, which no hook holds up."""
        with self._alongside(HookEvent.PRE_TERMINATE, HookEvent.POST_TERMINATE, pod):
            yield

    @contextmanager
    def expire(self, pod: Pod, reason: str) -> Iterator[None]:
        """Tell that a pod is being ended since its lease is over."""
        if self._hooks is None:
            yield
            return
        document = HookDocument(owner=self._owner(), pod=pod, reason=reason)
        with self._hooks.alongside(HookEvent.LEASE_EXPIRED, document):
            yield

    def ready(self, pod: Pod) -> None:
        """Tell that a pod that was waited for can be used."""
        self._after(HookEvent.READY, pod)

    def _before(
        self, event: HookEvent, pod: Pod | None = None, *, spec: PodSpec | None = None
    ) -> None:
        if self._hooks is not None:
            self._hooks.before(event, self._document(pod, spec))

    def _after(
        self, event: HookEvent, pod: Pod | None, *, spec: PodSpec | None = None
    ) -> None:
        if self._hooks is not None:
            self._hooks.after(event, self._document(pod, spec))

    @contextmanager
    def _alongside(
        self, before: HookEvent, after: HookEvent, pod: Pod | None
    ) -> Iterator[None]:
        if self._hooks is None:
            yield
            return
        with self._hooks.alongside(before, self._document(pod)):
            yield
        self._after(after, pod)

    def _document(self, pod: Pod | None, spec: PodSpec | None = None) -> HookDocument:
        return HookDocument(owner=self._owner(), pod=pod, spec=spec)
