"""`runpod-client`: the command line over `RunPodClient`.

It asks before money is spent or data destroyed, and prints. Everything heavy is
imported by the command that needs it.
"""

import functools
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from runpod_client import console, errors
from runpod_client.config import ClientSettings
from runpod_client.console import Session
from runpod_client.model import CloudType, GPUType, Pod, PodSpec, PodStatus

if TYPE_CHECKING:
    from runpod_client.client import RunPodClient
    from runpod_client.offers import Offer

DEFAULT_IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
DEFAULT_TIMEOUT_SECONDS = 1200.0

_POD_ARGUMENT = click.argument("pod", metavar="POD")
_YES_OPTION = click.option("--yes", is_flag=True, help="Do not ask.")
_WAIT_OPTION = click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait for the result."
)
_TIMEOUT_OPTION = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TIMEOUT_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="Stop waiting after this long; the pod stays.",
)


class _USDPerHour(click.ParamType):
    """A positive price."""

    name = "USD"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        try:
            price = Decimal(value)
        except InvalidOperation:
            price = Decimal(0)
        if not price.is_finite() or price <= 0:
            self.fail(f"{value!r} is no price in USD", param, ctx)
        return price


def _examples(text: str) -> str:
    """Return an epilog that click does not wrap."""
    return f"\b\nExamples:\n{text}"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without an account: `runpod-sim serve`, and set the variables it prints.",
)
@click.version_option(package_name="runpod-client", prog_name="runpod-client")
def cli() -> None:
    """Rent, resume, stop and terminate RunPod pods, each exactly once.

    The API key is read from the file named by RUNPOD_API_KEY_FILE, or from
    RUNPOD_API_KEY. POD is a pod's id or its name.

    """


@cli.group()
def pods() -> None:
    """Rent pods and look after them."""


@cli.group()
def gpus() -> None:
    """See what can be rented."""


@cli.group()
def account() -> None:
    """See the account's money."""


