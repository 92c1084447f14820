"""The runners of one pod of a run: so many are wanted, so many live, the rest is made.

It must not know how pods are rented or ended.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from runner_installer.github import GitHub
from runner_installer.install import Installation
from runner_installer.model import RunnerSpec, Scope, render_name
from runner_installer.remote import Remote
from runner_installer.tarball import TarballCache
from runpod_client import Pod

Connect = Callable[[str], AbstractAsyncContextManager[tuple[Remote, Pod]]]


class PodRunners:
    """Has runners on pods.

    Args:
        scope: Where they register.
        labels: Theirs beside their own name.
        connect: Opens a pod by its id.
        new_token: Makes a name a new one.
        ready_seconds: From a runner's start to its listening for jobs.
    """

    def __init__(
        self,
        github: GitHub,
        tarballs: TarballCache,
        connect: Connect,
        *,
        scope: Scope,
        labels: tuple[str, ...],
        prefix: str,
        group_id: int,
        new_token: Callable[[], str],
        ready_seconds: float = 120.0,
    ) -> None:
        self._github = github
        self._tarballs = tarballs
        self._connect = connect
        self._scope = scope
        self._labels = labels
        self._prefix = prefix
        self._group_id = group_id
        self._new_token = new_token
        self._ready_seconds = ready_seconds

    async def ensure(self, pod: Pod, count: int) -> tuple[str, ...]:
        """Have so many live runners on a pod, and return their names.

        Raises:
            SSHError: The pod does not let us in.
            InstallError: A step failed; what lives there stays.
            RegistrationError: GitHub gives no registration.
        """
        async with self._connect(pod.pod_id) as (remote, _pod):
            installation = Installation(
                remote,
                self._github,
                self._tarballs,
                verify_timeout_seconds=self._ready_seconds,
            )
            living = (await installation.list_live(self._scope))[:count]
            if len(living) == count:
                return living
            specs = [self._spec(pod) for _ in range(count - len(living))]
            batch = await installation.run_many(specs, new_name=lambda: self._name(pod))
        if batch.failures:
            _name, error = batch.failures[0]
            raise error
        return (*living, *(done.runner.name for done in batch.installed))

    def _spec(self, pod: Pod) -> RunnerSpec:
        return RunnerSpec(
            name=self._name(pod),
            scope=self._scope,
            labels=self._labels,
            group_id=self._group_id,
        )

    def _name(self, pod: Pod) -> str:
        return render_name(
            prefix=self._prefix, pod_id=pod.pod_id, token=self._new_token()
        )
