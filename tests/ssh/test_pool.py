"""The pool against real sshd: one link per pod, proved before use, replaced when lost."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runpod_ssh import (
    HostKeyStore,
    PodTarget,
    SSHUnreachableError,
    UnknownOutcomeError,
    connect_pod,
)
from runpod_ssh.admission import Admission, Limits
from runpod_ssh.connection import Connection
from runpod_ssh.errors import SSHError
from runpod_ssh.links import PoolRules
from runpod_ssh.pool import Pool
from support.sshd_farm import SshdFarm, sshd_farm
from support.waiting import wait_for

OpenLink = Callable[[PodTarget], AbstractAsyncContextManager[Connection]]
FarmFactory = Callable[..., SshdFarm]


@pytest.fixture
def farm_of(tmp_path: Path) -> Iterator[FarmFactory]:
    """Start farms; each lives until the test ends."""
    with contextlib.ExitStack() as stack:

        def make(count: int, *, extra_config: str = "") -> SshdFarm:
            return stack.enter_context(
                sshd_farm(tmp_path / "farm", count, extra_config=extra_config)
            )

        yield make


@pytest.fixture
def open_link(store: HostKeyStore) -> OpenLink:
    return lambda target: connect_pod(target, host_keys=store)


async def wait_until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what=what)


async def run_many(
    pool: Pool, farm: SshdFarm, count: int, *, at_once: int = 1000
) -> None:
    """Run that many commands, spread over all pods, and check every answer."""
    targets = farm.targets
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with room:
            result = await pool.run(targets[number % len(targets)], f"echo {number}")
        assert (result.exit_status, result.stdout) == (0, f"{number}\n".encode())

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(one(number))


async def test_each_pod_is_connected_to_once_however_many_commands(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(5)

    async with asyncio.timeout(60), Pool(open_link) as pool:
        await run_many(pool, farm, 500)
        records = pool.links()

    assert farm.count_logins() == 5
    assert farm.list_drops() == []
    # sshd frees a session a moment after its end; on a busy machine one meets that
    assert farm.count_refused_sessions() <= 5
    assert sorted(record.name for record in records) == [
        f"trainer-{number}" for number in range(5)
    ]


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_ten_thousand_commands_over_a_hundred_pods_take_a_hundred_logins(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(100)

    async with asyncio.timeout(500), Pool(open_link) as pool:
        await run_many(pool, farm, 10_000, at_once=48)

    assert farm.count_logins() == 100
    assert farm.list_drops() == []


async def test_records_tell_what_the_links_do(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    now = 100.0

    async with Pool(open_link, clock=lambda: now) as pool:
        async with pool.borrow(farm.target(0)):
            now = 130.0
            used = pool.links()
        now = 140.0
        idle = pool.links()

    assert [(r.borrowers, r.idle_seconds, r.connected_seconds) for r in used] == [
        (1, 0.0, 30.0)
    ]
    assert [(r.borrowers, r.idle_seconds, r.connected_seconds) for r in idle] == [
        (0, 10.0, 40.0)
    ]
    assert (idle[0].pod_id, idle[0].address) == ("pod0", farm.servers[0].address)
    assert idle[0].channels >= 1


async def test_frozen_sshd_is_found_within_two_seconds_and_not_handed_out(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    rules = PoolRules(fresh_seconds=0.0, connect_tries=1)
    async with Pool(open_link, rules=rules) as pool:
        await pool.run(farm.target(0), "true")
        farm.servers[0].pause()
        began = time.monotonic()

        with pytest.raises(SSHUnreachableError):
            async with pool.borrow(farm.target(0)):
                raise AssertionError("a frozen link was handed out")

        assert time.monotonic() - began < 2.5
        assert pool.links() == ()


async def test_link_that_died_while_idle_is_replaced_unnoticed(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    async with Pool(open_link, rules=PoolRules(fresh_seconds=0.0)) as pool:
        await pool.run(farm.target(0), "true")
        farm.servers[0].restart(with_new_host_key=False)

        result = await pool.run(farm.target(0), "echo again")

    assert result.stdout == b"again\n"
    assert farm.count_logins() == 2


async def test_sshd_that_is_away_for_a_moment_is_tried_again(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    server = farm.servers[0]
    server.stop()
    async with Pool(open_link, rules=PoolRules(first_pause_seconds=0.4)) as pool:
        running = asyncio.create_task(pool.run(farm.target(0), "echo back"))
        await asyncio.sleep(0)

        await asyncio.to_thread(server.start)

        assert (await running).stdout == b"back\n"


async def test_sshd_that_stays_away_fails_everyone_who_waits(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    farm.servers[0].stop()
    rules = PoolRules(first_pause_seconds=0.01)
    async with asyncio.timeout(10), Pool(open_link, rules=rules) as pool:
        results = await asyncio.gather(
            *(pool.run(farm.target(0), "true") for _ in range(20)),
            return_exceptions=True,
        )

    assert [type(result) for result in results] == [SSHUnreachableError] * 20


async def test_command_that_was_cut_off_is_not_run_again_unless_idempotent(
    farm_of: FarmFactory, open_link: OpenLink, tmp_path: Path
) -> None:
    farm = farm_of(1)
    ran = tmp_path / "ran"
    command = f"echo x >>{ran}; [ $(wc -l <{ran}) -ge 2 ] || sleep 60"
    async with Pool(open_link) as pool:
        once = asyncio.create_task(pool.run(farm.target(0), command))
        await wait_until(ran.exists, "the command runs")
        farm.servers[0].restart(with_new_host_key=False)
        with pytest.raises(UnknownOutcomeError) as caught:
            await once
        runs_of_once = ran.read_text().count("x")
        ran.unlink()

        twice = asyncio.create_task(pool.run(farm.target(0), command, idempotent=True))
        await wait_until(ran.exists, "the command runs")
        farm.servers[0].restart(with_new_host_key=False)
        result = await twice

    assert runs_of_once == 1
    assert "unknown" in caught.value.hint
    assert (result.exit_status, ran.read_text().count("x")) == (0, 2)


async def run_while_cutting(
    pool: Pool, farm: SshdFarm, *, commands: int, commands_per_cut: int
) -> None:
    """Run idempotent commands; after each so many, cut a pod off at random."""
    chance = random.Random(11)  # noqa: S311  # repeatable
    done = 0

    async def one(number: int) -> None:
        nonlocal done
        result = await pool.run(
            farm.targets[number % len(farm.servers)],
            f"sleep 0.0{number % 5}; echo {number}",
            idempotent=True,
        )
        assert (result.exit_status, result.stdout) == (0, f"{number}\n".encode())
        done += 1
        if done % commands_per_cut == 0:
            farm.cut(chance.randrange(len(farm.servers)))

    async with asyncio.TaskGroup() as group:
        for number in range(commands):
            group.create_task(one(number))


async def test_idempotent_commands_all_finish_while_links_are_cut(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(3)

    async with asyncio.timeout(60), Pool(open_link) as pool:
        await run_while_cutting(pool, farm, commands=100, commands_per_cut=10)

    # a cut that meets no link that stands costs nothing
    assert farm.count_logins() > 3 + 2


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_a_thousand_idempotent_commands_finish_despite_a_hundred_cuts(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(10)

    async with asyncio.timeout(500), Pool(open_link) as pool:
        await run_while_cutting(pool, farm, commands=1000, commands_per_cut=10)

    assert farm.count_logins() > 10 + 30


async def connect_at_once(
    farm: SshdFarm, open_link: OpenLink, *, connections: int
) -> None:
    """Hold that many connections, spread over all pods, opened as one crowd."""
    admission = Admission()
    everyone_in = asyncio.Barrier(connections)

    async def one(target: PodTarget) -> None:
        host, port = target.address.host, target.address.port
        async with contextlib.AsyncExitStack() as stack:
            async with admission.handshake(host, port):
                await stack.enter_async_context(open_link(target))
            await everyone_in.wait()

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(one(farm.targets[number % len(farm.servers)]))


async def test_no_sshd_drops_anyone_of_a_crowd_that_connects_at_once(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(2)

    async with asyncio.timeout(60):
        await connect_at_once(farm, open_link, connections=60)

    assert (farm.count_logins(), farm.list_drops()) == (60, [])


@pytest.mark.heavy
@pytest.mark.timeout(600)
async def test_no_sshd_of_fifty_drops_anyone_of_five_hundred(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(50)

    async with asyncio.timeout(300):
        await connect_at_once(farm, open_link, connections=500)

    assert (farm.count_logins(), farm.list_drops()) == (500, [])


async def test_long_commands_get_a_second_link_and_lock_nobody_out(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    rules = PoolRules(patience_seconds=0.3)
    sessions = Limits().sessions_per_connection

    async with asyncio.timeout(30), Pool(open_link, rules=rules) as pool:
        long = [
            asyncio.create_task(pool.run(farm.target(0), "sleep 60"))
            for _ in range(sessions)
        ]
        await wait_until(
            lambda: [link.borrowers for link in pool.links()] == [sessions],
            "all sessions are taken",
        )
        result = await pool.run(farm.target(0), "echo in")
        links = len(pool.links())
        refused = farm.count_refused_sessions()
        for task in long:
            task.cancel()
        await asyncio.gather(*long, return_exceptions=True)

    assert (result.stdout, links, refused) == (b"in\n", 2, 0)


async def test_sshd_that_allows_fewer_sessions_gets_fewer(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1, extra_config="MaxSessions 3")

    async with asyncio.timeout(60), Pool(open_link) as pool:
        await run_many(pool, farm, 60)


async def test_waiter_that_gives_up_keeps_no_session(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    limits = Limits(sessions_per_connection=1)
    rules = PoolRules(patience_seconds=60)
    pool = Pool(open_link, admission=Admission(limits), rules=rules)

    async with asyncio.timeout(30), pool:
        async with pool.borrow(farm.target(0)):
            waiters = [
                asyncio.create_task(pool.run(farm.target(0), "true")) for _ in range(9)
            ]
            await asyncio.sleep(0)
            for waiter in waiters[:8]:
                waiter.cancel()
        await waiters[8]
        result = await pool.run(farm.target(0), "echo free")
        borrowers = [link.borrowers for link in pool.links()]

    assert (result.stdout, borrowers) == (b"free\n", [0])
    assert all(waiter.cancelled() for waiter in waiters[:8])


async def test_opening_goes_on_when_the_first_who_asked_gives_up(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)

    async with asyncio.timeout(30), Pool(open_link) as pool:
        first = asyncio.create_task(pool.run(farm.target(0), "true"))
        second = asyncio.create_task(pool.run(farm.target(0), "echo second"))
        await asyncio.sleep(0)
        first.cancel()

        assert (await second).stdout == b"second\n"

    assert first.cancelled()
    assert farm.count_logins() == 1


async def test_link_nobody_uses_is_closed(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)

    async with Pool(open_link, idle_seconds=0.2) as pool:
        await pool.run(farm.target(0), "true")
        await wait_until(lambda: pool.links() == (), "the idle link is closed")
        await wait_until(
            lambda: (
                "Disconnected" in farm.servers[0].log_text
                or "disconnected" in farm.servers[0].log_text
            ),
            "sshd was told goodbye",
        )

    assert farm.count_logins() == 1


async def test_link_in_use_is_never_idle(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)

    async with Pool(open_link, idle_seconds=0.1) as pool:
        result = await pool.run(farm.target(0), "sleep 0.6; echo done")

    assert (result.stdout, farm.count_logins()) == (b"done\n", 1)


async def test_pod_that_was_started_anew_gets_a_link_of_its_own(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(2)
    before = farm.target(0, started_at=datetime(2026, 1, 1, tzinfo=UTC))
    after = replace(
        farm.target(1, started_at=datetime(2026, 1, 2, tzinfo=UTC)).pod,
        pod_id=before.pod.pod_id,
    )
    now = replace(before, pod=after, address=farm.servers[1].address)

    async with Pool(open_link) as pool:
        old = await pool.run(before, "echo $SSH_CONNECTION")
        new = await pool.run(now, "echo $SSH_CONNECTION")
        await wait_until(lambda: len(pool.links()) == 1, "the old link is closed")

    assert old.stdout.split()[3] == str(farm.servers[0].port).encode()
    assert new.stdout.split()[3] == str(farm.servers[1].port).encode()


async def test_closed_pool_ends_its_links_and_refuses_whoever_waits(
    farm_of: FarmFactory, open_link: OpenLink
) -> None:
    farm = farm_of(1)
    limits = Limits(sessions_per_connection=1)
    pool = Pool(open_link, admission=Admission(limits))
    using = asyncio.create_task(pool.run(farm.target(0), "sleep 60"))
    await wait_until(lambda: [r.borrowers for r in pool.links()] == [1], "it runs")
    waiting = asyncio.create_task(pool.run(farm.target(0), "true"))
    await asyncio.sleep(0)
    began = time.monotonic()

    await pool.close()

    ended = await asyncio.gather(using, waiting, return_exceptions=True)
    assert [type(error) for error in ended] == [UnknownOutcomeError, SSHError]
    assert time.monotonic() - began < 5
    with pytest.raises(SSHError, match="closed"):
        await pool.run(farm.target(0), "true")


async def test_frozen_link_that_others_use_is_not_cut_under_them(
    farm_of: FarmFactory, open_link: OpenLink, tmp_path: Path
) -> None:
    farm = farm_of(1)
    runs, done = tmp_path / "runs", tmp_path / "done"
    command = f"touch {runs}; until [ -e {done} ]; do sleep 0.02; done; echo ok"
    rules = PoolRules(fresh_seconds=0.0, proof_seconds=0.5, connect_tries=1)
    async with Pool(open_link, rules=rules) as pool, asyncio.timeout(30):
        running = asyncio.create_task(pool.run(farm.target(0), command))
        await wait_until(runs.exists, "it runs")
        farm.servers[0].pause()

        with pytest.raises(SSHUnreachableError):
            await pool.run(farm.target(0), "true", timeout=1)

        farm.resume()
        done.touch()
        assert (await running).stdout == b"ok\n"