def _with_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command a `Session` and a client."""

    @console.options()
    @functools.wraps(function)
    def wrapper(session: Session, /, *args: Any, **kwargs: Any) -> Any:
        from runpod_client.client import open_client  # noqa: PLC0415  # slow

        with open_client(session.load(ClientSettings, "client")) as client:
            return function(session, client, *args, **kwargs)

    return wrapper


@pods.command(
    "list",
    epilog=_examples(
        "  runpod-client pods list\n"
        "  runpod-client pods list --json | jq -r '.pods[].name'\n"
    ),
)
@_with_client
def list_pods(session: Session, client: "RunPodClient") -> None:
    """List all pods of the account."""
    from runpod_client import tables  # noqa: PLC0415  # slow

    found = client.list_pods()
    for pod in client.settle(found):
        session.note(
            f"Note: {pod.name!r} ({pod.pod_id}) was made by a create that was "
            "interrupted; it is rented."
        )
    document = {"pods": [tables.pod_document(p, client.identity_for(p)) for p in found]}
    session.emit(document, lambda: tables.pod_table(found))


@pods.command(
    "show",
    epilog=_examples(
        "  runpod-client pods show trainer\n"
        "  runpod-client pods show 50qynxzilsxoey --json\n"
    ),
)
@_POD_ARGUMENT
@_with_client
def show_pod(session: Session, client: "RunPodClient", pod: str) -> None:
    """Show one pod and the command that reaches it."""
    _emit_pod(session, client, client.resolve_pod(pod))


@pods.command(
    "create",
    epilog=_examples(
        '  runpod-client pods create --name trainer --gpu "RTX 4090"\n'
        '  runpod-client pods create --name big --gpu "H100 SXM" --gpu "H100 PCIe" \\\n'
        "      --gpu-count 2 --volume 100 --cloud secure --yes\n"
        '  runpod-client pods create --name cheap --gpu "RTX 3090" --bid 0.15\n'
    ),
)
@click.option("--name", required=True, help="The pod's name, unique among your pods.")
@click.option(
    "--gpu",
    "gpu_names",
    multiple=True,
    required=True,
    metavar="GPU",
    help="GPU type by id or display name; repeat it in order of preference.",
)
@click.option("--gpu-count", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--image", default=DEFAULT_IMAGE, show_default=True)
@click.option(
    "--cloud",
    "cloud_type",
    type=click.Choice([c.value for c in CloudType]),
    default=CloudType.ANY.value,
    show_default=True,
)
@click.option(
    "--disk",
    "container_disk_gb",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="GB",
    help="Container disk; lost at every stop.",
)
@click.option(
    "--volume",
    "volume_gb",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="GB",
    help="Volume at /workspace; kept, and billed, while the pod is stopped.",
)
@click.option(
    "--port",
    "port_texts",
    multiple=True,
    default=["22/tcp"],
    show_default=True,
    metavar="PORT",
    help="Port to expose, like 22/tcp or 8188/http; repeatable.",
)
@click.option(
    "--env", "env_rows", multiple=True, metavar="KEY=VALUE", help="Repeatable."
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of KEY=VALUE lines; keeps values out of the process list.",
)
@click.option("--data-center", "data_center_id", metavar="ID")
@click.option(
    "--bid",
    type=_USDPerHour(),
    help="Rent a spot pod at this bid per GPU-hour; it can be taken away.",
)
@click.option("--command", "start_command", help="Replaces the image's command.")
@click.option(
    "--allow-duplicate-name",
    is_flag=True,
    help="Rent it even if a live pod has that name.",
)
@_WAIT_OPTION
@_TIMEOUT_OPTION
@_YES_OPTION
@_with_client
def create_pod(
    session: Session,
    client: "RunPodClient",
    *,
    allow_duplicate_name: bool,
    wait: bool,
    timeout: float,
    yes: bool,
    **wanted: Any,
) -> None:
    """Rent a pod. It bills from the moment it is made.

    The price is shown and asked for first. With several --gpu the next one is tried
    where one is out of stock. An interrupted create can be repeated: it takes over
    what was made.
    """
    from runpod_client import offers  # noqa: PLC0415  # not needed by --help

    spec = _read_spec(**wanted)
    gpu_types = client.match_gpu_types(spec.gpu_types, gpu_count=spec.gpu_count)
    _confirm_price(session, spec, offers.make_offers(spec, gpu_types), yes=yes)
    with session.status("renting") as on_status:
        try:
            pod = client.create_pod(
                spec, allow_duplicate_name=allow_duplicate_name, on_status=on_status
            )
        except KeyboardInterrupt:
            session.note(
                f"{spec.name!r} may have been rented all the same, and then it bills."
                " See: runpod-client pods list"
            )
            raise
        # said before the waiting, which may be interrupted
        session.note(f"Rented {pod.name!r} ({pod.pod_id}); it bills from now on.")
        if wait:
            pod = _await_ready(
                client,
                pod,
                has_ssh="22/tcp" in spec.ports,
                timeout=timeout,
                on_status=on_status,
            )
    _emit_pod(session, client, pod)


@pods.command(
    "start",
    epilog=_examples(
        "  runpod-client pods start trainer\n"
        "  runpod-client pods start trainer --yes --no-wait\n"
    ),
)
@_POD_ARGUMENT
@click.option("--bid", type=_USDPerHour(), help="For spot pods: per GPU-hour.")
@_WAIT_OPTION
@_TIMEOUT_OPTION
@_YES_OPTION
@_with_client
def start_pod(
    session: Session,
    client: "RunPodClient",
    pod: str,
    *,
    bid: Decimal | None,
    wait: bool,
    timeout: float,
    yes: bool,
) -> None:
    """Start a stopped pod on the machine it was on. It bills again.

    Its public ports and host keys are new, its volume is as it was.
    """
    from runpod_client.offers import render_price  # noqa: PLC0415

    found = client.resolve_pod(pod)
    if found.status is PodStatus.STOPPED:
        price = _find_start_price(client, found, bid)
        question = f"Start {found.name!r} for {render_price(price)}?"
        session.confirm(question, yes=yes)
    elif found.status is not PodStatus.TERMINATED:
        session.note(f"{found.name!r} is {found.status.lower()} already.")
    with session.status(f"starting {found.name}") as on_status:
        started = client.start_pod(
            found.pod_id,
            wait=wait,
            timeout=timeout,
            bid_usd_per_gpu_hour=bid,
            on_status=on_status,
        )
    _emit_pod(session, client, started)


@pods.command("stop", epilog=_examples("  runpod-client pods stop trainer\n"))
@_POD_ARGUMENT
@_WAIT_OPTION
@_TIMEOUT_OPTION
@_with_client
def stop_pod(
    session: Session, client: "RunPodClient", pod: str, *, wait: bool, timeout: float
) -> None:
    """Stop a pod: its GPUs are released, its volume is kept and billed.

    What lies outside the volume (/workspace) is lost.
    """
    found = client.resolve_pod(pod)
    if found.status is PodStatus.STOPPED:
        session.note(f"{found.name!r} is stopped already.")
    with session.status(f"stopping {found.name}") as on_status:
        stopped = client.stop_pod(
            found.pod_id, wait=wait, timeout=timeout, on_status=on_status
        )
    _emit_pod(session, client, stopped)


@pods.command(
    "terminate",
    epilog=_examples(
        "  runpod-client pods terminate trainer\n"
        "  runpod-client pods terminate 50qynxzilsxoey --yes\n"
    ),
)
@_POD_ARGUMENT
@_YES_OPTION
@_with_client
def terminate_pod(
    session: Session, client: "RunPodClient", pod: str, *, yes: bool
) -> None:
    """Destroy a pod and all its disks. Billing ends."""
    from rich.text import Text  # noqa: PLC0415  # slow

    try:
        found = client.resolve_pod(pod)
    except errors.NotFoundError:
        if not client.was_rented_here(pod):
            raise
        pod_id, name = pod, pod
    else:
        pod_id, name = found.pod_id, found.name
        session.confirm(
            f"Terminate {name!r} ({pod_id}) and destroy its disks?", yes=yes
        )
    with session.status(f"terminating {name}"):
        did = client.terminate_pod(pod_id)
    outcome = "terminated" if did else "was gone already"
    session.emit(
        {"pod_id": pod_id, "name": name, "terminated": did},
        lambda: Text(f"{name} ({pod_id}) {outcome}"),
    )


@pods.command(
    "wait", epilog=_examples("  runpod-client pods wait trainer --timeout 600\n")
)
@_POD_ARGUMENT
@click.option(
    "--for",
    "goal",
    type=click.Choice(["running", "ssh"]),
    default="ssh",
    show_default=True,
    help="Its container runs, or port 22 has a public address as well.",
)
@_TIMEOUT_OPTION
@_with_client
def wait_for_pod(
    session: Session, client: "RunPodClient", pod: str, *, goal: str, timeout: float
) -> None:
    """Wait until a pod runs. A pod that stops meanwhile ends the waiting at once."""
    found = client.resolve_pod(pod)
    with session.status(f"waiting for {found.name}") as on_status:
        ready = _await_ready(
            client, found, has_ssh=goal == "ssh", timeout=timeout, on_status=on_status
        )
    _emit_pod(session, client, ready)


@gpus.command(
    "list",
    epilog=_examples(
        "  runpod-client gpus list\n"
        "  runpod-client gpus list --json | jq -r '.gpu_types[] | select(.stock)'\n"
    ),
)
@click.option(
    "--gpu-count",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Stock for pods of this many GPUs.",
)
@_with_client
def list_gpus(session: Session, client: "RunPodClient", *, gpu_count: int) -> None:
    """List GPU types with stock and today's prices per GPU-hour."""
    from runpod_client import tables  # noqa: PLC0415  # slow

    def price(gpu_type: GPUType) -> Decimal:
        return gpu_type.on_demand_usd_per_hour or Decimal("Infinity")

    found = sorted(client.list_gpu_types(gpu_count=gpu_count), key=price)
    session.emit(
        {"gpu_types": [tables.gpu_type_document(g) for g in found]},
        lambda: tables.gpu_type_table(found),
    )


