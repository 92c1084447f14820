"""A shell opened ahead becomes the next command, and nobody can tell the difference."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_client import SSHAddress
from runpod_ssh import (
    CommandTimeoutError,
    Connection,
    Credentials,
    HostKeyJudge,
    SSHError,
    SSHUnreachableError,
    UnknownOutcomeError,
    connect,
    wire,
)
from runpod_ssh.streams import read_nothing
from support.slow_link import slow_link
from support.sshd import Sshd, SshdFactory, find_program
from support.waiting import wait_for


@asynccontextmanager
async def warm_link(
    sshd: Sshd, host_keys: HostKeyJudge, address: SSHAddress | None = None
) -> AsyncIterator[Connection]:
    async with connect(
        address or sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        await connection.warm_up()
        yield connection


def standby_pids(sshd: Sshd) -> list[int]:
    """Return the processes that wait for a command and have none yet."""
    found = []
    for pid in sshd.family():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"standby.sh" in words:
                found.append(pid)
    return found


def wait_for_standby(sshd: Sshd) -> list[int]:
    return wait_for(lambda: standby_pids(sshd), what="a standby waits")


@pytest.mark.parametrize(
    ("command", "stdin"),
    [
        ("printf 'a\\nb'; printf 'c\\0d' >&2; exit 7", None),
        ("kill -TERM $$", None),
        ("cat", bytes(range(256)) * 64),
        ("head -c 3; cat >&2", b"abcdef" * 50_000),
        ("exit 3", b"x" * 4_000_000),
        ("cat", b""),
        ('echo "$0" $# "$PWD" $SHLVL $-', None),
        ("no-such-program", None),
        ("echo 'one\ntwo\\n'\n\necho \"$((1 + 1))\"\n\n", None),
        ("printf '%s' 'ünï \\\\ $x `y`'", None),
        ("", None),
        ("ulimit -a; umask; tty; ps -o pid=,pgid=,sid= -p $$ | tr -d 0-9", None),
        ("# " + "x" * 50_000 + "\necho long", None),
    ],
    ids=range(13),
)
async def test_command_is_the_same_on_a_channel_opened_ahead(
    sshd: Sshd, host_keys: HostKeyJudge, command: str, stdin: bytes | None
) -> None:
    async with warm_link(sshd, host_keys) as link:
        assert link.open_channels > 0

        ahead = await link.run(command, stdin=stdin, timeout=30)

    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        plain = await link.run(command, stdin=stdin, timeout=30)

    assert replace(ahead, elapsed_seconds=0) == replace(plain, elapsed_seconds=0)


async def test_environment_is_the_same_on_a_channel_opened_ahead(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async def told(link: Connection) -> list[bytes]:
        result = await link.run("env", env={"GIVEN": "a b\nc"}, timeout=30)
        mine = (b"RUNPOD_SSH_CALL=", b"SSH_CLIENT=", b"SSH_CONNECTION=")
        lines = result.stdout.splitlines()
        return sorted(line for line in lines if not line.startswith(mine))

    async with warm_link(sshd, host_keys) as link:
        ahead = await told(link)
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        plain = await told(link)

    assert b"GIVEN=a b" in ahead
    assert ahead == plain


async def test_command_on_a_warm_link_costs_one_round_trip(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    seconds = 0.25
    async with (
        slow_link(sshd.port, rtt_seconds=seconds) as port,
        warm_link(sshd, host_keys, replace(sshd.address, port=port)) as link,
    ):
        results = [await link.run("echo hello", timeout=30) for _ in range(7)]

        assert link.round_trip_seconds == pytest.approx(seconds, abs=0.1)
    assert {r.stdout for r in results} == {b"hello\n"}
    # at once, and then as long as one likes; between, the next are being opened
    for result in (results[0], *results[-3:]):
        assert result.elapsed_seconds < 2 * seconds


async def test_standby_that_was_killed_is_replaced_without_notice(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async with warm_link(sshd, host_keys) as link:
        for number in range(5):
            pids = await asyncio.to_thread(wait_for_standby, sshd)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

            result = await link.run(f"echo {number}", timeout=30)

            assert result.stdout == f"{number}\n".encode()


async def test_standby_frozen_between_hand_over_and_start_is_bound_by_the_timeout(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async with warm_link(sshd, host_keys) as link:
        for pid in wait_for_standby(sshd):
            os.kill(pid, signal.SIGSTOP)

        with pytest.raises(CommandTimeoutError):
            await link.run("true", timeout=0.5)

        assert (await link.run("echo on", timeout=30)).stdout == b"on\n"


@pytest.mark.parametrize("sessions", [1, 2])
async def test_standby_gives_way_where_sessions_are_few(
    sshd_factory: SshdFactory, host_keys: HostKeyJudge, sessions: int
) -> None:
    sshd = sshd_factory(extra_config=f"MaxSessions {sessions}")

    async with warm_link(sshd, host_keys) as link:
        results = [await link.run(f"exit {n}", timeout=30) for n in range(5)]
        out = bytearray()

        async def keep(chunk: bytes) -> None:
            out.extend(chunk)

        bulk = await link.stream(
            "echo bulk", stdin=read_nothing(), stdout=keep, stderr=keep, bulk=True
        )

    assert [r.exit_status for r in results] == list(range(5))
    assert (bulk.exit_status, bytes(out)) == (0, b"bulk\n")


async def test_pod_that_allows_no_session_is_told_of_its_limit(
    sshd_factory: SshdFactory, host_keys: HostKeyJudge
) -> None:
    sshd = sshd_factory(extra_config="MaxSessions 0")

    async with warm_link(sshd, host_keys) as link:
        assert link.open_channels == 0
        with pytest.raises(SSHError) as caught:
            await link.run("true", timeout=30)

    assert "MaxSessions" in caught.value.hint


async def test_pod_whose_shell_start_changes_variables_gets_no_standby(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    (sshd.home / ".bashrc").write_text("export PATH=$PATH:/added\n")

    async with warm_link(sshd, host_keys) as link:
        assert link.open_channels == 0
        result = await link.run('echo "$PATH"', timeout=30)

    assert result.stdout.count(b":/added") == 1


async def test_pod_with_a_forced_command_gets_no_standby(
    sshd_factory: SshdFactory, host_keys: HostKeyJudge
) -> None:
    sshd = sshd_factory(extra_config='ForceCommand bash -c "$SSH_ORIGINAL_COMMAND"')

    async with warm_link(sshd, host_keys) as link:
        assert link.open_channels == 0
        assert (await link.run("echo yes", timeout=30)).stdout == b"yes\n"


async def test_cancelled_command_is_ended_on_a_channel_opened_ahead(
    sshd: Sshd, host_keys: HostKeyJudge, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    async with warm_link(sshd, host_keys) as link:
        task = asyncio.create_task(
            link.run(f"echo $$ >{pid_file}; trap '' INT; sleep 300; sleep 300")
        )
        await asyncio.to_thread(
            wait_for,
            lambda: pid_file.exists() and pid_file.read_text().strip(),
            what="the command runs",
        )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    pid = int(pid_file.read_text())
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), what="the command is gone")


async def test_command_cancelled_at_any_moment_of_its_start_runs_no_more(
    sshd_factory: SshdFactory, host_keys: HostKeyJudge, tmp_path: Path
) -> None:
    # few sessions: a few that were forgotten would keep all others out
    sshd = sshd_factory(extra_config="MaxSessions 3")
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        for step in range(12):
            mark = tmp_path / f"ran-{step}"
            task = asyncio.create_task(link.run(f"sleep 2; touch {mark}"))
            await asyncio.sleep(step * 0.0005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        result = await link.run("sleep 2; echo free", timeout=30)

    assert result.stdout == b"free\n"
    assert [f"ran-{n}" for n in range(12) if (tmp_path / f"ran-{n}").exists()] == []


@pytest.mark.parametrize("is_warm", [True, False])
async def test_frozen_sshd_is_found_within_the_bound(
    sshd: Sshd,
    host_keys: HostKeyJudge,
    is_warm: bool,  # noqa: FBT001  # a case
) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        if is_warm:
            await link.warm_up()
        await link.prove_alive()
        sshd.pause()
        began = time.monotonic()

        with pytest.raises(SSHUnreachableError, match="does not answer"):
            await link.prove_alive(within_seconds=0.5)

        assert time.monotonic() - began < 1.0
        await asyncio.wait_for(link.wait_closed(), 1)
        assert link.is_closed


async def test_pod_that_refuses_one_more_session_is_alive(
    sshd_factory: SshdFactory, host_keys: HostKeyJudge
) -> None:
    sshd = sshd_factory(extra_config="MaxSessions 0")

    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        await link.prove_alive()

        assert not link.is_closed


async def test_what_was_just_heard_is_proof_enough(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async with warm_link(sshd, host_keys) as link:
        sshd.pause()

        await link.prove_alive(within_seconds=0.2, fresh_seconds=30)

        with pytest.raises(SSHUnreachableError):
            await link.prove_alive(within_seconds=0.2, fresh_seconds=0.0)


async def test_link_cut_while_a_command_runs_leaves_the_outcome_unknown(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async with warm_link(sshd, host_keys) as link:
        task = asyncio.create_task(link.run("sleep 300"))
        await asyncio.sleep(0.3)
        sshd.stop()

        with pytest.raises(UnknownOutcomeError):
            await asyncio.wait_for(task, 5)

        # and one that was never sent is known not to have run
        with pytest.raises(SSHUnreachableError) as caught:
            await link.run("true")
        assert not isinstance(caught.value, UnknownOutcomeError)


async def test_channels_are_counted_from_opening_to_close(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as link:
        assert link.open_channels == 0

        task = asyncio.create_task(link.run("cat; sleep 0.2"))
        await asyncio.sleep(0.1)
        during = link.open_channels
        await task

        assert (during, link.open_channels) == (1, 0)


async def test_no_process_waits_on_the_pod_once_the_link_is_closed(
    sshd: Sshd, host_keys: HostKeyJudge
) -> None:
    async with warm_link(sshd, host_keys):
        pids = wait_for_standby(sshd)

    assert pids
    wait_for(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids),
        what="the standby has ended",
    )


SHELLS = {"dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "sh"]}


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None)
@given(
    command_text=st.text(
        st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60
    ),
    rest=st.binary(max_size=200),
)
def test_waiting_shell_takes_the_command_and_not_a_byte_more(
    shell: str, command_text: str, rest: bytes
) -> None:
    script = wire.script_text("standby.sh")
    bash = find_program("bash")
    command = f"printf %s {wire.quote(command_text)}; printf '\\0'; cat"
    argv = [find_program(SHELLS[shell][0]), *SHELLS[shell][1:], "-c", script, "standby"]

    done = subprocess.run(
        argv,
        input=wire.STANDBY_PING + wire.render_handover(command) + rest,
        env={"SHELL": bash, "PATH": str(Path(bash).parent), "LANG": "C.UTF-8"},
        capture_output=True,
        check=True,
        timeout=20,
    )

    assert done.stdout == b"+\n+\n+\n" + command_text.encode() + b"\0" + rest
