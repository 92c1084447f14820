"""Reading a runner's console: the only witness of what its process is doing.

run.sh ends with status 0 whatever happened, so its status is never asked. Pure.
"""

import re
from dataclasses import replace

from runner_installer.model import ConsoleReport, ConsoleState

# Extended regular expressions that `re` and `grep -E` read alike: the supervisor on the
# pod judges by the same lines.
BUSY_PATTERN = ": Running job: "
FINISHED_PATTERN = ": Job .* completed with result: "
# another start cannot help
HOPELESS_PATTERN = (
    "Must not run with sudo"
    "|Must not run interactively with sudo"
    "|registration has been deleted from the server"
    "|The runner no longer exists on the server"
    "|is deprecated and cannot receive messages"
    "|^An error occurred: "
    "|^Not configured"
    "|The JIT config is not valid"
    "|Libicu's dependencies is missing"
    "|Couldn't find a valid ICU package"
)
# another listener held this runner; its session at GitHub lapses with time
CONFLICT_PATTERN = "A session for this runner already exists"

_LISTENING = re.compile(r"^[\d:Z -]{15,}: Listening for Jobs")
_RUNNING = re.compile(r"^[\d:Z -]{15,}: Running job: (?P<job>.*)$")
_COMPLETED = re.compile(
    r"^[\d:Z -]{15,}: Job (?P<job>.*) completed with result: (?P<result>\w+)"
)
_RETRYING = re.compile(r"Runner connect error: .* Retrying until reconnected")
# A one-job runner never needs a second start: a restart is a runner that cannot work.
_DEAD = re.compile(rf"{HOPELESS_PATTERN}|{CONFLICT_PATTERN}|^Restarting runner\.\.\.")
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
