"""Reading a runner's console: the only witness of what its process is doing.

run.sh ends with status 0 whatever happened, so its status is never asked. Pure.
"""

import re
from dataclasses import replace

from runner_installer.model import ConsoleReport, ConsoleState

_LISTENING = re.compile(r"^[\d:Z -]{15,}: Listening for Jobs")
_RUNNING = re.compile(r"^[\d:Z -]{15,}: Running job: (?P<job>.*)$")
_COMPLETED = re.compile(
    r"^[\d:Z -]{15,}: Job (?P<job>.*) completed with result: (?P<result>\w+)"
)
_RETRYING = re.compile(r"Runner connect error: .* Retrying until reconnected")
# A one-job runner never needs a second start: a restart is a runner that cannot work.
_DEAD = re.compile(
    r"Must not run (?:interactively )?with sudo"
    r"|registration has been deleted from the server"
    r"|The runner no longer exists on the server"
    r"|is deprecated and cannot receive messages"
    r"|A session for this runner already exists"
    r"|^An error occurred: "
    r"|^Restarting runner\.\.\."
    r"|^Not configured"
    r"|Libicu's dependencies is missing|Couldn't find a valid ICU package"
)
_RECONNECTED = re.compile(r"Runner reconnected")
_REMOVED = "√ Removed .runner"
_EXITING = re.compile(r"^Exiting(?: runner)?\.\.\.$")


def parse_console(text: str) -> ConsoleReport:
    """Return the state the last telling line of a console leaves a runner in.

    A tail of the log is enough: lines before the last telling one change nothing
    but the job's name.
    """
    report = ConsoleReport(state=ConsoleState.STARTING)
    for line in text.splitlines():
        report = _after(report, line.strip())
    return report


def _after(  # noqa: PLR0911  # a table of lines, one row each
    report: ConsoleReport, line: str
) -> ConsoleReport:
    """Return the report once `line` has been read."""
    if match := _COMPLETED.match(line):
        return ConsoleReport(
            state=ConsoleState.FINISHED, job=match["job"], result=match["result"]
        )
    if match := _RUNNING.match(line):
        return ConsoleReport(state=ConsoleState.BUSY, job=match["job"])
    if report.result:
        return report  # one job is all there is; what follows is tidying up
    if _LISTENING.match(line):
        return ConsoleReport(state=ConsoleState.LISTENING)
    if _DEAD.search(line):
        return ConsoleReport(state=ConsoleState.DEAD, job=report.job, reason=line)
    if report.state is ConsoleState.DEAD:
        return report
    if _EXITING.match(line) or line.startswith(_REMOVED):
        reason = "it was told to stop before it had a job"
        if report.state is ConsoleState.BUSY:
            reason = "it was told to stop in the middle of its job"
        return ConsoleReport(state=ConsoleState.DEAD, job=report.job, reason=reason)
    if _RETRYING.search(line):
        return replace(report, reason=line)
    if _RECONNECTED.search(line):
        return replace(report, reason="")
    return report
