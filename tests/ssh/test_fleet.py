"""One command on many pods: selection, events, outcomes, and how they are shown."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from runpod_client import Error, NotFoundError, Pod, PodStatus
from runpod_ssh import (
    CommandTimeoutError,
    HostKeyStore,
    NotDirectError,
    PodTarget,
    SSHUnreachableError,
    UnknownOutcomeError,
    connect_pod,
)
from runpod_ssh.connection import Connection
from runpod_ssh.errors import NoPodMatchedError
from runpod_ssh.fleet import Fleet
from runpod_ssh.fleet_model import (
    Ended,
    Event,
    Job,
    Order,
    Outcome,
    Output,
    Selection,
    Started,
    State,
    exit_status_over,
)
from runpod_ssh.fleet_output import JsonLines, PrefixedLines, labels_of, render_summary
from runpod_ssh.fleet_selection import select_jobs
from runpod_ssh.fleet_table import FleetTable, printable
from runpod_ssh.lines import LineSplitter
from support.sshd_farm import SshdFarm, sshd_farm
from support.waiting import wait_for

OpenLink = Callable[[PodTarget], AbstractAsyncContextManager[Connection]]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshdFarm]:
    """Servers that the tests of this file share, which none of them may harm."""
    with sshd_farm(tmp_path_factory.mktemp("farm"), 4) as farm:
        yield farm


@pytest.fixture
def open_link(store: HostKeyStore) -> OpenLink:
    return lambda target: connect_pod(target, host_keys=store)


def job_of(target: PodTarget) -> Job:
    return Job(pod_id=target.pod.pod_id, name=target.pod.name, target=target)


class Diary:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def observe(self, event: Event) -> None:
        self.events.append(event)

    def lines(self, pod_id: str, stream: str = "stdout") -> list[bytes]:
        return [
            line
            for event in self.events
            if isinstance(event, Output)
            and (event.job.pod_id, event.stream) == (pod_id, stream)
            for line in event.lines
        ]


# -- running


async def test_each_pod_has_its_own_output_and_status(
    farm: SshdFarm, open_link: OpenLink
) -> None:
    diary = Diary()
    fleet = Fleet(open_link, [job_of(t) for t in farm.targets], parallel=2)
    command = 'n=${HOME%/home}; n=${n##*/}; echo "out $n"; echo err >&2; exit "$n"'

    outcomes = await fleet.run(Order(command=command, env={}), diary.observe)

    assert [(o.name, o.exit_status) for o in outcomes] == [
        (f"trainer-{n}", n) for n in range(4)
    ]
    for n in range(4):
        assert diary.lines(f"pod{n}") == [f"out {n}".encode()]
        assert diary.lines(f"pod{n}", "stderr") == [b"err"]
    assert exit_status_over(outcomes) == 1


async def test_no_more_pods_run_at_once_than_asked_for(
    farm: SshdFarm, open_link: OpenLink
) -> None:
    diary = Diary()
    fleet = Fleet(open_link, [job_of(t) for t in farm.targets], parallel=2)

    await fleet.run(Order(command="true", env={}), diary.observe)

    running, most = 0, 0
    for event in diary.events:
        running += isinstance(event, Started)
        running -= isinstance(event, Ended)
        most = max(most, running)
    assert most == 2


async def test_pod_that_fails_ends_no_other(
    farm: SshdFarm, open_link: OpenLink, tmp_path: Path
) -> None:
    with sshd_farm(tmp_path / "dead", 1) as dead:
        gone = replace(dead.target(0), pod=replace(dead.target(0).pod, pod_id="gone"))
    jobs = [job_of(gone), *[job_of(t) for t in farm.targets[:2]]]
    fleet = Fleet(open_link, jobs, parallel=3)

    outcomes = await fleet.run(
        Order(command="sleep 0.3; true", env={}), Diary().observe
    )

    assert [(o.state, o.exit_status, type(o.error)) for o in outcomes] == [
        (State.FAILED, None, SSHUnreachableError),
        (State.EXITED, 0, type(None)),
        (State.EXITED, 0, type(None)),
    ]
    assert exit_status_over(outcomes) == 255


async def test_command_past_its_timeout_fails_on_its_pod_alone(
    farm: SshdFarm, open_link: OpenLink
) -> None:
    fleet = Fleet(open_link, [job_of(t) for t in farm.targets[:2]], parallel=2)
    command = 'case "$HOME" in */0/home) sleep 60;; esac'
    order = Order(command=command, env={}, timeout_seconds=1)

    outcomes = await fleet.run(order, Diary().observe)

    assert [type(o.error) for o in outcomes] == [CommandTimeoutError, type(None)]


async def test_lost_link_is_unknown_and_run_again_only_when_idempotent(
    open_link: OpenLink, tmp_path: Path
) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    with sshd_farm(tmp_path / "farm", 1) as farm:

        async def run(ran: Path, *, is_idempotent: bool) -> Outcome:
            command = f"echo x >>{ran}; [ $(wc -l <{ran}) -ge 2 ] || sleep 60"
            fleet = Fleet(open_link, [job_of(farm.target(0))], parallel=1)
            order = Order(command=command, env={}, is_idempotent=is_idempotent)
            running = asyncio.create_task(fleet.run(order, Diary().observe))
            await asyncio.to_thread(wait_for, ran.exists, what="the command runs")
            farm.cut(0)
            return (await running)[0]

        lost = await run(once, is_idempotent=False)
        repeated = await run(twice, is_idempotent=True)

    assert (type(lost.error), once.read_text()) == (UnknownOutcomeError, "x\n")
    assert (repeated.exit_status, twice.read_text()) == (0, "x\nx\n")


async def test_cancelled_run_interrupts_all_commands_and_keeps_account(
    farm: SshdFarm, open_link: OpenLink, tmp_path: Path
) -> None:
    command = f"echo $$ >{tmp_path}/${{SSH_CONNECTION##* }}; sleep 300"
    fleet = Fleet(open_link, [job_of(t) for t in farm.targets], parallel=3)
    running = asyncio.create_task(
        fleet.run(Order(command=command, env={}), Diary().observe)
    )
    pids = await asyncio.to_thread(
        wait_for, lambda: numbers_in(tmp_path, 3), what="three run"
    )

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    states = [outcome.state for outcome in fleet.outcomes]
    assert sorted(states) == [*[State.INTERRUPTED] * 3, State.WAITING]
    await asyncio.to_thread(
        wait_for,
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
        what="the commands are gone",
    )


def numbers_in(folder: Path, count: int) -> list[int]:
    """Return what the files of a folder hold once there are so many, all written."""
    texts = [path.read_text().strip() for path in folder.glob("[0-9]*")]
    return (
        [int(text) for text in texts] if len(list(filter(None, texts))) == count else []
    )


async def test_observer_that_fails_ends_the_run_with_its_error(
    farm: SshdFarm, open_link: OpenLink
) -> None:
    async def observe(event: Event) -> None:
        if isinstance(event, Output):
            raise BrokenPipeError

    fleet = Fleet(open_link, [job_of(t) for t in farm.targets], parallel=4)

    with pytest.raises(BrokenPipeError):
        async with asyncio.timeout(20):
            await fleet.run(Order(command="yes", env={}), observe)


async def test_slow_observer_holds_the_output_back(
    farm: SshdFarm, open_link: OpenLink
) -> None:
    seen = 0
    held = asyncio.Event()

    async def observe(event: Event) -> None:
        nonlocal seen
        if isinstance(event, Output):
            seen += sum(len(line) + 1 for line in event.lines)
            await held.wait()

    fleet = Fleet(open_link, [job_of(farm.target(0))], parallel=1)
    order = Order(command="head -c 20000000 /dev/zero | tr '\\0' x", env={})
    running = asyncio.create_task(fleet.run(order, observe))
    await asyncio.to_thread(wait_for, lambda: seen, what="output comes")
    seen_while_held = seen
    held.set()
    async with asyncio.timeout(30):
        await running

    assert seen_while_held < 1_000_000
    # every piece of a line without end is counted with a newline
    assert 20_000_000 <= seen < 20_100_000


# -- lines


@given(
    chunks=st.lists(st.binary(max_size=40)),
    max_bytes=st.integers(min_value=1, max_value=16),
)
def test_lines_are_the_same_however_the_stream_is_cut(
    chunks: list[bytes], max_bytes: int
) -> None:
    whole = b"".join(chunks)

    splitter = LineSplitter(max_bytes=10_000)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    lines += splitter.finish()
    bounded = LineSplitter(max_bytes=max_bytes)
    pieces = [piece for chunk in chunks for piece in bounded.feed(chunk)]
    pieces += bounded.finish()

    assert b"\n".join(lines) == whole.removesuffix(b"\n")
    assert b"".join(pieces) == whole.replace(b"\n", b"")
    assert all(len(piece) <= max_bytes for piece in pieces)


# -- selection


@dataclass
class Account:
    """An account's pods, found as RunPod's client finds them."""

    pods: list[Pod]
    owner: str = "me"

    def list_pods(self) -> list[Pod]:
        return self.pods

    def resolve_pod(self, selector: str, /) -> Pod:
        raise NotFoundError(f"no pod {selector}")


def pod(name: str, *, owner: str | None = "me", **changed: object) -> Pod:
    made = Pod(
        pod_id=f"id-{name}",
        name=name,
        status=PodStatus.RUNNING,
        gpu_type="NVIDIA L4",
        gpu_count=1,
        image="runpod/base",
        price_usd_per_hour=Decimal(0),
        owner=owner,
    )
    return replace(made, **changed)  # type: ignore[arg-type]


ACCOUNT = Account(
    [
        pod("train-1"),
        pod("train-2"),
        pod("web", owner="another"),
        pod("train-old", status=PodStatus.STOPPED),
        pod("train-gone", status=PodStatus.TERMINATED),
    ]
)


def find_target(found: Pod) -> PodTarget:
    if found.status is not PodStatus.RUNNING:
        raise SSHUnreachableError(f"pod {found.name} is {found.status}")
    if found.name == "proxied":
        raise NotDirectError("no SSH port", pod_id=found.pod_id)
    return PodTarget(pod=found, address=None, identity=None)  # type: ignore[arg-type]


def chosen(selection: Selection, account: Account = ACCOUNT) -> dict[str, bool]:
    """Return the names that were selected, and whether they can be reached."""
    jobs = select_jobs(account, selection, find_target)
    return {job.name: job.target is not None for job in jobs}


def test_named_pods_come_in_their_order_and_once() -> None:
    selection = Selection(selectors=("web", "id-train-1", "train-1"))

    assert list(chosen(selection)) == ["web", "train-1"]


def test_all_means_our_own_pods_and_skips_those_that_do_not_run() -> None:
    jobs = select_jobs(ACCOUNT, Selection(every=True), find_target)

    assert [(job.name, job.target is not None, job.is_optional) for job in jobs] == [
        ("train-1", True, True),
        ("train-2", True, True),
        ("train-old", False, True),
    ]


def test_patterns_fit_names_and_add_up_with_named_pods() -> None:
    assert chosen(Selection(patterns=("*-2", "w*"))) == {"train-2": True, "web": True}
    assert chosen(Selection(selectors=("web",), patterns=("train-?",))) == {
        "web": True,
        "train-1": True,
        "train-2": True,
    }


def test_named_pod_that_cannot_be_reached_is_a_failure_not_a_skip() -> None:
    jobs = select_jobs(ACCOUNT, Selection(selectors=("train-old",)), find_target)

    assert [(job.is_optional, type(job.problem)) for job in jobs] == [
        (False, SSHUnreachableError)
    ]


def test_unknown_name_is_refused_before_anything_runs() -> None:
    with pytest.raises(NotFoundError, match="no pod trian"):
        chosen(Selection(selectors=("train-1", "trian")))


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(patterns=("x*", "y*")), "no pod has a name like 'x*' or 'y*'"),
        (Selection(patterns=("train-old",)), "train-old (pod train-old is STOPPED)"),
    ],
)
def test_selection_that_reaches_nobody_says_why(
    selection: Selection, said: str
) -> None:
    with pytest.raises(NoPodMatchedError) as caught:
        chosen(selection)

    assert said in str(caught.value)


def test_empty_account_has_no_pods_of_yours() -> None:
    with pytest.raises(NoPodMatchedError):
        chosen(Selection(every=True), Account([]))


# -- outcomes


def outcome(
    name: str, state: State = State.EXITED, status: int | None = None, text: str = ""
) -> Outcome:
    return Outcome(
        pod_id=f"id-{name}",
        name=name,
        state=state,
        exit_status=status,
        error=Error(text) if text else None,
        elapsed_seconds=1.25,
    )


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([outcome("a", status=0), outcome("b", status=0)], 0),
        ([outcome("a", status=0), outcome("b", status=7)], 1),
        ([outcome("a", status=7)], 7),
        ([outcome("a", status=7), outcome("b", State.SKIPPED, text="off")], 7),
        ([outcome("a", status=3), outcome("b", State.FAILED, text="away")], 255),
        ([outcome("a", State.FAILED, text="away")], 255),
        ([outcome("a", status=0), outcome("b", State.INTERRUPTED)], 255),
    ],
)
def test_exit_status_tells_of_the_worst_pod(
    outcomes: list[Outcome], status: int
) -> None:
    assert exit_status_over(outcomes) == status


def test_summary_counts_all_and_names_whoever_went_wrong() -> None:
    told = render_summary(
        [
            outcome("a", status=0),
            outcome("b", status=7),
            outcome("c", State.FAILED, text="sshd refused"),
            outcome("d", State.SKIPPED, text="it is STOPPED"),
            outcome("e", State.WAITING),
        ],
        3.21,
    )

    assert told.splitlines() == [
        "5 pods: 1 succeeded, 1 failed, 1 could not be run or awaited, "
        "1 not started, 1 skipped, in 3.2 s",
        "  b: exit status 7",
        "  c: sshd refused",
        "  d: skipped, it is STOPPED",
    ]


# -- output


class Sinks:
    """Collects what is written to two streams."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.err = bytearray()

    async def stdout(self, chunk: bytes) -> None:
        self.out += chunk[:5]
        await asyncio.sleep(0)
        self.out += chunk[5:]

    async def stderr(self, chunk: bytes) -> None:
        self.err += chunk


