"""Frames between a client and the background process: all of it arrives, or nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_ssh import background_wire as wire

# what an argv or an environment can hold: bytes but NUL, as Python shows them
WORDS = st.binary(max_size=40).map(
    lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)
NAMES = WORDS.filter(lambda name: "=" not in name)


def payload_of(frame: bytes) -> bytes:
    length = wire.parse_length(frame[: wire.HEADER_BYTES])
    payload = frame[wire.HEADER_BYTES :]
    assert len(payload) == length
    return payload


@given(words=st.lists(WORDS), variables=st.dictionaries(NAMES, WORDS))
def test_request_arrives_as_it_was_sent(
    words: list[str], variables: dict[str, str]
) -> None:
    request = wire.Request(wire.EXEC, words, variables)

    received = wire.parse_request(payload_of(wire.render_request(request)))

    assert received.kind == wire.EXEC
    assert received.words == tuple(words)
    assert received.variables == variables


@given(fields=st.lists(WORDS, min_size=1))
def test_answer_arrives_as_it_was_sent(fields: list[str]) -> None:
    assert wire.parse_fields(payload_of(wire.render_frame(fields))) == fields


@given(payload=st.binary(max_size=60))
def test_noise_is_malformed_or_a_request(payload: bytes) -> None:
    try:
        request = wire.parse_request(payload)
    except wire.MalformedError:
        return

    assert payload.startswith(request.kind.encode("utf-8", "surrogateescape"))


def test_frame_longer_than_ours_are_is_refused() -> None:
    with pytest.raises(wire.MalformedError):
        wire.parse_length(b"\xff\xff\xff\xff")


def test_only_variables_that_words_name_are_sent() -> None:
    environ = {"TOKEN": "t", "OTHER": "o", "HOME": "/h", "LAST": "l"}
    words = ["--env", "TOKEN", "--env=OTHER", "--env", "NEW=LAST", "pod", "cmd", "GONE"]

    picked = wire.pick_variables(words, environ)

    assert picked == {"TOKEN": "t", "OTHER": "o", "LAST": "l"}
