"""All rules over one workflow. Pure."""

from runner_installer.checking.findings import Finding
from runner_installer.checking.knowledge import Knowledge
from runner_installer.checking.pod_calls import find_calls
from runner_installer.checking.references import check_references
from runner_installer.checking.runners import check_runners
from runner_installer.checking.secrets import check_secrets
from runner_installer.checking.shape import check_shape
from runner_installer.checking.sizes import check_sizes
from runner_installer.checking.source import Place, SourceError, Table, parse_source
from runner_installer.checking.workflow import parse_workflow


def check_text(text: str, knowledge: Knowledge) -> tuple[Finding, ...]:
    """Return every mistake in a workflow's text, in its order."""
    try:
        tree = parse_source(text)
    except SourceError as error:
        return (Finding(rule="syntax", message=error.message, place=error.place),)
    if not isinstance(tree, Table):
        message = "a workflow is a mapping with the keys on and jobs"
        return (Finding(rule="syntax", message=message, place=Place(1, 1)),)
    workflow = parse_workflow(tree)
    calls = find_calls(workflow, knowledge)
    found = {
        *check_shape(workflow),
        *check_references(workflow, calls),
        *check_runners(workflow, calls, knowledge),
        *check_secrets(workflow, calls, knowledge),
        *check_sizes(workflow, calls, knowledge),
    }
    return tuple(sorted(found, key=lambda one: (one.place, one.rule, one.message)))
