"""Durable sessions on a real tmux behind a real sshd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from runpod_client import ConfigError
from runpod_ssh import Connection, HostKeyVerifier, SessionError
from runpod_ssh.sessions import (
    StartedSession,
    agent_names,
    capture,
    find_session,
    get_session,
    kill_session,
    list_sessions,
    send_keys,
    send_text,
    start_sessions,
)
from runpod_ssh.tmux import PodSession, SessionPlan
from support.busybox import busybox_path
from support.sshd import Sshd, SshdFactory, find_program
from support.tmux_pods import EXTRA_CONFIG, extend_path, own_tmux, point_at, visit
from support.waiting import wait_for

WAIT_SECONDS = 30.0


@pytest.fixture
def tmux_folder() -> Iterator[Path]:
    with own_tmux() as folder:
        yield folder


@pytest.fixture
def pod(sshd_factory: SshdFactory, tmux_folder: Path) -> Sshd:
    return point_at(sshd_factory(extra_config=EXTRA_CONFIG), tmux_folder)


@pytest.fixture
async def link(pod: Sshd, host_keys: HostKeyVerifier) -> AsyncIterator[Connection]:
    async with visit(pod, host_keys) as connection:
        yield connection


async def start(link: Connection, name: str, command: str | None = None) -> PodSession:
    (started,) = await start_sessions(link, [SessionPlan(name=name, command=command)])
    assert started.is_new
    return started.session


async def until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something to come true on the pod."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await look():  # noqa: ASYNC110  # it is another process' doing
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {WAIT_SECONDS:g} s: {what}")


async def until_shown(link: Connection, name: str, text: str) -> str:
    """Wait until a session shows a text, and return its screen."""
    seen = ""

    async def look() -> bool:
        nonlocal seen
        seen = await capture(link, name, line_count=1000)
        return text in seen

    await until(look, f"{name} shows {text!r}")
    return seen


async def until_ended(link: Connection, name: str) -> PodSession:
    async def look() -> bool:
        found = await get_session(link, name)
        return found.is_ended and found.state != "ended"

    await until(look, "the session has ended, and how is known")
    return await get_session(link, name)


async def test_a_pod_where_none_was_started_has_no_sessions(link: Connection) -> None:
    assert await list_sessions(link) == ()
    assert await find_session(link, "a") is None
    assert await kill_session(link, "a") is False


async def test_started_session_is_listed_and_goes_on_without_the_link(
    link: Connection, pod: Sshd, host_keys: HostKeyVerifier
) -> None:
    made = await start(link, "build", "echo begun; exec sleep 300")
    await link.close()

    async with visit(pod, host_keys) as again:
        await until_shown(again, "build", "begun")
        found = await get_session(again, "build")

    assert (found.name, found.state, found.command, found.attached_count) == (
        "build",
        "running",
        "echo begun; exec sleep 300",
        0,
    )
    assert found.created_at == made.created_at


async def test_starting_twice_leaves_the_first_as_it_is(link: Connection) -> None:
    first = await start(link, "a", "sleep 300")

    again = await start_sessions(link, [SessionPlan(name="a", command="echo other")])

    assert again == (StartedSession(session=again[0].session, is_new=False),)
    assert again[0].session.command == first.command == "sleep 300"


async def test_how_a_session_ended_is_asked_again_where_tmux_overlooks_it(
    pod: Sshd, host_keys: HostKeyVerifier, tmux_folder: Path
) -> None:
    """tmux 3.3 now and then tells of a pane's end before it knows the status."""
    forgetful = tmux_folder / "tmux"
    forgetful.write_text(
        f"""#!/bin/sh
        case "$*" in
            *source-file*) {find_program("tmux")} "$@" |
                sed -E 's/^(([^:]*:){{6}}1:)[0-9]+:/\\1:/' ;;
            *) exec {find_program("tmux")} "$@" ;;
        esac
        """
    )
    forgetful.chmod(0o755)
    extend_path(pod, tmux_folder)
    async with visit(pod, host_keys) as link:
        await start(link, "a", "exit 3")
        await until_ended(link, "a")

        (again,) = await start_sessions(link, [SessionPlan(name="a", command="true")])

    assert (again.is_new, again.session.state) == (False, "ended (3)")


async def test_agents_are_started_together_and_only_those_that_are_missing(
    link: Connection,
) -> None:
    await start(link, "agent-b", "sleep 301")

    plans = [SessionPlan(name=name, command="sleep 300") for name in agent_names(4)]
    started = await start_sessions(link, plans)

    assert [(s.session.name, s.is_new) for s in started] == [
        ("agent-a", True),
        ("agent-b", False),
        ("agent-c", True),
        ("agent-d", True),
    ]


def test_agents_go_on_after_z() -> None:
    names = agent_names(28)

    assert names[0] == "agent-a"
    assert names[25:] == ("agent-z", "agent-aa", "agent-ab")
    assert len(set(agent_names(702))) == 702