@account.command("show", epilog=_examples("  runpod-client account show --json\n"))
@_with_client
def show_account(session: Session, client: "RunPodClient") -> None:
    """Show balance, spending and limit."""
    from runpod_client import tables  # noqa: PLC0415  # slow

    found = client.get_account()
    session.emit(tables.account_document(found), lambda: tables.account_page(found))


def _read_spec(
    *,
    gpu_names: tuple[str, ...],
    cloud_type: str,
    port_texts: tuple[str, ...],
    env_rows: tuple[str, ...],
    env_file: Path | None,
    bid: Decimal | None,
    **plain: Any,
) -> PodSpec:
    """Return the wanted pod as the options describe it."""
    from runpod_client import specs  # noqa: PLC0415  # not needed by --help

    env = {}
    if env_file is not None:
        try:
            text = env_file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise errors.ConfigError(
                f"cannot read {env_file}: {reason}", source="--env-file"
            ) from error
        env = specs.parse_env_file(text, source=str(env_file))
    spec = PodSpec(
        gpu_types=gpu_names,
        cloud_type=CloudType(cloud_type),
        ports=tuple(dict.fromkeys(specs.parse_port(text) for text in port_texts)),
        env=env | specs.parse_env(env_rows, source="--env"),
        bid_usd_per_gpu_hour=bid,
        **plain,
    )
    specs.check_spec(spec)
    return spec


