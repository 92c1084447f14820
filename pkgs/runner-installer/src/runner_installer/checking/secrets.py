"""Whether a workflow hands over the secrets it needs, and keeps them. Pure."""

import re
from collections.abc import Iterator

from runner_installer.checking.findings import Finding, Severity
from runner_installer.checking.knowledge import Knowledge
from runner_installer.checking.pod_calls import PodCall, Way
from runner_installer.checking.source import Place, Table, Text, walk_texts
from runner_installer.checking.workflow import Job, Workflow, walk_expressions
from runpod_client import render_nearest

# GitHub makes it for every run
BUILT_IN = "GITHUB_TOKEN"
# what the commands read when they are no inputs
API_KEY = ("RUNPOD_API_KEY", "RUNPOD_API_KEY_FILE", "RUNPOD_API_KEY_COMMAND")
TOKEN = ("GITHUB_TOKEN", "GITHUB_TOKEN_FILE", "GITHUB_APP_ID", "GITHUB_APP_CLIENT_ID")
_LITERALS = {
    "a RunPod API key": re.compile(r"\brpa_[A-Za-z0-9]{20,}"),
    "a GitHub token": re.compile(
        r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})"
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
# what somebody outside can write, and a shell would run
# https://docs.github.com/actions/concepts/security/script-injections
_FOREIGN = re.compile(
    r"github\.(?:event\.(?:issue|pull_request|comment|review|review_comment|discussion|"
    r"head_commit|commits|pages|workflow_run)\b.*"
    r"\.(?:title|body|message|page_name|head_branch|head\.ref|head\.label|"
    r"default_branch|author\.name|author\.email)|head_ref)$"
)


def check_secrets(
    workflow: Workflow, calls: tuple[PodCall, ...], knowledge: Knowledge
) -> Iterator[Finding]:
    """Yield secrets in the open, missing, unknown or of no use."""
    yield from _literals(workflow)
    yield from _unknown(workflow, knowledge)
    yield from _in_outputs(workflow)
    yield from _in_scripts(workflow)
    for call in calls:
        yield from _check_credentials(workflow, call)


def _literals(workflow: Workflow) -> Iterator[Finding]:
    for text in walk_texts(workflow.table):
        for what, pattern in _LITERALS.items():
            if pattern.search(text.value):
                yield Finding(
                    rule="secret-literal",
                    message=f"{what} stands in the file for everyone to read",
                    place=text.place,
                    hint="Revoke it, and put a new one into the repository's secrets.",
                )


def _unknown(workflow: Workflow, knowledge: Knowledge) -> Iterator[Finding]:
    known = _known_secrets(workflow, knowledge)
    if known is None:
        return
    for expression in walk_expressions(workflow.table):
        for reference in expression.references:
            if reference.context != "secrets" or not reference.parts:
                continue
            name = reference.parts[0]
            if name.upper() not in known and name.upper() != BUILT_IN:
                yield Finding(
                    rule="secret-unknown",
                    message=f"there is no secret {name}",
                    place=reference.place,
                    hint=render_nearest(name.upper(), sorted(known)),
                )


def _known_secrets(workflow: Workflow, knowledge: Knowledge) -> frozenset[str] | None:
    """Return the secrets there are; a called workflow has those it declares."""
    called = workflow.find_trigger("workflow_call")
    declared = called.find_table("secrets") if called else None
    others = [word for word in workflow.triggers if word.value != "workflow_call"]
    if declared is not None and not others:
        return frozenset(key.value.upper() for key in declared.names)
    if knowledge.secrets is None:
        return None
    found = {name.upper() for name in knowledge.secrets}
    found |= {key.value.upper() for key in declared.names} if declared else set()
    return frozenset(found)


def _in_outputs(workflow: Workflow) -> Iterator[Finding]:
    for job in workflow.jobs:
        outputs = job.table.find_table("outputs")
        for expression in walk_expressions(outputs) if outputs else ():
            if any(r.context == "secrets" for r in expression.references):
                yield Finding(
                    rule="secret-in-output",
                    message="GitHub drops an output that holds a secret",
                    place=expression.place,
                    hint="Read the secret in the job that needs it.",
                )


def _in_scripts(workflow: Workflow) -> Iterator[Finding]:
    for job in workflow.jobs:
        for step in job.steps:
            if step.run is None:
                continue
            for expression in walk_expressions(step.table):
                if not _stands_in(step.run, expression.body):
                    continue
                yield from _in_script(
                    expression.body,
                    [str(reference) for reference in expression.references],
                    expression.place,
                )


