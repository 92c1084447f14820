"""What the command lines of all tools share: options, the output sink, the boundary.

Results go to stdout (tables for people, `--json` for programs), everything else to
stderr. This is the one place where an `Error` becomes a sentence and an exit status.
"""

import contextlib
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar

import click

from runpod_client import config, errors

if TYPE_CHECKING:
    from rich.console import RenderableType

Params = ParamSpec("Params")
SettingsT = TypeVar("SettingsT")

EXIT_BUG = 70
EXIT_INTERRUPTED = 130

# The exit status of every error, by the most specific class named here.
EXIT_CODES: Mapping[type[errors.Error], int] = {
    errors.Error: 1,
    errors.ConfigError: 2,
    errors.AmbiguousPodError: 2,
    errors.ConfirmationRequiredError: 2,
    errors.APIError: 1,
    errors.AuthenticationError: 3,
    errors.NotFoundError: 4,
    errors.RejectedError: 1,
    errors.NoCapacityError: 5,
    errors.RateLimitedError: 5,
    errors.InsufficientBalanceError: 5,
    errors.CapabilityRetiredError: 1,
    errors.UnavailableError: 7,
    errors.ProtocolError: 1,
    errors.TransportError: 7,
    errors.UnsettledCreateError: 7,
    errors.DeadlineError: 6,
}


def exit_code(
    error: errors.Error, table: Mapping[type[errors.Error], int] = EXIT_CODES
) -> int:
    """Return the exit status that belongs to an error."""
    return exit_code_of(type(error), table)


def exit_code_of(
    kind: type[errors.Error], table: Mapping[type[errors.Error], int] = EXIT_CODES
) -> int:
    """Return the exit status of a kind of error: its nearest ancestor in the table."""
    return next(table[k] for k in kind.__mro__ if k in table)


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run of a command: its output, its settings, its way to ask."""

    as_json: bool
    config_file: Path | None
    environ: Mapping[str, str]
    is_interactive: bool

    def load(
        self,
        settings_type: type[SettingsT],
        section: str,
        **flags: Any,
    ) -> SettingsT:
        """Load settings for this run; flags that are None count as not given."""
        return config.load(
            settings_type,
            section=section,
            environ=self.environ,
            config_file=self.config_file,
            flags=flags,
        ).settings

    def emit(self, document: Any, render: Callable[[], "RenderableType"]) -> None:
        """Write a command's result: JSON for programs, `render()` for people."""
        if self.as_json:
            click.echo(render_json(document))
            return
        from rich.console import Console  # noqa: PLC0415  # kept out of start-up

        # a pipe has no width: let rows be as long as they are
        width = None if sys.stdout.isatty() else 10_000
        Console(width=width, highlight=False, soft_wrap=width is not None).print(
            render()
        )

    def note(self, text: str) -> None:
        """Tell the person at the terminal something that is not the result."""
        click.echo(text, err=True)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is spent or destroyed.

        Raises:
            ConfirmationRequiredError: The answer was no, or nobody is there to ask.
        """
        if yes:
            return
        if not self.is_interactive:
            raise errors.ConfirmationRequiredError(
                f"not confirmed: {question}",
                hint="Nobody is at a terminal to answer; repeat with --yes to agree.",
            )
        if not click.confirm(question, err=True):
            raise errors.ConfirmationRequiredError("not done: you answered no")

    @contextlib.contextmanager
    def status(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show a spinner with a changing text on stderr while something takes long."""
        if self.as_json or not sys.stderr.isatty():
            yield lambda _text: None
            return
        from rich.console import Console  # noqa: PLC0415  # kept out of start-up

        with Console(stderr=True).status(text) as spinner:
            yield spinner.update


def render_json(document: Any) -> str:
    """Return JSON with money as exact numbers in text and times in RFC 3339."""

    def plain(value: Any) -> Any:
        if isinstance(value, Decimal):
            return str(value)
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if isinstance(value, Path):
            return str(value)
        raise TypeError(f"cannot write {type(value).__name__} as JSON")

    return json.dumps(document, indent=2, default=plain)


def options(
    *, codes: Mapping[type[errors.Error], int] = EXIT_CODES, log_level: str = "warning"
) -> Callable[[Callable[Concatenate[Session, Params], Any]], Callable[..., Any]]:
    """Give a command `--json`, `--config`, the log options and the error boundary.

    The decorated function gets a `Session` as its first argument. Its return value,
    when it is an int, is the exit status.

    Args:
        codes: The exit statuses of the errors this command can meet.
        log_level: The level when none is asked for.
    """

    def decorate(function: Callable[Concatenate[Session, Params], Any]) -> Any:
        @click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
        @click.option(
            "--config",
            "config_file",
            type=click.Path(path_type=Path),
            help="Read settings from this TOML file.",
        )
        @click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            envvar="RUNPOD_LOG_LEVEL",
            default=log_level,
            show_default=True,
            help="How much to log on stderr.",
        )
        @click.option(
            "--log-format",
            type=click.Choice(["auto", "console", "json"]),
            envvar="RUNPOD_LOG_FORMAT",
            default="auto",
            help="Logs for people or for programs; auto asks the terminal.",
        )
        @functools.wraps(function)
        def wrapper(
            *args: Any,
            as_json: bool,
            config_file: Path | None,
            log_level: str,
            log_format: str,
            **kwargs: Any,
        ) -> Any:
            session = Session(
                as_json=as_json,
                config_file=config_file,
                environ=os.environ,
                is_interactive=sys.stdin.isatty(),
            )
            from runpod_client import logs  # noqa: PLC0415  # kept out of --help

            logs.configure(level=log_level, format_name=log_format)
            try:
                return function(session, *args, **kwargs)
            except BrokenPipeError:
                # the reader of our stdout has gone (`| head`): nobody is left to
                # tell; caught here, since click would call it a failure
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(0)
            except errors.Error as error:
                _fail(error, session, exit_code(error, codes))

        return wrapper

    return decorate


def _fail(error: errors.Error, session: Session, code: int) -> NoReturn:
    """Say what failed and what to do next, and leave with the error's status."""
    from runpod_client import logs  # noqa: PLC0415  # kept out of start-up

    message, hint = logs.scrub(error.message), logs.scrub(error.hint)
    if session.as_json:
        problem = {"error": type(error).__name__, "message": message, "hint": hint}
        click.echo(render_json(problem), err=True)
    else:
        click.secho("Error: ", err=True, fg="red", bold=True, nl=False)
        click.echo(message, err=True)
        if hint:
            click.echo(f"  {hint}", err=True)
    sys.exit(code)


def run(command: click.Command, program: str) -> NoReturn:
    """Run a command line to its end; every way out of the process passes here."""
    try:
        # argparse-like behaviour of click without its own sys.exit and tracebacks
        result = command.main(prog_name=program, standalone_mode=False)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001  # the boundary: a bug is shown with its traceback
        traceback.print_exc()
        click.echo(
            f"{program}: this is a bug in {program}; please report it.", err=True
        )
        sys.exit(EXIT_BUG)
    sys.exit(result if isinstance(result, int) else 0)
