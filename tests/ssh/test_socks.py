"""What SOCKS clients say and hear, as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_ssh.errors import SocksError
from runpod_ssh.socks import Greeting

VERSION_5 = b"\5\1\0"


def wish_5(kind: int, host: bytes, port: int = 80, command: int = 1) -> bytes:
    return bytes([5, command, 0, kind]) + host + port.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("words", "host", "port"),
    [
        (VERSION_5 + wish_5(1, bytes([10, 0, 0, 7])), "10.0.0.7", 80),
        (VERSION_5 + wish_5(3, b"\7db.host", 5432), "db.host", 5432),
        (VERSION_5 + wish_5(4, bytes(15) + b"\1", 8188), "::1", 8188),
        (b"\5\3\2\0\1" + wish_5(1, bytes(4)), "0.0.0.0", 80),
        (b"\4\1\0\x50\x0a\0\0\7user\0", "10.0.0.7", 80),
        (b"\4\1\0\x50\0\0\0\1\0db.host\0", "db.host", 80),
    ],
)
def test_wish_is_understood_however_its_bytes_arrive(
    words: bytes, host: str, port: int
) -> None:
    whole, slow = Greeting(), Greeting()

    answer, wish = whole.feed(words + b"ahead")
    steps = [slow.feed(words[at : at + 1]) for at in range(len(words))]

    assert wish is not None
    assert (wish.host, wish.port, whole.rest) == (host, port, b"ahead")
    assert steps[-1][1] == wish
    assert all(step[1] is None for step in steps[:-1])
    assert b"".join(step[0] for step in steps) == answer
    assert answer == (b"\5\0" if words[0] == 5 else b"")


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"GET / HTTP/1.1\r\n", b""),
        (b"\5\1\2", b"\5\xff"),
        (VERSION_5 + wish_5(1, bytes(4), command=2), b"\5\7\0\1" + bytes(6)),
        (VERSION_5 + wish_5(9, bytes(4)), b"\5\x08\0\1" + bytes(6)),
        (VERSION_5 + wish_5(3, b"\2\xff\xff"), b""),
        (VERSION_5 + wish_5(3, b"\0"), b""),
        (b"\4\2\0\x50\x0a\0\0\7\0", b"\0\x5b" + bytes(6)),
        (b"\4\1\0\x50\x0a\0\0\7" + b"u" * 2000, b""),
    ],
)
def test_what_is_not_offered_is_refused_in_the_clients_own_words(
    words: bytes, answer: bytes
) -> None:
    with pytest.raises(SocksError) as caught:
        Greeting().feed(words)

    assert caught.value.answer == answer


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_break_the_greeting(pieces: list[bytes]) -> None:
    greeting = Greeting()
    for piece in pieces:
        try:
            _answer, wish = greeting.feed(piece)
        except SocksError:
            return
        if wish is not None:
            assert 0 <= wish.port <= 65535
            assert wish.host
            return
