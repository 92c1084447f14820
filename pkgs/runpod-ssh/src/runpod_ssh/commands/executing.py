"""`runpod-ssh exec`: a command on a pod, or on many."""

import contextlib
import fcntl
import functools
import os
import stat
import termios
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from runpod_client.console import Session, options
from runpod_ssh.audit import AuditLog, AuditSettings
from runpod_ssh.commands import arguments, attaching
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POLICY_OPTION,
    run_async,
    way_options,
)
from runpod_ssh.errors import NoPodMatchedError
from runpod_ssh.exit_codes import TRANSPARENT_EXIT_CODES
from runpod_ssh.model import HostKeyPolicy
from runpod_ssh.settings import SSHSettings
from runpod_ssh.target_cache import OutdatedError

if TYPE_CHECKING:
    from runpod_client import Pod
    from runpod_ssh.commands.arguments import Access
    from runpod_ssh.connection import Connection
    from runpod_ssh.fleet_model import Order, Selection
    from runpod_ssh.model import PodTarget
    from runpod_ssh.target_cache import OpenLink

_EXIT_CODES = {**TRANSPARENT_EXIT_CODES, NoPodMatchedError: 4}
# stands behind the first -- , which click's parser would take away: no word holds NUL
_SEPARATOR = "\0"


class _ExecCommand(click.Command):
    """Keeps the place of the first `--`: what is before it names pods."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            place = args.index("--") + 1
            args = [*args[:place], _SEPARATOR, *args[place:]]
        return super().parse_args(ctx, args)


class Words(NamedTuple):
    """The words of a command line, told apart."""

    pods: tuple[str, ...]
    command: str


def split_words(words: Sequence[str], *, is_selecting: bool) -> Words:
    """Return which words name pods and which make the command.

    Args:
        is_selecting: Options say which pods are meant, so that none need be named.

    Raises:
        click.UsageError: One of the two is missing.
    """
    given = tuple(words)
    if _SEPARATOR in given:
        place = given.index(_SEPARATOR)
        pods, command = given[:place], given[place + 1 :]
        if pods[-1:] == ("--",):
            pods = pods[:-1]
    else:
        pods, command = ((), given) if is_selecting else (given[:1], given[1:])
    if not pods and not is_selecting:
        raise click.UsageError("there is no POD: name one, or give --all or --match")
    for pod in pods:
        if pod.startswith("-"):
            raise click.UsageError(
                f"the words before -- name pods, and {pod!r} cannot; a command with "
                "a -- of its own needs one before it: exec POD -- COMMAND"
            )
    if not command:
        raise click.UsageError("there is no COMMAND")
    return Words(pods=pods, command=" ".join(command))


@click.command(
    "exec",
    cls=_ExecCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Exit status: the command's own; 255 when it could not be run or awaited. "
    "On several pods: 0 when it was 0 on all, 255 when it could not be run or awaited "
    "on one, else 1; 4 when no pod matches.",
)
@click.argument(
    "words",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    metavar="POD... [--] COMMAND...",
)
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="Run on all your pods that run and have an address of their own.",
)
@click.option(
    "--match",
    multiple=True,
    metavar="GLOB",
    help="Run on the pods whose names match, like 'train-*'; repeatable.",
)
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    metavar="N",
    help="Pods the command runs on at the same time.  [default: 32]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End the command after this long, on each pod.  [default: no limit]",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for the command; without =VALUE it is taken from here.",
)
@click.option(
    "--idempotent",
    is_flag=True,
    help="Running COMMAND twice does no harm: run it again if the link is lost.",
)
@IDENTITY_OPTION
@way_options
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=_EXIT_CODES)
def exec_(
    session: Session,
    words: tuple[str, ...],
    *,
    every: bool,
    match: tuple[str, ...],
    parallel: int | None,
    timeout: float | None,
    env: tuple[str, ...],
    idempotent: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> int:
    """Run COMMAND on one POD, as ssh does, or on many at once.

    The words of COMMAND are joined by spaces and run by the pod's shell. With -- all
    words before it are PODs; without it the first word is the POD.

    On one pod stdin is sent unless it is a terminal; stdout, stderr and the exit status
    come back as they are. On several, or with --all, --match or --json, every line gets
    its pod's name in front, a summary ends it, and stdin is not sent.

    \b
    Examples:
      runpod-ssh exec train nvidia-smi
      runpod-ssh exec train "cd /workspace && ls | wc -l"
      tar -c src | runpod-ssh exec train -- tar -x -C /workspace
      HF_TOKEN=... runpod-ssh exec --env HF_TOKEN train python fetch.py
      runpod-ssh exec train-1 train-2 -- git -C /workspace pull
      runpod-ssh exec --all --parallel 64 nvidia-smi -L
      runpod-ssh exec --match 'train-*' --json df -h | jq -r .text
    """  # noqa: D301  # click reads \b as: keep these lines
    is_selecting = every or bool(match)
    given = split_words(words, is_selecting=is_selecting)
    variables = arguments.parse_env(env, session.environ)
    ssh = session.load(SSHSettings, "ssh", parallel=parallel)
    access = arguments.open_access(session, policy, connect_timeout)
    audit = AuditLog(session.load(AuditSettings, "audit"))
    if is_selecting or len(given.pods) > 1 or session.as_json:
        from runpod_ssh.fleet_model import Order, Selection  # noqa: PLC0415  # slow

        return _run_on_many(
            session,
            access,
            audit,
            functools.partial(access.target_of, identity=identity),
            Selection(selectors=given.pods, patterns=match, every=every),
            Order(
                command=given.command,
                env=variables,
                timeout_seconds=timeout,
                is_idempotent=idempotent,
            ),
            ssh.parallel,
        )
    is_usual = policy == HostKeyPolicy.TRUST_ON_FIRST_USE.value and not (
        identity or connect_timeout or any(arguments.find_way().values())
    )

    def begin(target: "PodTarget", open_link: "OpenLink") -> int:
        if ssh.background and is_usual:
            # it serves such calls only, so the next one may be spared all this
            from runpod_ssh import background  # noqa: PLC0415  # not always needed

            background.start_for_next_time(session.environ, given.pods[0])
        with audit.recording(
            "exec", target, given.command, unless=(OutdatedError,)
        ) as outcome:
            outcome.status = attaching.run_attached(
                open_link,
                given.command,
                timeout=timeout,
                env=variables,
                is_idempotent=idempotent,
            )
        return outcome.status

    return attaching.run_on_one(access, given.pods[0], identity, begin)


def _run_on_many(
    session: Session,
    access: "Access",
    audit: AuditLog,
    find_target: "Callable[[Pod], PodTarget]",
    selection: "Selection",
    order: "Order",
    parallel: int,
) -> int:
    """Run a command on all pods that are meant; return the status over all."""
    from runpod_ssh.fleet_run import run_fleet  # noqa: PLC0415  # start-up time
    from runpod_ssh.fleet_selection import select_jobs  # noqa: PLC0415  # as above

    @contextlib.asynccontextmanager
    async def connect(target: "PodTarget") -> "AsyncIterator[Connection]":
        with audit.recording("exec", target, order.command):
            async with access.connect(target) as connection:
                yield connection

    jobs = select_jobs(access.client, selection, find_target)
    if _has_input(0):
        session.note("stdin is not sent to several pods; commands see an empty input")
    return run_async(
        run_fleet(connect, jobs, order, parallel=parallel, as_json=session.as_json)
    )


def _has_input(descriptor: int) -> bool:
    """Return whether something was meant to be sent, without taking any of it."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fstat(descriptor).st_size > 0
    if not stat.S_ISFIFO(mode):
        return False
    waiting = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return any(waiting)
