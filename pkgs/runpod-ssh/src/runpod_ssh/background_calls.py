"""One `exec` in the background process: from a client's words to an exit status.

The words are parsed by the command line's own parser. What is not a plain command on
one pod is declined: the client does it itself. Nothing here knows the socket.
"""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from runpod_client import AuthenticationError, ConfigError, Error
from runpod_client.logs import get_logger, scrub
from runpod_ssh.audit import AuditLog
from runpod_ssh.background_targets import RememberedTargets
from runpod_ssh.commands.arguments import parse_env
from runpod_ssh.commands.executing import exec_, split_words
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHError, SSHUnreachableError, UnknownOutcomeError
from runpod_ssh.exec import Descriptors, run_attached, run_attached_again
from runpod_ssh.exit_codes import EXIT_SSH_FAILURE
from runpod_ssh.model import HostKey, PodTarget
from runpod_ssh.pool import Pool

log = get_logger(__name__)

# what may be said on the command line; every other option is the client's own business
_UNDERSTOOD = {"words", "timeout", "env", "idempotent"}
# logs of these levels belong on the client's stderr
_TALKATIVE = {"debug", "info"}


class DeclinedError(Exception):
    """The client has to do it itself."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A plain command for one pod.

    Attributes:
        timeout: In seconds; None for no limit.
        is_idempotent: It may be run again when the link is lost.
    """

    selector: str
    command: str
    timeout: float | None
    env: Mapping[str, str]
    is_idempotent: bool


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a call ended; with a message it failed, which the client tells."""

    status: int
    message: str = ""
    hint: str = ""


def parse_call(words: Sequence[str], variables: Mapping[str, str]) -> Call:
    """Return the call that the words behind `runpod-ssh exec` ask for.

    Raises:
        DeclinedError: They ask for anything else than a plain command on one pod.
    """
    try:
        context = exec_.make_context("exec", list(words))
    except (click.ClickException, click.exceptions.Exit, click.Abort) as error:
        raise DeclinedError("usage") from error
    names = [parameter.name or "" for parameter in context.command.params]
    given = {
        name
        for name in names
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if given - _UNDERSTOOD or context.params["log_level"] in _TALKATIVE:
        raise DeclinedError("options")
    return _call_of(context.params, variables)


def _call_of(params: Mapping[str, Any], variables: Mapping[str, str]) -> Call:
    try:
        given = split_words(params["words"], is_selecting=False)
        env = parse_env(params["env"], variables)
    except (click.UsageError, ConfigError) as error:
        raise DeclinedError("usage") from error
    if len(given.pods) != 1:
        raise DeclinedError("several pods")
    return Call(
        selector=given.pods[0],
        command=given.command,
        timeout=params["timeout"],
        env=env,
        is_idempotent=params["idempotent"],
    )


class Caller:
    """Runs calls over the links of one pool.

    Args:
        is_known: Whether a pod is still known by the key its link was opened with: the
            user may have forgotten it since, or vouched for another.
        audit: Where the calls are recorded.

    Attributes:
        is_refused: RunPod or the settings refuse us: a new process may do better.
    """

    def __init__(
        self,
        pool: Pool,
        targets: RememberedTargets,
        *,
        is_known: Callable[[PodTarget, HostKey], bool],
        audit: AuditLog,
    ) -> None:
        self._pool = pool
        self._audit = audit
        self._is_known = is_known
        self._targets = targets
        self.is_refused = False

    async def run(
        self, call: Call, begin: Callable[[], Awaitable[Descriptors]]
    ) -> Ending:
        """Run a command to its end.

        A cancelled call interrupts the command on the pod before it returns.

        Args:
            begin: Awaited right before the command is sent, for its streams; what it
                raises prevents that.

        Raises:
            DeclinedError: The client has to do it itself.
        """
        try:
            target, descriptors = await self._prepare(call, begin)
        except (ConfigError, AuthenticationError) as error:
            self.is_refused = True
            raise DeclinedError(type(error).__name__) from error
        except Error as error:
            return _failed(error)
        try:
            with self._audit.recording("exec", target, call.command) as outcome:
                outcome.status = await self._attach(call, descriptors)
            return Ending(status=outcome.status)
        except BrokenPipeError:
            # the reader of its output has gone (`| head`): nobody is left to tell
            return Ending(status=0)
        except ConfigError as error:  # words or variables no pod can be sent
            raise DeclinedError(type(error).__name__) from error
        except Error as error:
            return _failed(error)

    async def _prepare(
        self, call: Call, begin: Callable[[], Awaitable[Descriptors]]
    ) -> tuple[PodTarget, Descriptors]:
        """Return the pod and the command's streams once a connection stands."""
        async with self._borrow(call.selector):
            found = await self._targets.get(call.selector)
            return found.target, await begin()

    async def _attach(self, call: Call, descriptors: Descriptors) -> int:
        """Run a call on its client's streams; return the exit status."""

        def lend() -> AbstractAsyncContextManager[Connection]:
            return self._borrow(call.selector)

        if call.is_idempotent:
            return await run_attached_again(
                lend,
                call.command,
                descriptors=descriptors,
                timeout=call.timeout,
                env=call.env,
            )
        for is_last in (False, True):
            try:
                async with lend() as connection:
                    return await run_attached(
                        connection,
                        call.command,
                        descriptors=descriptors,
                        timeout=call.timeout,
                        env=call.env,
                    )
            except UnknownOutcomeError:
                raise
            except SSHUnreachableError:
                # the link died before the command was sent, perhaps with the pod
                if is_last:
                    raise
                self._targets.forget(call.selector)
        raise AssertionError("unreachable")

    async def warm_up(self, selector: str) -> None:
        """Connect to a pod that is likely to be asked for; silent when it fails."""
        try:
            async with self._borrow(selector):
                pass
        except (Error, DeclinedError) as error:
            log.info(
                "warm_up_failed",
                error=type(error).__name__,
                error_detail=scrub(str(error)),
            )

    @contextlib.asynccontextmanager
    async def _borrow(self, selector: str) -> AsyncIterator[Connection]:
        """Lend a connection to the pod that the selector means at this moment."""
        found = await self._targets.get(selector)
        target = found.target
        async with contextlib.AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._pool.borrow(target))
            except SSHError:
                # it may have been started anew since, and be elsewhere
                if not found.is_remembered:
                    raise
                target = await self._targets.ask(selector)
                connection = await stack.enter_async_context(self._pool.borrow(target))
            if not self._is_known(target, connection.host_key):
                # commands that run on it go on; the link ends when it is idle
                raise DeclinedError("host key")
            yield connection


def _failed(error: Error) -> Ending:
    return Ending(
        status=EXIT_SSH_FAILURE, message=scrub(error.message), hint=scrub(error.hint)
    )
