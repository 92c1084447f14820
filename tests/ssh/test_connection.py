"""A connection against a real sshd: exact streams, statuses, signals, bounds."""

import asyncio
import time
from pathlib import Path

import pytest

from runpod_client import SSHAddress
from runpod_ssh import (
    Bounds,
    CommandTimeoutError,
    Credentials,
    ExecResult,
    HostKeyVerifier,
    SSHAuthenticationError,
    SSHUnreachableError,
    connect,
)
from support.sshd import Sshd, SshdFactory, free_port, make_key
from support.waiting import wait_for


async def run(
    sshd: Sshd, host_keys: HostKeyVerifier, command: str, stdin: bytes | None = None
) -> ExecResult:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        return await connection.run(command, stdin=stdin, timeout=30)


async def test_both_streams_and_status_arrive_exactly(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    result = await run(sshd, host_keys, "printf 'a\\nb'; printf 'c\\0d' >&2; exit 7")

    assert (result.exit_status, result.exit_signal) == (7, None)
    assert result.stdout == b"a\nb"
    assert result.stderr == b"c\0d"


async def test_signal_that_ended_a_command_is_named(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    result = await run(sshd, host_keys, "kill -TERM $$")

    assert (result.exit_status, result.exit_signal) == (None, "TERM")


async def test_binary_stdin_comes_back_unchanged(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    given = bytes(range(256)) * 8192

    result = await run(sshd, host_keys, "cat", stdin=given)

    assert given == result.stdout


async def test_command_that_ignores_its_stdin_still_succeeds(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    result = await run(sshd, host_keys, "exit 3", stdin=b"x" * 4_000_000)

    assert result.exit_status == 3


async def test_many_commands_share_one_connection(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        results = await asyncio.gather(
            *(connection.run(f"echo {n}; exit {n}", timeout=30) for n in range(8))
        )

    assert [(n, f"{n}\n".encode()) for n in range(8)] == [
        (r.exit_status, r.stdout) for r in results
    ]


async def test_environment_arrives_whatever_it_holds_and_leaves_stdin_alone(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    value = 'it\'s "x" $(id)\n`y` \\ ünï'
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        result = await connection.run(
            'printf %s "$ODD"; cat', stdin=b"<rest>", env={"ODD": value}, timeout=30
        )

    assert value.encode() + b"<rest>" == result.stdout


async def test_environment_is_in_no_argument_list(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        result = await connection.run(
            "cat /proc/$$/cmdline /proc/$PPID/cmdline",
            env={"TOKEN": "s3cret-value"},
            timeout=30,
        )

    assert b"cat" in result.stdout
    assert b"s3cret-value" not in result.stdout


async def test_command_past_its_timeout_is_ended_on_the_pod(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        with pytest.raises(CommandTimeoutError) as caught:
            await connection.run(
                f"setsid sh -c 'echo $$ >{pid_file}; exec sleep 300' & wait",
                timeout=1.0,
            )

    assert pytest.approx(caught.value.waited_seconds, abs=4) == 1.0
    assert_gone(int(pid_file.read_text()))


async def test_cancelled_command_is_ended_even_under_a_forced_command(
    sshd_factory: SshdFactory, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    sshd = sshd_factory(extra_config='ForceCommand bash -c "$SSH_ORIGINAL_COMMAND"')
    pid_file = tmp_path / "pid"
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        task = asyncio.create_task(
            connection.run(f"echo $$ >{pid_file}; trap '' INT; sleep 300; sleep 300")
        )
        await asyncio.to_thread(
            wait_for,
            lambda: pid_file.exists() and pid_file.read_text().strip(),
            what="the command runs",
        )
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert_gone(int(pid_file.read_text()))


def assert_gone(pid: int) -> None:
    wait_for(
        lambda: not Path(f"/proc/{pid}").exists(),
        timeout_seconds=5,
        what=f"process {pid} is gone",
    )


async def test_refused_connection_is_named_with_what_to_do(
    host_keys: HostKeyVerifier,
) -> None:
    address = SSHAddress(host="127.0.0.1", port=free_port())

    with pytest.raises(SSHUnreachableError) as caught:
        async with connect(address, host_keys=host_keys):
            pass

    assert f"sshd on {address} refused the connection" == str(caught.value)
    assert "runpod-client pods wait" in caught.value.hint


async def test_key_the_pod_does_not_know_is_an_authentication_error(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path
) -> None:
    make_key(tmp_path / "stranger", sshd.environ)

    with pytest.raises(SSHAuthenticationError) as caught:
        async with connect(
            sshd.address,
            host_keys=host_keys,
            credentials=Credentials(identity_file=tmp_path / "stranger"),
        ):
            pass

    assert sshd.address == caught.value.address


@pytest.mark.parametrize("content", ["", "no key at all"])
async def test_unusable_identity_file_is_named(
    sshd: Sshd, host_keys: HostKeyVerifier, tmp_path: Path, content: str
) -> None:
    (tmp_path / "broken").write_text(content)

    with pytest.raises(SSHAuthenticationError, match="broken"):
        async with connect(
            sshd.address,
            host_keys=host_keys,
            credentials=Credentials(identity_file=tmp_path / "broken"),
        ):
            pass


async def test_frozen_sshd_does_not_hold_a_new_channel_past_its_bound(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    bounds = Bounds(channel_seconds=0.5)
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
        bounds=bounds,
    ) as connection:
        sshd.pause()
        began = time.monotonic()

        with pytest.raises(SSHUnreachableError, match="a new channel"):
            await connection.run("true")

    # closing a frozen connection is bounded too
    assert time.monotonic() - began < 0.5 + 2.0 + 0.5


async def test_silence_past_the_keepalives_ends_the_connection(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    bounds = Bounds(keepalive_seconds=0.2, keepalive_count=2)
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
        bounds=bounds,
    ) as connection:
        task = asyncio.create_task(connection.run("sleep 300"))
        await asyncio.sleep(0.3)
        sshd.pause()

        with pytest.raises(SSHUnreachableError, match="lost"):
            async with asyncio.timeout(5):
                await task

        assert connection.is_closed


async def test_server_that_dies_while_a_command_runs_leaves_the_outcome_unknown(
    sshd: Sshd, host_keys: HostKeyVerifier
) -> None:
    async with connect(
        sshd.address,
        host_keys=host_keys,
        credentials=Credentials(identity_file=sshd.identity_file),
    ) as connection:
        task = asyncio.create_task(connection.run("sleep 300"))
        await asyncio.sleep(0.3)
        sshd.stop()

        with pytest.raises(SSHUnreachableError) as caught:
            async with asyncio.timeout(5):
                await task

    assert "unknown" in caught.value.hint
