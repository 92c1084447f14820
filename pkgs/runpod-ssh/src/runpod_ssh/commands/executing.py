"""`runpod-ssh exec`: a command on a pod."""

from pathlib import Path

import click

from runpod_client import ConfigError
from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POD_ARGUMENT,
    POLICY_OPTION,
    run_async,
)
from runpod_ssh.exit_codes import TRANSPARENT_EXIT_CODES


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Exit status: the command's own; 255 when it could not be run or awaited.",
)
@POD_ARGUMENT
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End the command after this long.  [default: no limit]",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for the command; without =VALUE it is taken from here.",
)
@IDENTITY_OPTION
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=TRANSPARENT_EXIT_CODES)
def exec_(
    session: Session,
    pod: str,
    command: tuple[str, ...],
    *,
    timeout: float | None,
    env: tuple[str, ...],
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> int:
    """Run COMMAND on POD, as ssh does.

    The words are joined by spaces and run by the pod's shell. stdin is sent unless it
    is a terminal; stdout, stderr and the exit status come back as they are.

    \b
    Examples:
      runpod-ssh exec train nvidia-smi
      runpod-ssh exec train "cd /workspace && ls | wc -l"
      tar -c src | runpod-ssh exec train -- tar -x -C /workspace
      HF_TOKEN=... runpod-ssh exec --env HF_TOKEN train python fetch.py
    """  # noqa: D301  # click reads \b as: keep these lines
    variables = _parse_env(env, session)
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("there is no COMMAND after --")
    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    from runpod_ssh.exec import run_attached  # noqa: PLC0415  # start-up time

    async def work() -> int:
        async with access.connect(target) as connection:
            return await run_attached(
                connection, " ".join(words), timeout=timeout, env=variables
            )

    return run_async(work())


def _parse_env(given: tuple[str, ...], session: Session) -> dict[str, str]:
    variables = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            if name not in session.environ:
                raise ConfigError(
                    f"--env {name}: there is no variable of that name here",
                    setting=name,
                    hint=f"Set it, or write --env {name}=VALUE.",
                )
            value = session.environ[name]
        variables[name] = value
    return variables
