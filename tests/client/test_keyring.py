import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from runpod_client import Cloud, ConfigError, DeadlineError, NotFoundError, Secret
from runpod_client.dialects.graphql import GraphQLCloud
from runpod_client.dialects.rest_v2 import RestV2Cloud
from runpod_client.keyring import Keyring, Settling
from runpod_client.public_keys import PublicKey, parse_public_key
from runpod_client.transport import Transport
from support.sim import SimServer

DIALECTS: Mapping[str, Callable[[Transport], Cloud]] = {
    "graphql": GraphQLCloud,
    "rest_v2": RestV2Cloud,
}
WRITES = {"graphql": "updateUserSettings", "rest_v2": "updateSshKeys"}
WRITERS = 4  # REST v2 allows 60 calls a minute, whoever makes them
JUNK = "ssh-rsa somebody-pasted-this-badly"

_numbers = itertools.count()


def make_line(comment: str = "") -> str:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    line = public.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return f"{line.decode()} {comment}".rstrip()


def make_key(comment: str = "") -> PublicKey:
    return parse_public_key(make_line(comment))


class Account:
    """An account of the simulator, reached over any dialect, and its raw keys."""

    def __init__(self, sim: SimServer, stack: ExitStack) -> None:
        self.sim = sim.with_key(f"rpa_keyring{next(_numbers):08d}")
        self._stack = stack

    def connect(self, dialect: str) -> Cloud:
        transport = Transport(
            base_url=self.sim.base_url,
            api_key=Secret(self.sim.env["RUNPOD_API_KEY"]),
            timeout_seconds=20,
        )
        cloud = DIALECTS[dialect](transport)
        self._stack.callback(cloud.close)
        return cloud

    def read(self) -> list[str]:
        status, answer = self.sim.rest("GET", "account/ssh-keys")
        assert status == 200, answer
        return list(answer["keys"])

    def write(self, keys: list[str]) -> None:
        """Replace all keys blindly, as a careless tool does."""
        joined = "\n\n".join(keys)
        answer = self.sim.graphql(
            "mutation($i: UpdateUserSettingsInput) { updateUserSettings(input: $i)"
            " { id } }",
            i={"pubKey": joined},
        )
        assert "errors" not in answer, answer


@pytest.fixture
def account(module_sim: SimServer) -> Iterator[Account]:
    with ExitStack() as stack:
        yield Account(module_sim, stack)


def at_once(*, pauses: list[Callable[[], None]] | None = None) -> Settling:
    """Pause not at all; during the n-th pause the n-th thing happens."""
    left = list(pauses or [])

    def sleep(_seconds: float) -> None:
        if left:
            left.pop(0)()

    return Settling(attempts=6, sleep=sleep, draw=lambda: 0.5)


each_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@each_dialect
def test_added_key_stands_beside_what_was_there_and_is_added_once(
    account: Account, dialect: str
) -> None:
    other = make_line("other@host")
    account.write([other])
    ours = make_key("me@host")
    keyring = Keyring(account.connect(dialect), at_once())

    first = keyring.add(ours)
    second = keyring.add(ours)

    assert (first, second) == (True, False)
    assert account.read() == [other, ours.line]
    assert [k.key and k.key.comment for k in keyring.list_keys()] == [
        "other@host",
        "me@host",
    ]


@each_dialect
def test_key_is_the_same_whatever_its_comment(account: Account, dialect: str) -> None:
    line = make_line("old comment")
    account.write([line])
    keyring = Keyring(account.connect(dialect), at_once())

    added = keyring.add(parse_public_key(line, comment="new comment"))

    assert added is False
    assert account.read() == [line]


def test_line_that_is_no_key_is_listed_and_kept(account: Account) -> None:
    account.write([JUNK])
    ours = make_key()
    keyring = Keyring(account.connect("graphql"), at_once())

    keyring.add(ours)

    assert account.read() == [JUNK, ours.line]
    assert [entry.key is None for entry in keyring.list_keys()] == [True, False]


@each_dialect
@pytest.mark.parametrize("by", ["fingerprint", "prefix", "comment"])
def test_key_is_removed_by_what_names_it_and_no_other(
    account: Account, dialect: str, by: str
) -> None:
    stays, goes = make_key("stays"), make_key("goes away")
    account.write([stays.line, goes.line])
    digest = goes.fingerprint.removeprefix("SHA256:")
    selector = {"fingerprint": goes.fingerprint, "prefix": digest[:8]}.get(
        by, "goes away"
    )

    removed = Keyring(account.connect(dialect), at_once()).remove(selector)

    assert removed.key == goes
    assert account.read() == [stays.line]


