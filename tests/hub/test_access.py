import pytest

from runpod_client import Secret
from runpod_hub.access import Access
from support.hub_world import ScriptedClock

TOKEN = Secret("t1")
SESSION_SECRET = Secret("s1")


def make_access(
    *, token: Secret = TOKEN, session_secret: Secret = SESSION_SECRET
) -> Access:
    return Access(
        token=token,
        session_secret=session_secret,
        session_seconds=3600,
        clock=ScriptedClock(),
    )


async def test_a_session_ends_when_its_time_is_up() -> None:
    access = make_access()
    cookie = access.create_session()
    was_good = access.is_session(cookie)

    await access.clock.sleep(3600)

    assert was_good
    assert not access.is_session(cookie)


def test_a_new_token_or_secret_ends_every_session() -> None:
    cookie = make_access().create_session()

    assert make_access().is_session(cookie)
    assert not make_access(token=Secret("t2")).is_session(cookie)
    assert not make_access(session_secret=Secret("s2")).is_session(cookie)


@pytest.mark.parametrize("cookie", ["", ".", "..", "x.y.z", "9999999999.a.", "ä.ö.ü"])
def test_a_made_up_session_is_refused(cookie: str) -> None:
    assert not make_access().is_session(cookie)


def test_a_sessions_end_cannot_be_moved() -> None:
    access = make_access()
    _, _, rest = access.create_session().partition(".")

    assert not access.is_session(f"9999999999.{rest}")


def test_a_ticket_is_good_once() -> None:
    access = make_access()
    ticket = access.create_ticket()

    assert [access.redeem_ticket(ticket) for _ in range(2)] == [True, False]
    assert not access.redeem_ticket("made-up")


async def test_a_ticket_is_good_for_ten_minutes() -> None:
    access = make_access()
    ticket = access.create_ticket()

    await access.clock.sleep(600)

    assert not access.redeem_ticket(ticket)


def test_unused_tickets_do_not_pile_up() -> None:
    access = make_access()
    first = access.create_ticket()
    for _ in range(100):
        access.create_ticket()

    assert not access.redeem_ticket(first)


def test_secrets_do_not_show_in_a_repr() -> None:
    shown = repr(make_access(token=Secret("planted"), session_secret=Secret("planted")))

    assert "planted" not in shown
