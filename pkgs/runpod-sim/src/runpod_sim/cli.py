"""The command `runpod-sim`: serve, fault, clock.

It parses, prints and exits; everything else is imported only when a command needs it,
so that --help costs what click costs.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from socket import socket

    from runpod_sim.app import SimConfig

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")
UNIT_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
CALL_SECONDS = 30
# Made up, and of the form the real ones have.
EXAMPLE_RUNPOD_KEY = "rpa_SIM0000000000000000000000000000LOCAL"
EXAMPLE_GITHUB_TOKEN = "ghp_SIM00000000000000000000000000000LOCAL"  # noqa: S105 - made up


class Failure(click.ClickException):
    """A failure in one sentence; the exit code is 1."""

    def show(self, file: Any = None) -> None:
        """Print the sentence."""
        click.echo(f"runpod-sim: {self.message}", err=True, file=file)


class Duration(click.ParamType):
    """A number of seconds, or one with a unit: 90, 15m, 1h, 30d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the duration in seconds."""
        found = DURATION.fullmatch(str(value))
        if found is None:
            self.fail(
                f"{value!r} is no duration such as 90, 15m, 1h or 30d", param, ctx
            )
        return float(found[1]) * UNIT_SECONDS[found[2]]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runpod-sim", prog_name="runpod-sim")
def main() -> None:
    """Run a RunPod and a GitHub on this machine, without an account.

    \b
    Example:
      runpod-sim serve --port 8000 > sim.env &
      . ./sim.env
      runpod-sim fault add no_capacity --times 2
      runpod-sim clock advance 1h
    """  # noqa: D301 - click wants the character


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address.")
@click.option("--port", default=0, show_default=True, help="Port; 0 for a free one.")
@click.option("--allow-remote", is_flag=True, help="Allow a --host beyond loopback.")
@click.option("--seed", type=int, help="Make ids and stock reproducible.")
@click.option(
    "--ssh",
    type=click.Choice(["auto", "openssh", "asyncssh"]),
    default="auto",
    show_default=True,
    help="What serves SSH in pods; auto takes sshd where there is one.",
)
@click.option(
    "--pull-seconds",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="How long an image pull takes.",
)
@click.option(
    "--ports-seconds",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="How long after that ports are mapped.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where pods live; a temporary directory unless given.",
)
@click.option("--require-key", help="The one API key to accept.")
@click.option("--retire-graphql", is_flag=True, help="GraphQL answers 410 alone.")
@click.option(
    "--quota-per-minute",
    type=click.IntRange(1),
    help="Refuse REST v2 requests beyond that many per key.",
)
@click.option("--no-introspection", is_flag=True, help="As in production.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, not exports.")
@click.option(
    "--log-format", type=click.Choice(["auto", "console", "json"]), default="auto"
)
def serve(**options: Any) -> None:
    """Serve until Ctrl-C; print the variables that point tools here.

    Any key of the form rpa_... is an account of its own with $100.

    \b
    Example:
      runpod-sim serve --port 8000
    """  # noqa: D301 - click wants the character
    from runpod_sim.app import build_app  # noqa: PLC0415 - lazy, see the module
    from runpod_sim.logs import set_up_logs  # noqa: PLC0415 - lazy
    from runpod_sim.openssh import OpenSSHUnusableError  # noqa: PLC0415 - lazy
    from runpod_sim.server import (  # noqa: PLC0415 - lazy
        base_url_of,
        open_socket,
        state_directory,
    )
    from runpod_sim.server import serve as run_server  # noqa: PLC0415 - lazy

    set_up_logs(options["log_format"])
    host, port = options["host"], options["port"]
    if host not in LOOPBACK and not options["allow_remote"]:
        raise Failure(f"--host {host} lets others in; say --allow-remote if so wanted")
    try:
        opened = open_socket(host, port)
    except OSError as error:
        raise Failure(
            f"cannot listen on {host} port {port}: {error.strerror}"
        ) from error
    base_url = base_url_of(opened)
    with (
        opened,
        open_socket("127.0.0.1", 0) as proxy,
        state_directory(options["state_dir"]) as state_dir,
    ):
        config = make_config(options, base_url, state_dir, proxy)
        variables = environment(base_url, options["require_key"])
        variables["RUNPOD_SSH_PROXY"] = "127.0.0.1:{1}".format(*proxy.getsockname())
        try:
            app = build_app(config)
        except OpenSSHUnusableError as error:
            raise Failure(str(error)) from error
        code = run_server(
            app, opened, lambda: announce(variables, as_json=options["as_json"])
        )
    sys.exit(code)


def make_config(
    options: Mapping[str, Any], base_url: str, state_dir: Path, proxy: "socket"
) -> "SimConfig":
    """Return what the simulator is built from."""
    import secrets  # noqa: PLC0415 - lazy

    from runpod_sim.app import SimConfig  # noqa: PLC0415 - lazy
    from runpod_sim.estate import WorldSettings  # noqa: PLC0415 - lazy

    return SimConfig(
        base_url=base_url,
        state_dir=state_dir,
        seed=secrets.randbits(32) if options["seed"] is None else options["seed"],
        ssh=options["ssh"],
        required_key=options["require_key"],
        introspection=not options["no_introspection"],
        retire_graphql=options["retire_graphql"],
        quota_per_minute=options["quota_per_minute"],
        proxy_socket=proxy,
        settings=WorldSettings(
            pull_seconds=options["pull_seconds"],
            ports_seconds=options["ports_seconds"],
        ),
    )


def environment(base_url: str, required_key: str | None) -> dict[str, str]:
    """Return the variables that point the tools at the simulator."""
    return {
        "RUNPOD_API_BASE_URL": base_url,
        "RUNPOD_API_KEY": required_key or EXAMPLE_RUNPOD_KEY,
        "RUNPOD_GRAPHQL_URL": f"{base_url}/graphql",
        "RUNPOD_REST_V2_API_URL": f"{base_url}/v2",
        "GITHUB_API_URL": f"{base_url}/api/v3",
        "GITHUB_SERVER_URL": base_url,
        "GITHUB_TOKEN": EXAMPLE_GITHUB_TOKEN,
    }


def announce(variables: dict[str, str], *, as_json: bool) -> None:
    """Print the variables on standard output."""
    import shlex  # noqa: PLC0415 - lazy

    if as_json:
        click.echo(json.dumps(variables))
    else:
        for name, value in variables.items():
            click.echo(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()


url_option = click.option(
    "--url",
    envvar="RUNPOD_API_BASE_URL",
    required=True,
    show_envvar=True,
    help="Where the simulator serves.",
)


def call(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Call a running simulator and return its JSON answer.

    Raises:
        Failure: It does not answer, or declines.
    """
    import http.client  # noqa: PLC0415 - lazy
    from urllib.parse import urlsplit  # noqa: PLC0415 - lazy

    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise Failure(f"{url} is no address of a simulator, http://127.0.0.1:PORT is")
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port or 80, timeout=CALL_SECONDS
    )
    try:
        connection.request(
            method,
            path,
            None if body is None else json.dumps(body),
            {"User-Agent": "runpod-sim", "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failure(f"no simulator answers at {url}: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        detail = answer.get("error") if isinstance(answer, dict) else None
        raise Failure(detail or f"{url} declined with status {response.status}")
    return answer


@main.group()
def fault() -> None:
    """Make things go wrong in a running simulator.

    \b
    Example:
      runpod-sim fault add no_capacity --times 3
      runpod-sim fault add lost_answer --operation deploy
      runpod-sim fault add rate_limited --probability 0.2 --seed 7
      runpod-sim fault clear
    """  # noqa: D301 - click wants the character


@fault.command("add")
@click.argument("kind")
@click.option("--operation", help="deploy, resume, list, podStop, createPod, ...")
@click.option("--times", type=int, help="How often; once unless given.")
@click.option("--probability", type=float, help="Of striking each time.")
@click.option("--seed", type=int, help="Decides when a probable fault strikes.")
@click.option("--seconds", type=float, help="Duration, for kinds that have one.")
@click.option("--pod", "pod_id", help="For kinds that strike at once: this pod alone.")
@click.option("--wire", help="graphql or rest; both unless given.")
@url_option
def add_fault(url: str, **options: Any) -> None:
    """Set a fault of a KIND and print it."""
    body = {name: value for name, value in options.items() if value is not None}
    click.echo(json.dumps(call(url, "POST", "/_sim/faults", body)))


@fault.command("list")
@url_option
def list_faults(url: str) -> None:
    """Print the faults that can still strike, one JSON object a line."""
    for row in call(url, "GET", "/_sim/faults")["faults"]:
        click.echo(json.dumps(row))


@fault.command("clear")
@click.argument("fault_id", type=int, required=False)
@url_option
def clear_faults(url: str, fault_id: int | None) -> None:
    """Remove one fault, or all."""
    path = "/_sim/faults" if fault_id is None else f"/_sim/faults/{fault_id}"
    click.echo(json.dumps(call(url, "DELETE", path)))


@main.group()
def clock() -> None:
    """Read or wind the simulated clock.

    \b
    Example:
      runpod-sim clock advance 30d
    """  # noqa: D301 - click wants the character


@clock.command("advance")
@click.argument("duration", type=Duration())
@url_option
def advance_clock(url: str, duration: float) -> None:
    """Wind the clock forward by a DURATION such as 90, 15m, 1h or 30d."""
    answer = call(url, "POST", "/_sim/clock", {"advance_seconds": duration})
    click.echo(answer["now"])


@clock.command("show")
@url_option
def show_clock(url: str) -> None:
    """Print the simulated time."""
    click.echo(call(url, "GET", "/_sim/clock")["now"])