def plain_job(name: str, pod_id: str = "") -> Job:
    return Job(pod_id=pod_id or f"id-{name}", name=name, target=None)


async def test_lines_carry_their_pods_name_and_stay_whole() -> None:
    jobs = [plain_job("a"), plain_job("trainer")]
    sinks = Sinks()
    lines = PrefixedLines(labels_of(jobs), stdout=sinks.stdout, stderr=sinks.stderr)

    await asyncio.gather(
        lines.observe(Output(job=jobs[0], stream="stdout", lines=(b"one", b"\xff"))),
        lines.observe(Output(job=jobs[1], stream="stdout", lines=(b"two",))),
        lines.observe(Output(job=jobs[1], stream="stderr", lines=(b"oh",))),
    )

    assert sinks.out == b"a       | one\na       | \xff\ntrainer | two\n"
    assert sinks.err == b"trainer | oh\n"


def test_pods_of_one_name_go_by_their_ids() -> None:
    jobs = [plain_job("a", "1"), plain_job("a", "2"), plain_job("b", "3")]

    assert labels_of(jobs) == {"1": "1", "2": "2", "3": "b"}


async def test_json_is_an_object_a_line_and_keeps_bytes_that_are_no_text() -> None:
    job = plain_job("a")
    sinks = Sinks()
    lines = JsonLines(sinks.stdout)
    bad = SSHUnreachableError("refused", hint="wait")

    await lines.observe(Started(job=job))
    await lines.observe(Output(job=job, stream="stderr", lines=(b"x", b"\xff\n")))
    await lines.observe(Ended(job=job, outcome=outcome("a", status=3)))
    failed = replace(outcome("a", State.FAILED), error=bad)
    await lines.observe(Ended(job=job, outcome=failed))
    await lines.summarize([outcome("a", status=3)], 2.0)

    who = {"pod_id": "id-a", "name": "a"}
    assert [json.loads(line) for line in sinks.out.splitlines()] == [
        who | {"event": "output", "stream": "stderr", "text": "x"},
        who
        | {
            "event": "output",
            "stream": "stderr",
            "text": "\ufffd\n",
            "base64": base64.b64encode(b"\xff\n").decode(),
        },
        who | {"event": "exit", "exit_status": 3, "elapsed_seconds": 1.25},
        who
        | {
            "event": "error",
            "exit_status": None,
            "elapsed_seconds": 1.25,
            "error": "SSHUnreachableError",
            "message": "refused",
            "hint": "wait",
        },
        {
            "event": "summary",
            "pods": 1,
            "succeeded": 0,
            "failed": 1,
            "unreached": 0,
            "interrupted": 0,
            "not_started": 0,
            "skipped": 0,
            "exit_status": 3,
            "elapsed_seconds": 2.0,
            "results": [
                who
                | {
                    "state": "exited",
                    "exit_status": 3,
                    "error": None,
                    "elapsed_seconds": 1.25,
                }
            ],
        },
    ]


