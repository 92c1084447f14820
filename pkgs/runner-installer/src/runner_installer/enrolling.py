"""Making GitHub know a runner: by JIT config, or by registration token on old servers.

A registration is given back unless the body of `enrolled` succeeds. With a token it is
the pod that registers, so what may have come of it is looked up by name.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runner_installer.github import GitHub
from runner_installer.model import RunnerSpec, RunnerToken, Scope
from runner_installer.pod_model import RegistrationKind
from runner_installer.registration import NewName, registered
from runpod_client import Error, NotFoundError, Secret
from runpod_client.logs import get_logger

log = get_logger(__name__)
# a slow pod must still be able to use it
_SPARE = timedelta(minutes=10)
_WITHDRAW_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """What the pod needs to become a runner of this name.

    Attributes:
        runner_id: None where the pod has still to register itself.
        secret: The JIT config, or the registration token.
    """

    kind: RegistrationKind
    name: str
    runner_id: int | None
    secret: Secret


class RegistrationTokens:
    """Registration tokens by scope, each used until shortly before its end."""

    def __init__(
        self,
        github: GitHub,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._github = github
        self._now = now
        self._tokens: dict[Scope, RunnerToken] = {}
        self._lock = asyncio.Lock()

    async def get(self, scope: Scope) -> Secret:
        """Return a token that is good for some minutes more.

        Raises:
            NotFoundError: GitHub shows nobody of this name to this token.
        """
        async with self._lock:
            held = self._tokens.get(scope)
            if held is None or held.expires_at - self._now() < _SPARE:
                held = await asyncio.to_thread(
                    self._github.create_registration_token, scope
                )
                self._tokens[scope] = held
            return held.token


@asynccontextmanager
async def enrolled(
    github: GitHub,
    spec: RunnerSpec,
    new_name: NewName | None,
    *,
    kind: RegistrationKind,
    tokens: RegistrationTokens,
) -> AsyncIterator[Enrolment]:
    """Hold a registration; take it back when the body fails or is interrupted.

    Raises:
        RegistrationError: GitHub gives none.
        NotFoundError: GitHub knows neither the scope nor, with `jit`, that call.
    """
    async with AsyncExitStack() as stack:
        if kind is not RegistrationKind.TOKEN:
            try:
                made = await stack.enter_async_context(
                    registered(github, spec, new_name)
                )
            except NotFoundError:
                if kind is RegistrationKind.JIT:
                    raise
                # an old Enterprise Server, or a repository we cannot see: the token
                # tells which
            else:
                yield Enrolment(
                    kind=RegistrationKind.JIT,
                    name=made.name,
                    runner_id=made.runner_id,
                    secret=made.jit_config,
                )
                return
        token = await tokens.get(spec.scope)
        if kind is RegistrationKind.AUTO:
            log.warning("runner_registration_by_token", repository=str(spec.scope))
        await stack.enter_async_context(_taken_back(github, spec))
        yield Enrolment(
            kind=RegistrationKind.TOKEN, name=spec.name, runner_id=None, secret=token
        )


@asynccontextmanager
async def _taken_back(github: GitHub, spec: RunnerSpec) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await asyncio.shield(_withdraw(github, spec))
        raise


async def _withdraw(github: GitHub, spec: RunnerSpec) -> None:
    try:
        async with asyncio.timeout(_WITHDRAW_SECONDS):
            found = await asyncio.to_thread(github.find_runner, spec.scope, spec.name)
            if found is not None:
                await asyncio.to_thread(
                    github.delete_runner, spec.scope, found.runner_id
                )
    except (Error, TimeoutError) as error:
        log.error(  # noqa: TRY400  # the failure itself is already on its way up
            "runner_withdraw_failed",
            runner_name=spec.name,
            error=type(error).__name__,
            error_detail=str(error),
        )