async def test_a_name_that_begins_like_another_is_not_taken_for_it(
    link: Connection,
) -> None:
    await start(link, "agent-aa", "sleep 300")

    assert await find_session(link, "agent-a") is None
    assert await kill_session(link, "agent-a") is False
    with pytest.raises(SessionError, match="there is no session agent-a on"):
        await send_text(link, "agent-a", b"x")
    with pytest.raises(SessionError, match="there is no session agent-a on"):
        await send_keys(link, "agent-a", ["C-c"])
    with pytest.raises(SessionError, match="there is no session agent-a on"):
        await capture(link, "agent-a")


async def test_ended_command_leaves_its_status_and_its_last_words(
    link: Connection,
) -> None:
    await start(link, "a", "echo last words; exit 3")

    ended = await until_ended(link, "a")

    assert ended.state == "ended (3)"
    assert "last words" in await capture(link, "a", line_count=100)
    with pytest.raises(SessionError, match="has ended"):
        await send_text(link, "a", b"hello")


async def test_killed_command_is_told_from_one_that_ended(link: Connection) -> None:
    await start(link, "a", "kill -9 $$")

    ended = await until_ended(link, "a")

    assert (ended.state, ended.exit_status) == ("ended (signal 9)", None)


async def test_a_login_shell_that_is_left_takes_its_session_along(
    link: Connection,
) -> None:
    await start(link, "a")

    await send_text(link, "a", b"exit")

    async def look() -> bool:
        return await find_session(link, "a") is None

    await until(look, "the session is gone")


async def test_restart_begins_anew_what_has_ended_and_leaves_the_rest(
    link: Connection,
) -> None:
    await start(link, "done", "exit 3")
    await start(link, "busy", "sleep 300")
    await until_ended(link, "done")

    plans = [SessionPlan(name=n, command="sleep 301") for n in ("done", "busy", "new")]
    started = await start_sessions(link, plans, restart_ended=True)

    assert [(s.session.name, s.is_new, s.session.command) for s in started] == [
        ("done", True, "sleep 301"),
        ("busy", False, "sleep 300"),
        ("new", True, "sleep 301"),
    ]


async def test_session_starts_in_its_folder(link: Connection, tmp_path: Path) -> None:
    folder = tmp_path / "a folder's"
    folder.mkdir()

    plan = SessionPlan(name="a", command="pwd; exec sleep 300")
    await start_sessions(link, [plan], folder=str(folder))

    assert str(folder) in (await until_shown(link, "a", "folder's")).replace("\n", "")


async def test_missing_folder_is_said_and_nothing_is_started(link: Connection) -> None:
    with pytest.raises(SessionError, match="no such folder: /no/such"):
        await start_sessions(link, [SessionPlan(name="a")], folder="/no/such")

    assert await list_sessions(link) == ()


async def test_variables_reach_their_session_and_nothing_else(
    link: Connection, pod: Sshd
) -> None:
    value = "s3cret 'x\" $HOME `id` \\ #{x} ; ü\n  second %"
    show = 'printf "<%s>" "${TOKEN-unset}" > ~/'
    plan = SessionPlan(
        name="a", command=f"{show}a; exec sleep 300", env={"TOKEN": value}
    )

    await start_sessions(link, [plan])
    await start_sessions(
        link, [SessionPlan(name="b", command=f"{show}b; exec sleep 300")]
    )
    processes = await link.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")

    await until_written(pod.home / "a", f"<{value}>".encode())
    await until_written(pod.home / "b", b"<unset>")
    assert b"s3cret" not in processes.stdout


async def until_written(file: Path, content: bytes) -> None:
    def is_written() -> bool:
        return file.exists() and file.read_bytes() == content

    await asyncio.to_thread(
        wait_for,
        is_written,
        timeout_seconds=WAIT_SECONDS,
        what=f"{file} holds {content!r}",
    )


async def test_server_keeps_nothing_of_the_call_that_started_it(
    link: Connection, tmux_folder: Path
) -> None:
    plan = SessionPlan(name="a", command="sleep 300", env={"TOKEN": "s3cret"})
    started = "export LEAK=s3cret; "
    await link.run(f"{started} true")

    await start_sessions(link, [plan])
    result = await link.run(
        "tr '\\0' '\\n' < /proc/$(tmux -L runpod display -p '#{pid}')/environ"
    )

    names = {line.partition("=")[0] for line in result.stdout.decode().split("\n")}
    assert names - {""} <= {
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LC_ALL", "LC_CTYPE"),
        *("TZ", "TMPDIR", "TMUX_TMPDIR"),
    }
    assert str(tmux_folder) in result.stdout.decode()


async def test_text_of_many_lines_arrives_as_it_is(link: Connection, pod: Sshd) -> None:
    text = "line one\n'two' \"$HOME\" `id` ; \\ #{pane_id} ünï\nC-c Enter -l --"
    await start(link, "a", "stty -echo; echo ready; cat > ~/typed")
    await until_shown(link, "a", "ready")

    await send_text(link, "a", text.encode())

    await until_written(pod.home / "typed", f"{text}\n".encode())


