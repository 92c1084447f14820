"""`runpod-ssh info` and `config`: how pods are reached with OpenSSH's own tools."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runpod_client.config import default_config_file
from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POD_ARGUMENT,
    run_async,
    tell,
    way_options,
)
from runpod_ssh.exit_codes import EXIT_CODES
from runpod_ssh.host_keys import start_of
from runpod_ssh.model import PodTarget
from runpod_ssh.openssh import TOOLS

if TYPE_CHECKING:
    from runpod_client import Pod
    from runpod_ssh.openssh import Way
    from runpod_ssh.report import Reach

_VISITS_AT_ONCE = 16


@click.command()
@POD_ARGUMENT
@click.option(
    "--for",
    "tool",
    type=click.Choice(TOOLS),
    help="Print only the command, for this tool; add its arguments behind.",
)
@IDENTITY_OPTION
@way_options
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def info(
    session: Session,
    pod: str,
    *,
    tool: str | None,
    identity: Path | None,
    connect_timeout: float | None,
) -> None:
    """Show how to reach POD: address, host key, and an ssh command that works.

    Connects once per start of the pod, to learn its host key.

    \b
    Examples:
      runpod-ssh info train
      eval "$(runpod-ssh info train --for ssh)"
      eval "$(runpod-ssh info train --for rsync) -a src/ train:/workspace/src/"
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.openssh import render_command  # noqa: PLC0415  # start-up time
    from runpod_ssh.report import describe, find_way, render  # noqa: PLC0415

    access = arguments.open_access(session, timeout=connect_timeout)
    found = access.client.resolve_pod(pod)
    problem = _learn_host_keys(access, [found], identity).get(found.pod_id, "")
    _learn_proxy_key(access, found, identity)
    reach = _reach_of(session, access, identity)
    key = access.client.identity_for(found)
    if tool is None:
        document = describe(found, key, reach, problem)
        tell(session, document, render(document))
        return
    way = find_way(found, key, reach)
    if way is None:
        raise click.ClickException(problem or f"pod {pod} has no address now")
    command = render_command(way, tool)
    tell(session, {"pod_id": found.pod_id, "tool": tool, "command": command}, command)


