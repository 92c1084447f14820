"""A workflow as jobs and steps, each with the tree it was read from.

Tolerant: what has the wrong shape is left out here and named by `shape`. Pure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runner_installer.checking.expressions import Expression, find_expressions
from runner_installer.checking.source import Items, Place, Table, Text, walk_texts


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a job."""

    table: Table

    @property
    def place(self) -> Place:
        """Return where it begins."""
        return self.table.place

    @property
    def step_id(self) -> Text | None:
        """Return what outputs are found by."""
        return self.table.find_text("id")

    @property
    def uses(self) -> Text | None:
        """Return the action."""
        return self.table.find_text("uses")

    @property
    def run(self) -> Text | None:
        """Return the script."""
        return self.table.find_text("run")

    @property
    def inputs(self) -> Table | None:
        """Return what stands under `with`."""
        return self.table.find_table("with")

    @property
    def condition(self) -> Text | None:
        """Return what stands under `if`."""
        return self.table.find_text("if")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, or the call of a reusable workflow.

    Attributes:
        matrix: The values a variable of the matrix takes, by its name; None where the
            matrix is made while the workflow runs.
    """

    key: Text
    table: Table
    needs: tuple[Text, ...] = ()
    runs_on: tuple[Text, ...] = ()
    steps: tuple[Step, ...] = ()
    outputs: Mapping[str, Text] = field(default_factory=dict)
    matrix: Mapping[str, tuple[Text, ...]] | None = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the job's id."""
        return self.key.value

    @property
    def uses(self) -> Text | None:
        """Return the reusable workflow it calls."""
        return self.table.find_text("uses")

    @property
    def condition(self) -> Text | None:
        """Return what stands under `if`."""
        return self.table.find_text("if")


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A whole file.

    Attributes:
        triggers: The words under `on`.
    """

    table: Table
    triggers: tuple[Text, ...]
    jobs: tuple[Job, ...]

    def find_job(self, name: str) -> Job | None:
        """Return a job; GitHub does not tell capitals apart."""
        folded = name.casefold()
        return next((job for job in self.jobs if job.name.casefold() == folded), None)

    def ancestors(self, job: Job) -> frozenset[str]:
        """Return the names of all jobs that end before one begins."""
        seen: set[str] = set()
        waiting = [need.value for need in job.needs]
        while waiting:
            found = self.find_job(waiting.pop())
            if found is not None and found.name not in seen:
                seen.add(found.name)
                waiting += [need.value for need in found.needs]
        return frozenset(seen)

    def find_trigger(self, name: str) -> Table | None:
        """Return what stands under a trigger."""
        events = self.table.find_table("on")
        return events.find_table(name) if events else None


def parse_workflow(tree: Table) -> Workflow:
    """Read a workflow's tree."""
    jobs = tree.find_table("jobs")
    return Workflow(
        table=tree,
        triggers=_triggers(tree),
        jobs=tuple(
            _job(key, value)
            for key, value in (jobs.entries if jobs else ())
            if isinstance(value, Table)
        ),
    )


def walk_expressions(table: Table) -> Iterator[Expression]:
    """Yield every expression in a part of a workflow, bare conditions included."""
    for key, value in table.entries:
        if isinstance(value, Text):
            yield from find_expressions(value, is_condition=key.value == "if")
        elif isinstance(value, Table):
            yield from walk_expressions(value)
        else:
            for item in value.values:
                if isinstance(item, Table):
                    yield from walk_expressions(item)
                else:
                    for text in walk_texts(item):
                        yield from find_expressions(text)


def _triggers(tree: Table) -> tuple[Text, ...]:
    events = tree.get("on")
    if isinstance(events, Table):
        return events.names
    return tree.list_texts("on")


def _job(key: Text, table: Table) -> Job:
    steps = table.get("steps")
    outputs = table.find_table("outputs")
    return Job(
        key=key,
        table=table,
        needs=table.list_texts("needs"),
        runs_on=_runs_on(table),
        steps=tuple(
            Step(table=item)
            for item in (steps.values if isinstance(steps, Items) else ())
            if isinstance(item, Table)
        ),
        outputs={
            name.value: value
            for name, value in (outputs.entries if outputs else ())
            if isinstance(value, Text)
        },
        matrix=_matrix(table),
    )


def _runs_on(table: Table) -> tuple[Text, ...]:
    # { group: ..., labels: [...] } is the other way to write it
    grouped = table.find_table("runs-on")
    return grouped.list_texts("labels") if grouped else table.list_texts("runs-on")


def _matrix(table: Table) -> Mapping[str, tuple[Text, ...]] | None:
    strategy = table.find_table("strategy")
    if strategy is None:
        return {}
    if isinstance(strategy.get("matrix"), Text):
        return None
    matrix = strategy.find_table("matrix")
    if matrix is None:
        return {}
    values: dict[str, list[Text]] = {}
    for key, value in matrix.entries:
        if isinstance(value, Text) or (
            key.value == "include" and not isinstance(value, Items)
        ):
            return None  # an expression gives the values
        if key.value == "include" and isinstance(value, Items):
            for item in value.values:
                for name, one in item.entries if isinstance(item, Table) else ():
                    values.setdefault(name.value, []).extend(_scalars(one))
        elif key.value != "exclude":
            values.setdefault(key.value, []).extend(_scalars(value))
    return {name: tuple(found) for name, found in values.items()}


def _scalars(tree: "Table | Items | Text") -> list[Text]:
    if isinstance(tree, Items):
        return [item for item in tree.values if isinstance(item, Text)]
    return [tree] if isinstance(tree, Text) else []
