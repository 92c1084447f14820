"""What several commands take and use: POD, how to connect, the way to the fleet."""

import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runpod_client import ConfigError
from runpod_client.config import ClientSettings
from runpod_client.console import Session
from runpod_ssh.head_starts import HeadStart
from runpod_ssh.host_keys import HostKeyStore, start_of
from runpod_ssh.model import Bounds, HostKeyPolicy, PodTarget, Route
from runpod_ssh.settings import SSHSettings
from runpod_ssh.target_cache import TargetCache

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from runpod_client import Pod, RunPodClient
    from runpod_ssh.connection import Connection

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])

POD_ARGUMENT = click.argument("pod", metavar="POD")
IDENTITY_OPTION = click.option(
    "-i",
    "--identity",
    type=click.Path(path_type=Path),
    help="Private key to log in with, in place of the pod's own.",
)
POLICY_OPTION = click.option(
    "--host-key-policy",
    "policy",
    type=click.Choice([policy.value for policy in HostKeyPolicy]),
    default=HostKeyPolicy.TRUST_ON_FIRST_USE.value,
    show_default=True,
    help="How much proof the pod's host key needs; off accepts anything.",
)
CONNECT_TIMEOUT_OPTION = click.option(
    "--connect-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time limit of connecting.  [default: 30]",
)
_KEPT = "runpod_ssh.way."
# a place that may be outdated is given up soon: RunPod knows the right one
_TRY_SECONDS = 3.0


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Keep a setting's flag for `open_access`: no command has a use for it itself."""
    context.meta[f"{_KEPT}{parameter.name}"] = value
    return value


def way_options(function: Command) -> Command:
    """Give a command `--user` and `--jump`, which `open_access` reads."""
    user = click.option(
        "--user",
        metavar="NAME",
        expose_value=False,
        callback=_keep,
        help="Login name on pods.  [default: root]",
    )
    jump = click.option(
        "--jump",
        metavar="[USER@]HOST[:PORT],...",
        expose_value=False,
        callback=_keep,
        help="Hosts to go through, as ssh -J takes them; none for the straight way.",
    )
    return user(jump(function))


def find_way() -> dict[str, str | None]:
    """Return what the flags of `way_options` said, by setting; None for nothing."""
    context = click.get_current_context(silent=True)
    meta = context.meta if context else {}
    return {name: meta.get(f"{_KEPT}{name}") for name in ("user", "jump")}


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a command needs to reach pods.

    Attributes:
        agent_path: Socket of the user's ssh-agent; None where there is none.
    """

    client: "RunPodClient"
    host_keys: HostKeyStore
    policy: HostKeyPolicy
    bounds: Bounds
    settings: SSHSettings
    agent_path: str | None
    remembered: TargetCache

    def recall_target(self, selector: str, identity: Path | None) -> PodTarget | None:
        """Return where the pod was lately, if its host key will prove that it is it.

        None also where the user wants more proof than that, or none.
        """
        if self.policy is not HostKeyPolicy.TRUST_ON_FIRST_USE:
            return None
        pod = self.remembered.find(selector)
        address = pod.ssh_address if pod else None
        if pod is None or address is None:
            return None
        pin = self.host_keys.find_for_start(pod.pod_id, start_of(pod, address))
        if pin is None or not pin.blob:
            return None
        from runpod_ssh.quick_start import may_detour  # noqa: PLC0415  # start-up time

        if may_detour(self.settings):
            return self.target_of(pod, identity)
        # sshd answers while asyncssh loads
        begun = HeadStart(address)
        try:
            target = self.target_of(pod, identity)
        except BaseException:
            begun.close()
            raise
        return replace(target, route=replace(target.route, head_start=begun))

    def hurry(self) -> "Access":
        """Return the way to a place that may be outdated: it is not waited for long."""
        seconds = min(_TRY_SECONDS, self.bounds.total_seconds / 2)
        return replace(self, bounds=replace(self.bounds, total_seconds=seconds))

    def spend(self, seconds: float) -> "Access":
        """Return the way to pods with less time left for connecting."""
        total = self.bounds.total_seconds
        left = max(total - seconds, total / 2)
        return replace(self, bounds=replace(self.bounds, total_seconds=left))

    def find_target(self, selector: str, identity: Path | None) -> PodTarget:
        """Return where to log in to a pod."""
        return self.target_of(self.client.resolve_pod(selector), identity)

    def target_of(self, pod: "Pod", identity: Path | None) -> PodTarget:
        """Return where to log in to a pod that is known."""
        from runpod_ssh.targets import target_of  # noqa: PLC0415  # start-up time

        target = target_of(
            self.client,
            pod,
            identity_file=identity,
            user=self.settings.user,
            route=self.find_route(),
        )
        return self._equip(target)

    def find_shell_target(self, selector: str, identity: Path | None) -> PodTarget:
        """Return where to get a shell on a pod: its sshd, else RunPod's proxy."""
        from runpod_ssh.targets import (  # noqa: PLC0415  # start-up time
            parse_proxy,
            resolve_shell_target,
        )

        target = resolve_shell_target(
            self.client,
            selector,
            identity_file=identity,
            user=self.settings.user,
            route=self.find_route(),
            proxy=parse_proxy(self.settings.proxy),
        )
        return self._equip(target)

    def find_route(self) -> Route:
        """Return the way to pods that settings and ~/.ssh/config name."""
        named = self.settings.ssh_config
        path = Path(named).expanduser()
        is_wanted = named not in {"", "none"} and path.exists()
        return Route(jump=self.settings.jump, ssh_config=(path,) if is_wanted else ())

    def connect(self, target: PodTarget) -> "AbstractAsyncContextManager[Connection]":
        """Connect to a pod; the boot log vouches for a key not known yet."""
        if self._is_pinned(target):
            from runpod_ssh.pods import connect_pod  # noqa: PLC0415  # asyncssh

            return connect_pod(
                target,
                host_keys=self.host_keys,
                policy=self.policy,
                bounds=self.bounds,
            )
        from runpod_ssh.boot_log import connect_vouched  # noqa: PLC0415  # asyncssh

        return connect_vouched(
            target,
            log=self.client.cloud,
            host_keys=self.host_keys,
            policy=self.policy,
            bounds=self.bounds,
        )

    def _is_pinned(self, target: PodTarget) -> bool:
        start = start_of(target.pod, target.address)
        return self.host_keys.find_for_start(target.pod.pod_id, start) is not None

    def _equip(self, target: PodTarget) -> PodTarget:
        """Offer the token's and the agent's keys too; jump hosts may need them."""
        from runpod_ssh.quick_start import load_transport  # noqa: PLC0415  # asyncssh

        load_transport(self.settings)
        own = target.credentials
        pin, provider = self.settings.pkcs11_pin, self.settings.pkcs11_provider
        credentials = replace(
            own,
            agent_path=self.agent_path,
            pkcs11_provider=Path(provider).expanduser() if provider else None,
            read_pkcs11_pin=lambda: str(pin) if pin else None,
        )
        return replace(target, credentials=credentials)