@click.command()
@click.argument("pods", metavar="[POD]...", nargs=-1)
@click.option(
    "--write",
    is_flag=True,
    help="Write the file ssh_config of the configuration folder, in place of stdout.",
)
@click.option(
    "--to",
    "path",
    type=click.Path(path_type=Path),
    help="Write this file, in place of stdout.",
)
@IDENTITY_OPTION
@way_options
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def config(
    session: Session,
    pods: tuple[str, ...],
    *,
    write: bool,
    path: Path | None,
    identity: Path | None,
    connect_timeout: float | None,
) -> None:
    """Write PODs, or all that run, into an OpenSSH configuration.

    Then `ssh`, `scp`, `rsync`, `git` and editors know a pod by its name or id, with
    its pinned host key. A pod's key is encrypted: ssh has it loaded into your ssh-agent
    for 8 hours (`runpod-ssh keys load`). Write it again after a pod was started.

    \b
    Examples:
      runpod-ssh config train >train.conf && ssh -F train.conf train nvidia-smi
      runpod-ssh config --write
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.openssh import render_config, write_config  # noqa: PLC0415

    access = arguments.open_access(session, timeout=connect_timeout)
    chosen = _choose(access, pods)
    problems = _learn_host_keys(access, chosen, identity)
    ways, problems = _find_ways(session, access, chosen, identity, problems)
    text = render_config(ways, _key_loader())
    for pod_id, problem in problems.items():
        click.echo(f"{pod_id} is left out: {problem}", err=True)
    target = path or (default_config_file().with_name("ssh_config") if write else None)
    if target is not None:
        write_config(target.absolute(), text)
        session.note(
            "Have ssh read it, by this line at the top of ~/.ssh/config:\n"
            f'  Include "{target.absolute()}"'
        )
    document = {
        "path": str(target.absolute()) if target else None,
        "pods": [{"pod_id": pod.pod_id, "name": pod.name} for pod, _ in ways],
        "problems": problems,
        "config": text,
    }
    tell(session, document, str(target) if target else text.rstrip("\n"))


def _choose(access: arguments.Access, selectors: tuple[str, ...]) -> "list[Pod]":
    """Return the pods that were named, or all of ours that can be reached."""
    from runpod_client import PodStatus  # noqa: PLC0415  # beside its use

    if selectors:
        return [access.client.resolve_pod(selector) for selector in selectors]
    return [
        pod
        for pod in access.client.list_pods()
        if pod.status is PodStatus.RUNNING
        and pod.ssh_address is not None
        and access.client.identity_for(pod) is not None
    ]


def _find_ways(
    session: Session,
    access: arguments.Access,
    pods: "list[Pod]",
    identity: Path | None,
    problems: dict[str, str],
) -> "tuple[list[tuple[Pod, Way]], dict[str, str]]":
    """Return the pods that ssh can reach with a known host key, and why not the rest."""
    from runpod_ssh.report import find_way  # noqa: PLC0415  # start-up time

    reach = _reach_of(session, access, identity)
    ways = []
    left_out = dict(problems)
    for pod in pods:
        way = find_way(pod, access.client.identity_for(pod), reach)
        if way is not None and way.is_pinned:
            ways.append((pod, way))
            left_out.pop(pod.pod_id, None)
        else:
            left_out.setdefault(pod.pod_id, "its host key is not known")
    return ways, left_out


def _reach_of(
    session: Session, access: arguments.Access, identity: Path | None
) -> "Reach":
    from runpod_client import Identity  # noqa: PLC0415  # beside its use
    from runpod_ssh import askpass  # noqa: PLC0415  # start-up time
    from runpod_ssh.report import Reach  # noqa: PLC0415
    from runpod_ssh.targets import parse_proxy  # noqa: PLC0415

    program = _find_program(session, askpass.PROGRAM)

    def read_variables(key: Identity) -> dict[str, str]:
        if program is None:
            return {}
        given = session.environ.get("RUNPOD_IDENTITY_SECRET_FILE")
        place = (
            Path(given).absolute() if given else access.client.identities.secret_file
        )
        return askpass.render_variables(program, key.private_key_file, place)

    return Reach(
        host_keys=access.host_keys,
        identity_file=identity.absolute() if identity else None,
        user=access.settings.user,
        jump=access.settings.jump,
        proxy=parse_proxy(access.settings.proxy),
        read_variables=read_variables,
    )


def _key_loader() -> str:
    """Return the command that loads a key into ssh-agent, by its file."""
    import shlex  # noqa: PLC0415  # beside its use

    program = Path(sys.argv[0]).absolute()
    own = str(program) if program.name == "runpod-ssh" else "runpod-ssh"
    return f"{shlex.quote(own)} keys load --quiet --file"


def _find_program(session: Session, name: str) -> Path | None:
    """Return a program installed beside this one, or on PATH."""
    import shutil  # noqa: PLC0415  # beside its use

    places = [Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent]
    beside = [str(place) for place in places]
    path = ":".join([*beside, session.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    return Path(found).absolute() if found else None


def _learn_host_keys(
    access: arguments.Access, pods: "list[Pod]", identity: Path | None
) -> dict[str, str]:
    """Connect once to each pod whose key is not known; return what stood in the way."""
    import asyncio  # noqa: PLC0415  # start-up time

    from runpod_client import Error  # noqa: PLC0415  # beside its use

    problems: dict[str, str] = {}
    turns = asyncio.Semaphore(_VISITS_AT_ONCE)

    async def visit(pod: "Pod") -> None:
        try:
            target = _find_unknown(access, pod, identity)
            if target is not None:
                async with turns, access.connect(target):
                    pass
        except Error as error:
            problems[pod.pod_id] = f"{error.message}. {error.hint}".strip()

    async def visit_all() -> None:
        await asyncio.gather(*(visit(pod) for pod in pods))

    run_async(visit_all())
    return problems


def _learn_proxy_key(
    access: arguments.Access, pod: "Pod", identity: Path | None
) -> None:
    """Log in to RunPod's proxy once, where it is the only way and its key not known."""
    from runpod_client import Error, PodStatus  # noqa: PLC0415  # beside its use
    from runpod_ssh.pods import proxy_id  # noqa: PLC0415  # loads asyncssh

    is_needed = pod.ssh_address is None and pod.status is PodStatus.RUNNING
    if not is_needed or not pod.proxy_user:
        return
    target = access.find_shell_target(pod.pod_id, identity)
    if access.host_keys.find(proxy_id(target.address)) is not None:
        return

    async def visit() -> None:
        # a login that fails says nothing about the pod: the account may lack our key
        with contextlib.suppress(Error):
            async with access.connect(target):
                pass

    run_async(visit())


def _find_unknown(
    access: arguments.Access, pod: "Pod", identity: Path | None
) -> PodTarget | None:
    """Return where to connect to learn a pod's key, None where it is known."""
    target = access.target_of(pod, identity)
    start = start_of(pod, target.address)
    pin = access.host_keys.find_for_start(pod.pod_id, start)
    return target if pin is None or pin.host_key is None else None
