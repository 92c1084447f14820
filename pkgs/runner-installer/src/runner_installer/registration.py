"""A registration at GitHub that is given back unless the installation succeeds.

Minting is never repeated under the same name: where GitHub's answer is lost, what may
have been registered is looked up by name and deleted, and a new name is used.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from runner_installer.actions_service import ActionsService
from runner_installer.errors import RegistrationError
from runner_installer.github import GitHub
from runner_installer.model import Registration, RunnerSpec
from runner_installer.scale_sets import ScaleSets
from runpod_client import Error, ProtocolError, TransportError, UnavailableError
from runpod_client.logs import get_logger

log = get_logger(__name__)
_ATTEMPTS = 2
_WITHDRAW_SECONDS = 60.0

NewName = Callable[[], str]


def mint(github: GitHub, spec: RunnerSpec, new_name: NewName | None) -> Registration:
    """Register a runner, settling a lost answer first.

    Args:
        new_name: Gives the name for another attempt; None insists on the spec's.

    Raises:
        RegistrationError: No registration is to be had, and none is left behind.
        TransportError: GitHub cannot be reached at all.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _register(github, spec)
        except (TransportError, ProtocolError, UnavailableError) as error:
            log.warning(
                "runner_registration_unsettled", runner_name=spec.name, attempt=attempt
            )
            was_made = _settle(github, spec, error)
            if new_name is None or attempt == _ATTEMPTS:
                raise RegistrationError(
                    f"GitHub's answer about {spec.name} was lost "
                    f"({'it had been registered and was deleted' if was_made else 'it was not registered'})",
                    runner_name=spec.name,
                    hint="Repeat the command.",
                ) from error
            spec = spec.renamed(new_name())
    raise AssertionError("unreachable")


def _register(github: GitHub, spec: RunnerSpec) -> Registration:
    if not spec.scale_set:
        return github.generate_jit_config(spec)
    with ActionsService(github, spec.scope) as service:
        sets = ScaleSets(service)
        found = sets.find(spec.scale_set)
        if found is None:
            raise RegistrationError(
                f"{spec.scope} has no scale set {spec.scale_set}",
                runner_name=spec.name,
                hint="`runner-installer serve` makes it; is it running?",
            )
        return sets.mint(found, spec.name, spec.work_folder)


def _settle(github: GitHub, spec: RunnerSpec, lost: Error) -> bool:
    """Delete what a lost answer may have registered; tell whether there was any.

    Raises:
        Error: What was lost, when GitHub cannot be asked either.
    """
    try:
        ghost = github.find_runner(spec.scope, spec.name)
        return ghost is not None and github.delete_runner(spec.scope, ghost.runner_id)
    except (TransportError, UnavailableError):
        log.error(  # noqa: TRY400  # the failure itself is on its way up
            "runner_registration_unsettled_for_good", runner_name=spec.name
        )
        raise lost from None


@asynccontextmanager
async def registered(
    github: GitHub, spec: RunnerSpec, new_name: NewName | None
) -> AsyncIterator[Registration]:
    """Hold a registration; delete it when the body fails or is interrupted."""
    minting = asyncio.create_task(asyncio.to_thread(mint, github, spec, new_name))
    try:
        yield await asyncio.shield(minting)
    except BaseException:
        await asyncio.shield(_withdraw(github, spec, minting))
        raise


async def _withdraw(
    github: GitHub, spec: RunnerSpec, minting: "asyncio.Task[Registration]"
) -> None:
    # a thread cannot be interrupted: what it did is known only when it has ended
    await asyncio.wait({minting})
    if minting.cancelled() or minting.exception() is not None:
        return
    registration = minting.result()
    try:
        async with asyncio.timeout(_WITHDRAW_SECONDS):
            await asyncio.to_thread(
                github.delete_runner, spec.scope, registration.runner_id
            )
    except (Error, TimeoutError) as error:
        log.error(  # noqa: TRY400  # the failure itself is already on its way up
            "runner_withdraw_failed",
            runner_name=registration.name,
            runner_id=registration.runner_id,
            error=type(error).__name__,
            error_detail=str(error),
        )