# -- the table


def draw(table: FleetTable, *, height: int, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height)
    with console.capture() as captured:
        console.print(table.render(height=height))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_table_of_two_hundred_pods_fits_the_terminal_and_shows_what_matters() -> None:
    jobs = [plain_job(f"trainer-{n}") for n in range(200)]
    table = FleetTable(labels_of(jobs), clock=lambda: 5.0)
    for job in jobs[:150]:
        table.note(Started(job=job))
    for number, job in enumerate(jobs[:100]):
        ended = outcome(job.name, status=9 if number == 50 else 0)
        table.note(Ended(job=job, outcome=ended))
    table.note(Output(job=jobs[120], stream="stdout", lines=(b"step 1", b"step 2")))

    drawn = draw(table, height=24)

    assert len(drawn) <= 23
    assert drawn[-1] == "50 running, 50 waiting, 99 done, 1 failed"
    assert any("trainer-50" in line and "exit 9" in line for line in drawn)
    assert any("trainer-100" in line and "running" in line for line in drawn)
    assert not any("trainer-3 " in line for line in drawn)


def test_table_shows_the_last_line_in_one_row_however_long() -> None:
    job = plain_job("a")
    table = FleetTable(labels_of([job]), clock=lambda: 0.0)
    table.note(Started(job=job))
    table.note(Output(job=job, stream="stdout", lines=(b"first", b"x" * 500, b"")))

    drawn = draw(table, height=10)

    assert len(drawn) == 3
    assert "xxx" in drawn[1]
    assert all(len(line) <= 80 for line in drawn)


@given(st.binary(max_size=60))
def test_nothing_a_pod_writes_moves_the_cursor(line: bytes) -> None:
    shown = printable(line)

    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"10%\r20%\r", "20%"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07x", "red x"),
        (b"a\tb", "a       b"),
        ("grün".encode(), "grün"),
    ],
)
def test_line_is_shown_as_it_would_look_in_the_end(line: bytes, shown: str) -> None:
    assert printable(line) == shown