def _confirm_price(
    session: Session, spec: PodSpec, made: "list[Offer]", *, yes: bool
) -> None:
    """Say what the pod would cost and have it agreed to.

    Raises:
        NoCapacityError: RunPod offers none of the GPU types there.
        ConfirmationRequiredError: It was not agreed to.
    """
    from runpod_client import offers  # noqa: PLC0415  # not needed by --help

    for offer in made:
        low = "; the bid is below the minimum" * offer.is_below_minimum_bid
        price = offers.render_price(offer.price_usd_per_hour)
        session.note(f"{offer.gpu_type.display_name} x {offer.gpu_count}: {price}{low}")
    prices = [o.price_usd_per_hour for o in made if o.price_usd_per_hour is not None]
    if not prices:
        raise errors.NoCapacityError(
            f"RunPod offers none of these in the {spec.cloud_type} cloud now",
            gpu_type=spec.gpu_types[0],
            hint="Use --cloud any, or see `runpod-client gpus list`.",
        )
    disks = offers.render_usd(offers.disk_usd_per_hour(spec))
    most = "at most " * (len(prices) > 1 or spec.cloud_type is CloudType.ANY)
    session.confirm(
        f"Rent {spec.name!r} for {most}{offers.render_price(max(prices))} "
        f"and about ${disks}/hour for its disks?",
        yes=yes,
    )


def _find_start_price(
    client: "RunPodClient", pod: Pod, bid: Decimal | None
) -> Decimal | None:
    """Return what a stopped pod will bill once it runs, None if nobody says."""
    from runpod_client.offers import price_per_gpu  # noqa: PLC0415

    if pod.is_spot and bid is not None:
        return bid * pod.gpu_count
    if pod.price_usd_per_hour:
        return pod.price_usd_per_hour
    for gpu_type in client.list_gpu_types():
        if pod.gpu_type in {gpu_type.gpu_type, gpu_type.display_name}:
            price = price_per_gpu(gpu_type, pod.cloud_type or CloudType.ANY)
            return None if price is None else price * pod.gpu_count
    return None


def _await_ready(
    client: "RunPodClient",
    pod: Pod,
    *,
    has_ssh: bool,
    timeout: float,
    on_status: Callable[[str], None],
) -> Pod:
    """Wait for a pod; an error names the pod, since it bills whatever happened."""
    wait = client.wait_until_ssh_address if has_ssh else client.wait_until_running
    try:
        return wait(pod.pod_id, timeout=timeout, on_status=on_status)
    except errors.DeadlineError as error:
        error.hint = (
            f"The pod bills. Keep waiting: runpod-client pods wait {pod.pod_id}; "
            f"or end it: runpod-client pods terminate {pod.pod_id}"
        )
        raise


def _emit_pod(session: Session, client: "RunPodClient", pod: Pod) -> None:
    from runpod_client import tables  # noqa: PLC0415  # slow

    identity = client.identity_for(pod)
    session.emit(
        tables.pod_document(pod, identity), lambda: tables.pod_page(pod, identity)
    )


def main() -> NoReturn:
    """Run the command line."""
    console.run(cli, "runpod-client")