async def test_text_without_enter_waits_for_the_key(
    link: Connection, pod: Sshd
) -> None:
    await start(link, "a", 'echo ready; read -r line; echo "$line" > ~/typed')
    await until_shown(link, "a", "ready")

    await send_text(link, "a", b"half", enter=False)
    await until_shown(link, "a", "half")
    before = (pod.home / "typed").exists()
    await send_text(link, "a", b" and half")

    await until_written(pod.home / "typed", b"half and half\n")
    assert not before


async def test_text_to_send_is_in_no_command_line_and_leaves_no_clipboard(
    link: Connection,
) -> None:
    await start(link, "a", "exec cat > /dev/null")

    await send_text(link, "a", b"s3cret")
    buffers = await link.run("tmux -L runpod list-buffers")

    assert (buffers.exit_status, buffers.stdout) == (0, b"")


async def test_keys_are_pressed_not_typed(link: Connection) -> None:
    await start(link, "a", "echo ready; cat")
    await until_shown(link, "a", "ready")

    await send_keys(link, "a", ["x", ";", "Enter"])
    await until_shown(link, "a", "x;\nx;")
    await send_keys(link, "a", ["C-c"])

    assert (await until_ended(link, "a")).state == "ended (signal 2)"
    with pytest.raises(ConfigError, match="is no key"):
        await send_keys(link, "a", ["Return"])


async def test_capture_gives_the_screen_or_as_many_lines_as_asked(
    link: Connection,
) -> None:
    await start(link, "a", "seq 1 300; exec sleep 300")
    await until_shown(link, "a", "300")

    screen = await capture(link, "a")
    last = await capture(link, "a", line_count=3)
    everything = await capture(link, "a", line_count=1000)

    assert screen.endswith("\n300")
    assert "\n200\n" not in screen
    assert last == "298\n299\n300"
    assert everything.split("\n") == [str(number) for number in range(1, 301)]


async def test_capture_of_an_ended_session_loses_no_line(link: Connection) -> None:
    await start(link, "a", "seq 3")
    await until_shown(link, "a", "3")
    while (await get_session(link, "a")).state == "running":
        pass

    assert (await capture(link, "a")).startswith("1\n2\n3\n")


async def test_capture_joins_what_the_edge_of_the_screen_broke(
    link: Connection,
) -> None:
    long = "x" * 250
    await start(link, "a", f"echo {long}; exec sleep 300")
    await until_shown(link, "a", "x" * 50)

    assert await capture(link, "a") == f"{'x' * 200}\n{'x' * 50}"
    assert await capture(link, "a", join=True) == long


async def test_killing_is_repeatable_and_ends_what_ran(link: Connection) -> None:
    await start(link, "a", "exec sleep 4242")
    await start(link, "b", "sleep 300")

    killed = [await kill_session(link, "a"), await kill_session(link, "a")]
    left = [session.name for session in await list_sessions(link)]

    assert killed == [True, False]
    assert left == ["b"]

    async def look() -> bool:
        running = await link.run("ps -eo args | grep '[s]leep 4242'")
        return running.exit_status == 1

    await until(look, "the command has ended")


async def test_sessions_have_256_colours_and_speak_utf8(link: Connection) -> None:
    await start(link, "a", "tput colors; echo $LANG; printf 'é%s' -; exec sleep 300")

    screen = await until_shown(link, "a", "é-")

    assert screen.split("\n")[0] == "256"
    assert "UTF-8" in screen.split("\n")[1].upper()


async def test_many_starts_at_once_make_one_session(link: Connection) -> None:
    plans = [SessionPlan(name="a", command="sleep 300")]

    started = await asyncio.gather(*(start_sessions(link, plans) for _ in range(6)))

    assert sum(one.is_new for (one,) in started) == 1


@pytest.fixture
def busybox_pod(
    sshd_factory: SshdFactory, tmp_path: Path, tmux_folder: Path
) -> Callable[..., Sshd]:
    """Make pods that have busybox, and of other programs only those named."""

    def make(*programs: str) -> Sshd:
        folder = tmp_path / "bin"
        busybox_path(folder, without=programs)
        for program in programs:
            (folder / program).symlink_to(find_program(program))
        server = sshd_factory(extra_config=EXTRA_CONFIG, path=str(folder))
        return point_at(server, tmux_folder)

    return make


async def test_pod_without_tmux_is_told_how_to_get_it(
    busybox_pod: Callable[..., Sshd], host_keys: HostKeyVerifier
) -> None:
    pod = busybox_pod()
    async with visit(pod, host_keys) as link:
        for call in (
            list_sessions(link),
            start_sessions(link, [SessionPlan(name="a")]),
            kill_session(link, "a"),
            capture(link, "a"),
            send_text(link, "a", b"x"),
        ):
            with pytest.raises(SessionError, match="tmux is not installed") as caught:
                await call
            assert "apt-get install -y tmux" in caught.value.hint


async def test_pod_with_busybox_and_tmux_has_sessions(
    busybox_pod: Callable[..., Sshd], host_keys: HostKeyVerifier
) -> None:
    pod = busybox_pod("tmux")
    async with visit(pod, host_keys) as link:
        await start(link, "a", "echo $TERM; exec sleep 300")

        assert "screen-256color" in await until_shown(link, "a", "256color")