def open_access(
    session: Session, policy: str = "trust-on-first-use", timeout: float | None = None
) -> Access:
    """Return the way to pods that the settings and the flags of a command describe."""
    from runpod_client import open_client  # noqa: PLC0415  # loads requests

    settings = session.load(ClientSettings, "client")
    ssh = session.load(
        SSHSettings, "ssh", connect_timeout_seconds=timeout, **find_way()
    )
    chosen = HostKeyPolicy(policy)
    if chosen is HostKeyPolicy.OFF:
        click.secho(
            "Warning: the host key is not checked; anyone in between can read and "
            "change everything.",
            err=True,
            fg="red",
            bold=True,
        )
    account = f"{settings.api_url}\0{settings.api_key}"
    return Access(
        client=open_client(settings),
        host_keys=HostKeyStore(settings.state_dir / "host_keys"),
        policy=chosen,
        bounds=Bounds(total_seconds=ssh.connect_timeout_seconds),
        settings=ssh,
        agent_path=session.environ.get("SSH_AUTH_SOCK"),
        remembered=TargetCache(settings.state_dir / "ssh/targets", account=account),
    )


def parse_env(given: Sequence[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `--env` names, those without a value from here.

    Raises:
        ConfigError: There is no variable of a name here.
    """
    variables = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            if name not in environ:
                raise ConfigError(
                    f"--env {name}: there is no variable of that name here",
                    setting=name,
                    hint=f"Set it, or write --env {name}=VALUE.",
                )
            value = environ[name]
        variables[name] = value
    return variables


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; a signal cancels, so that everything opened is closed."""
    import asyncio  # noqa: PLC0415  # kept out of --help

    async def guarded() -> Result:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        caught: list[signal.Signals] = []

        def cancel(number: signal.Signals) -> None:
            caught.append(number)
            if task is not None:
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, cancel, number)
        try:
            return await work
        except asyncio.CancelledError:
            if caught:
                raise click.exceptions.Exit(128 + caught[0]) from None
            raise

    return asyncio.run(guarded())


def tell(session: Session, document: dict[str, Any], text: str) -> None:
    """Write a result; the text goes out as it is, for a wrapped command is broken."""
    if session.as_json:
        session.emit(document, lambda: text)
    else:
        click.echo(text)