def _in_script(body: str, names: list[str], place: Place) -> Iterator[Finding]:
    if any(name.startswith("secrets.") for name in names):
        yield Finding(
            rule="secret-in-script",
            message=f"{body} becomes part of the script's text",
            place=place,
            hint="Give it to the step as env, and write $NAME in the script.",
            severity=Severity.WARNING,
        )
    if any(_FOREIGN.match(name) for name in names):
        yield Finding(
            rule="script-injection",
            message=f"whoever writes {body} has it run as a command",
            place=place,
            hint='Give it to the step as env, and write "$NAME" in the script.',
        )


def _stands_in(run: Text, body: str) -> bool:
    return re.search(r"\$\{\{\s*" + re.escape(body), run.value) is not None


def _check_credentials(workflow: Workflow, call: PodCall) -> Iterator[Finding]:
    """Yield a key or token that is missing, or is one that cannot do it."""
    yield from _useless_tokens(workflow, call)
    if call.way is Way.WORKFLOW:
        yield from _handed_over(call)
    if call.way is not Way.COMMAND:
        return
    env = _environment(workflow, call)
    if not any(name in env for name in API_KEY):
        yield _no_credential(call, "RunPod API key", "RUNPOD_API_KEY")
    if not any(name in env for name in TOKEN):
        yield _no_credential(call, "GitHub token", "GITHUB_TOKEN")


def _no_credential(call: PodCall, what: str, name: str) -> Finding:
    return Finding(
        rule="credential-missing",
        message=f"runner-installer {call.verb} is given no {what}",
        place=call.place,
        hint=f"Add to the step: env: {{ {name}: ${{{{ secrets.... }}}} }}.",
    )


def _handed_over(call: PodCall) -> Iterator[Finding]:
    secrets = call.job.table.get("secrets")
    if isinstance(secrets, Text) and secrets.value == "inherit":
        return
    given = (
        {key.value for key in secrets.names} if isinstance(secrets, Table) else set()
    )
    needed = call.action.secrets if call.action else {}
    for name in (name for name, is_needed in needed.items() if is_needed):
        if name not in given:
            yield Finding(
                rule="credential-missing",
                message=f"the called workflow is not given the secret {name}",
                place=call.place,
                hint="Add to the job: secrets: inherit, or each by its name.",
            )


def _useless_tokens(workflow: Workflow, call: PodCall) -> Iterator[Finding]:
    """Yield the run's own token, which may not register runners."""
    tables = [call.step.table if call.step else call.job.table]
    if call.way is Way.COMMAND:
        tables = list(_env_tables(workflow, call))
    for table in tables:
        for key, value in _token_values(table):
            names = {
                str(r)
                for e in walk_expressions(
                    Table(entries=((key, value),), place=value.place)
                )
                for r in e.references
            }
            if names & {"secrets.GITHUB_TOKEN", "github.token"}:
                yield Finding(
                    rule="token-useless",
                    message="the run's own GITHUB_TOKEN may not register runners",
                    place=value.place,
                    hint="Use a token or an App with Administration: write, kept as a "
                    "secret of another name.",
                )


def _token_values(table: Table) -> Iterator[tuple[Text, Text]]:
    for key, value in table.entries:
        is_token = key.value.lower().replace("_", "-") in {
            "github-token", "runner-token", "token",
        }  # fmt: skip
        if isinstance(value, Text) and is_token:
            yield key, value
        elif isinstance(value, Table):
            yield from _token_values(value)


def _env_tables(workflow: Workflow, call: PodCall) -> Iterator[Table]:
    owners = [call.step.table if call.step else None, call.job.table, workflow.table]
    for owner in owners:
        env = owner.find_table("env") if owner else None
        if env is not None:
            yield env


def _environment(workflow: Workflow, call: PodCall) -> set[str]:
    names = {key.value for env in _env_tables(workflow, call) for key in env.names}
    return names | _written_before(call.job, call)


def _written_before(job: Job, call: PodCall) -> set[str]:
    """Return the variables that a script sets itself, or for later steps."""
    found: set[str] = set()
    for step in job.steps:
        if step.run is not None:
            found |= set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", step.run.value))
        if step is call.step:
            break
    return found