@pytest.mark.parametrize("selector", ["nobody", "SHA256:", "", "SHA256:abcdefg"])
def test_name_that_fits_no_key_removes_nothing(account: Account, selector: str) -> None:
    account.write([make_line(), make_line("a")])
    before = account.read()
    keyring = Keyring(account.connect("rest_v2"), at_once())

    with pytest.raises(NotFoundError):
        keyring.remove(selector)

    assert account.read() == before


def test_comment_that_two_keys_have_removes_neither(account: Account) -> None:
    lines = [make_line("laptop"), make_line("laptop")]
    account.write(lines)
    keyring = Keyring(account.connect("rest_v2"), at_once())

    with pytest.raises(ConfigError, match="SHA256:"):
        keyring.remove("laptop")

    assert account.read() == lines


@each_dialect
def test_key_that_a_careless_writer_wiped_is_added_to_what_he_wrote(
    account: Account, dialect: str
) -> None:
    ours, old, theirs = make_key("ours"), make_line("old"), make_line("theirs")
    account.write([old])
    # he had read before we wrote, and writes while we wait to look again
    settling = at_once(pauses=[lambda: account.write([old, theirs])])

    Keyring(account.connect(dialect), settling).add(ours)

    assert account.read() == [old, theirs, ours.line]


@each_dialect
def test_removed_key_that_a_careless_writer_brought_back_is_removed_again(
    account: Account, dialect: str
) -> None:
    goes, theirs = make_key("goes"), make_line("theirs")
    account.write([goes.line])
    settling = at_once(pauses=[lambda: account.write([goes.line, theirs])])

    Keyring(account.connect(dialect), settling).remove("goes")

    assert account.read() == [theirs]


def test_key_that_somebody_removed_meanwhile_is_not_brought_back(
    account: Account,
) -> None:
    ours, old, revoked = make_key("ours"), make_line("old"), make_line("revoked")
    account.write([old, revoked])
    settling = at_once(pauses=[lambda: account.write([old])])

    Keyring(account.connect("rest_v2"), settling).add(ours)

    assert account.read() == [old, ours.line]


def test_writer_who_undoes_it_for_ever_ends_it_with_an_error_and_keeps_his_key(
    account: Account,
) -> None:
    theirs = make_line("theirs")
    settling = at_once(pauses=[lambda: account.write([theirs])] * 100)

    with pytest.raises(DeadlineError, match="changed by others"):
        Keyring(account.connect("rest_v2"), settling).add(make_key("ours"))

    assert account.read() == [theirs]


@each_dialect
def test_write_whose_answer_is_lost_is_read_back_and_not_doubted(
    sim: SimServer, dialect: str
) -> None:
    with ExitStack() as stack:
        account = Account(sim, stack)
        sim.add_fault("lost_answer", operation=WRITES[dialect])
        ours = make_key("ours")

        added = Keyring(account.connect(dialect), at_once()).add(ours)

        assert added is True
        assert account.read() == [ours.line]
        assert sim.admin("GET", "faults")["faults"] == []


@pytest.mark.parametrize("seed", range(4))
def test_writers_at_once_over_both_dialects_lose_nobody_a_key(
    account: Account, seed: int
) -> None:
    before = [make_key(f"before {number}") for number in range(WRITERS)]
    account.write([key.line for key in before])
    added = [make_key(f"added {number}") for number in range(WRITERS)]
    removed, kept = before[: WRITERS // 2], before[WRITERS // 2 :]
    draw = random.Random(seed)  # noqa: S311  # reproducible
    settling = Settling(
        attempts=40,
        confirm_seconds=0.5,
        backoff_seconds=0.05,
        max_backoff_seconds=0.5,
        draw=draw.random,
    )
    start = threading.Barrier(WRITERS + len(removed))

    def write(job: tuple[int, PublicKey]) -> None:
        number, key = job
        keyring = Keyring(account.connect(list(DIALECTS)[number % 2]), settling)
        start.wait(timeout=20)
        if number < WRITERS:
            keyring.add(key)
        else:
            keyring.remove(key.fingerprint)

    jobs = list(enumerate([*added, *removed]))
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(write, jobs))

    assert set(account.read()) == {key.line for key in [*kept, *added]}
