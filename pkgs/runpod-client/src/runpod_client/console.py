"""What the command lines of all tools share: options, the output sink, the boundary.

Results go to stdout (tables for people, `--json` for programs), everything else to
stderr. This is the one place where an `Error` becomes a sentence and an exit status.
It is on the way of every `--help`, so it imports click and little else.
"""

import atexit
import contextlib
import errno
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, TypeVar

import click

from runpod_client import errors

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from runpod_client.sheets import Lines, Page, Sheet

    Renderable = RenderableType | Sheet | Page | Lines

Params = ParamSpec("Params")
SettingsT = TypeVar("SettingsT")

EXIT_BUG = 70
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
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
    errors.CapabilityMissingError: 1,
    errors.CapabilityRetiredError: 1,
    errors.UnavailableError: 7,
    errors.CircuitOpenError: 7,
    errors.ProtocolError: 1,
    errors.TransportError: 7,
    errors.HookError: 1,
    errors.LeaseError: 2,
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


class Session:
    """One run of a command: its output, its settings, its way to ask.

    Attributes:
        output: How results are written: table, json or name.
        profile: The environment's layer of settings that was asked for; None for
            what the configuration says.
    """

    def __init__(
        self,
        *,
        output: str,
        config_file: "Path | None",
        profile: str | None,
        environ: Mapping[str, str],
        is_interactive: bool,
    ) -> None:
        self.output = output
        self.config_file = config_file
        self.profile = profile
        self.environ = environ
        self.is_interactive = is_interactive
        self._loaded: dict[tuple[Any, ...], Any] = {}
        self._say: Callable[[str], None] = functools.partial(click.echo, err=True)

    @property
    def as_json(self) -> bool:
        """Return whether a program reads the result."""
        return self.output == "json"

    def load(
        self,
        settings_type: type[SettingsT],
        section: str,
        **flags: Any,
    ) -> SettingsT:
        """Load settings for this run; flags that are None count as not given.

        Loaded once, since a secret may come from a command that is slow or that asks.
        """
        from runpod_client import config  # noqa: PLC0415  # kept out of --help

        key = (settings_type, section, tuple(flags.items()))
        if key not in self._loaded:
            self._loaded[key] = config.load(
                settings_type,
                section=section,
                environ=self.environ,
                config_file=self.config_file,
                flags=flags,
                profile=self.profile,
            ).settings
        found: SettingsT = self._loaded[key]
        return found

    def emit(
        self,
        document: Any,
        render: "Callable[[], Renderable]",
        *,
        names: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """Write a command's result.

        Args:
            document: For programs (`-o json`).
            render: For people (`-o table`).
            names: For the next command in a pipe (`-o name`), a line each; None where
                the result names nothing.
        """
        if self.output == "json":
            click.echo(render_json(document))
        elif self.output == "name":
            if names is None:
                raise click.UsageError("this command's result has no names: -o name")
            for name in names():
                click.echo(name)
        else:
            show(render())

    def note(self, text: str) -> None:
        """Tell the person at the terminal something that is not the result."""
        self._say(text)

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
        """Show on stderr what takes long: a spinner, the phase, the time it has taken.

        Without a terminal each new phase is a line.
        """
        if not sys.stderr.isatty():
            if self.as_json:
                yield lambda _phase: None
                return
            yield functools.partial(_say_phase, text, [""])
            return
        from rich import console, progress  # noqa: PLC0415  # kept out of start-up

        with progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.TimeElapsedColumn(),
            console=console.Console(stderr=True),
            transient=True,
        ) as shown:
            task = shown.add_task(text, total=None)
            # what is said meanwhile goes above the spinner, not into it
            usual, self._say = (
                self._say,
                functools.partial(
                    shown.console.print, markup=False, highlight=False, soft_wrap=True
                ),
            )
            try:
                yield lambda phase: shown.update(task, description=f"{text}: {phase}")
            finally:
                self._say = usual


def _say_phase(text: str, last: list[str], phase: str) -> None:
    """Write a line where something new is waited for; a log is not to be flooded."""
    stage = "".join(letter for letter in phase if not letter.isdigit())
    if stage != last[0]:
        last[0] = stage
        click.echo(f"{text}: {phase}", err=True)


