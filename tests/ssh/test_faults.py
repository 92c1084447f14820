"""Every phase of connecting has its bound, whatever the other side does."""

import contextlib
import time

import pytest

from runpod_client import DeadlineError, SSHAddress
from runpod_ssh import (
    Bounds,
    HostKeyVerifier,
    SSHUnreachableError,
    connect,
    wait_until_reachable,
)
from support.ssh_faults import (
    black_hole,
    hanging_up_server,
    silent_server,
    slow_banner_server,
    ssh_server,
    tar_pit_server,
)

BOUND_SECONDS = 0.4
SLACK_SECONDS = 0.5
BOUNDS = Bounds(
    tcp_seconds=BOUND_SECONDS,
    banner_seconds=BOUND_SECONDS,
    key_exchange_seconds=BOUND_SECONDS,
    authentication_seconds=BOUND_SECONDS,
)


async def refusal_of(
    address: SSHAddress, host_keys: HostKeyVerifier, bounds: Bounds = BOUNDS
) -> str:
    """Return what connecting fails with, which must come within the bound."""
    began = time.monotonic()
    with pytest.raises(SSHUnreachableError) as caught:
        async with connect(address, host_keys=host_keys, bounds=bounds):
            pass
    assert time.monotonic() - began < BOUND_SECONDS + SLACK_SECONDS
    assert caught.value.hint
    return str(caught.value)


async def test_black_hole_is_left_within_the_bound_of_tcp(
    host_keys: HostKeyVerifier,
) -> None:
    with black_hole() as address:
        assert "the TCP connection" in await refusal_of(address, host_keys)


async def test_silent_server_is_left_within_the_bound_of_the_greeting(
    host_keys: HostKeyVerifier,
) -> None:
    async with silent_server() as address:
        assert "sshd's greeting" in await refusal_of(address, host_keys)


async def test_slow_greeting_is_left_within_its_bound(
    host_keys: HostKeyVerifier,
) -> None:
    async with slow_banner_server() as address:
        assert "sshd's greeting" in await refusal_of(address, host_keys)


async def test_tar_pit_is_left_within_the_bound_of_the_key_exchange(
    host_keys: HostKeyVerifier,
) -> None:
    async with tar_pit_server() as address:
        assert "the key exchange" in await refusal_of(address, host_keys)


async def test_login_that_is_never_answered_is_left_within_its_bound(
    host_keys: HostKeyVerifier,
) -> None:
    async with ssh_server(holds_login=True) as address:
        assert "the authentication" in await refusal_of(address, host_keys)


async def test_total_bound_cuts_every_phase(host_keys: HostKeyVerifier) -> None:
    async with silent_server() as address:
        await refusal_of(address, host_keys, Bounds(total_seconds=BOUND_SECONDS))


async def test_server_that_hangs_up_is_named(host_keys: HostKeyVerifier) -> None:
    async with hanging_up_server() as address:
        assert "closed the connection" in await refusal_of(address, host_keys)


async def test_connection_cut_in_the_middle_of_an_answer_is_no_result(
    host_keys: HostKeyVerifier,
) -> None:
    async with (
        ssh_server() as address,
        connect(address, host_keys=host_keys) as connection,
    ):
        with pytest.raises(SSHUnreachableError) as caught:
            await connection.run("anything")

    assert "Whether the command finished is unknown" in caught.value.hint


@pytest.mark.parametrize(
    ("server", "status"),
    [
        (silent_server, "no greeting"),
        (hanging_up_server, "closed without greeting"),
    ],
)
async def test_waiting_for_sshd_says_what_it_last_met(
    server: object, status: str
) -> None:
    assert callable(server)
    made = server()
    assert isinstance(made, contextlib.AbstractAsyncContextManager)
    async with made as address:
        with pytest.raises(DeadlineError) as caught:
            await wait_until_reachable(
                address, timeout=0.5, interval=0.05, probe_seconds=0.1
            )

    assert status == caught.value.last_status


async def test_waiting_in_vain_tells_what_runpod_says_of_the_pod() -> None:
    async with hanging_up_server() as address:
        with pytest.raises(DeadlineError) as caught:
            await wait_until_reachable(
                address,
                timeout=0.2,
                interval=0.05,
                explain=lambda: "The image is still being pulled.",
            )

    assert caught.value.hint == "The image is still being pulled."


async def test_waiting_ends_as_soon_as_sshd_greets() -> None:
    seen: list[str] = []
    async with tar_pit_server() as address:
        await wait_until_reachable(address, timeout=5, on_status=seen.append)

    assert seen == ["ready"]