def show(result: "Renderable") -> None:
    """Write a result for people on stdout."""
    plain = getattr(result, "render_plain", None)
    if plain is not None and not sys.stdout.isatty():
        click.echo(plain())
        return
    from rich.console import Console  # noqa: PLC0415  # kept out of start-up

    # a pipe has no width: let rows be as long as they are
    width = None if sys.stdout.isatty() else 10_000
    drawn = getattr(result, "render_rich", lambda: result)()
    Console(width=width, highlight=False, soft_wrap=width is not None).print(drawn)


def render_json(document: Any) -> str:
    """Return JSON with money as exact numbers in text and times in RFC 3339."""
    import json  # noqa: PLC0415  # kept out of --help
    from decimal import Decimal  # noqa: PLC0415
    from pathlib import Path  # noqa: PLC0415

    def plain(value: Any) -> Any:
        if isinstance(value, Decimal | Path):
            return str(value)
        if hasattr(value, "isoformat"):
            return value.isoformat()
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
        @click.option(
            "--json",
            "output",
            flag_value="json",
            help="Print JSON on stdout; the same as -o json.",
        )
        @click.option(
            "-o",
            "--output",
            "output",
            type=click.Choice(["table", "json", "name"]),
            default="table",
            show_default=True,
            help="For people, for programs, or names alone for the next command.",
        )
        @click.option(
            "--config",
            "config_file",
            type=click.Path(),
            help="Read settings from this TOML file.",
        )
        @click.option(
            "--profile",
            metavar="NAME",
            help="Layer of the settings to use, like staging: [profiles.NAME]. "
            "Default: RUNPOD_PROFILE.",
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
            output: str,
            config_file: str | None,
            profile: str | None,
            log_level: str,
            log_format: str,
            **kwargs: Any,
        ) -> Any:
            from pathlib import Path  # noqa: PLC0415  # kept out of --help

            session = Session(
                output=output,
                config_file=Path(config_file) if config_file else None,
                profile=profile,
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


def _find_help_width() -> int:
    """Return the width of help texts, as click finds it, without loading shutil."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 0
    return max(min(columns or 80, 80) - 2, 50)


def run(command: click.Command, program: str) -> NoReturn:
    """Run a command line to its end; every way out of the process passes here."""
    _leave(_run(command, program))


def _run(command: click.Command, program: str) -> int:
    """Run a command line and return its exit status."""
    try:
        # argparse-like behaviour of click without its own sys.exit and tracebacks
        result = command.main(
            prog_name=program,
            standalone_mode=False,
            terminal_width=_find_help_width(),
        )
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except Exception as error:  # noqa: BLE001  # the boundary
        return _say_unexpected(error, program)
    return result if isinstance(result, int) else 0


def _say_unexpected(error: Exception, program: str) -> int:
    """Show a bug with its traceback; a full disk is none. Return the status."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return _say_full(error)
    import traceback  # noqa: PLC0415  # kept out of start-up

    traceback.print_exception(error)
    click.echo(f"{program}: this is a bug in {program}; please report it.", err=True)
    return EXIT_BUG


def _say_full(error: OSError) -> int:
    """Tell that the result, or something beside it, did not fit; return the status."""
    where = f" {error.filename}" if error.filename else " the result"
    click.secho("Error: ", err=True, fg="red", bold=True, nl=False)
    click.echo(f"cannot write{where}: {error.strerror}", err=True)
    click.echo("  What was done is done; make room and look again.", err=True)
    return 1


def _leave(code: int) -> NoReturn:
    """End the process, without taking the interpreter apart where that is all there is.

    Freeing every module one by one takes a fifth of a short command's time, and helps
    nobody: exit handlers have run, and the system takes the rest back at once.
    """
    if threading.active_count() > 1:
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001  # there is no public way to run them early
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            pass  # a reader that has gone away is nobody to tell
        except OSError as error:
            code = code or _say_full(error)
        except ValueError:
            pass  # somebody closed it
    os._exit(code)
