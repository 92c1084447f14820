import io
import json
from collections.abc import Iterator

import pytest
import structlog

from runpod_client import Secret, logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "secret",
    [
        "rpa_ABCDEF0123456789",
        "ghp_ABCDEF0123456789",
        "ghs_ABCDEF0123456789",
        "github_pat_11ABC_def",
        "Bearer abc.def",
        "https://x/graphql?api_key=abcdef",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----",
    ],
)
def test_credentials_are_hidden_wherever_they_stand(
    stream: io.StringIO, secret: str
) -> None:
    logs.configure(format_name="json", stream=stream)

    structlog.get_logger().info("call_failed", error_detail=f"it said {secret}")

    written = stream.getvalue()
    assert secret.rsplit(maxsplit=1)[-1][-6:] not in written
    assert logs.STARS in written


def test_secret_keys_and_secret_values_are_hidden(stream: io.StringIO) -> None:
    logs.configure(format_name="json", stream=stream)

    structlog.get_logger().info("x_done", github_token="a", key=Secret("b"), user="c")

    record = json.loads(stream.getvalue())
    assert (record["github_token"], record["key"], record["user"]) == (
        "***",
        "***",
        "c",
    )


def test_level_below_the_wanted_one_is_not_written(stream: io.StringIO) -> None:
    logs.configure(level="warning", format_name="json", stream=stream)

    structlog.get_logger().info("pod_created")

    assert stream.getvalue() == ""


def test_retries_are_told_in_our_words(stream: io.StringIO) -> None:
    logs.configure(format_name="json", stream=stream)

    structlog.get_logger().warning(
        "stamina.retry_scheduled",
        callable="<context block>",
        args=(),
        kwargs={},
        retry_num=1,
        caused_by="TransportError('no answer')",
        wait_for=0.94,
        waited_so_far=0.0,
    )

    record = json.loads(stream.getvalue())
    del record["timestamp"]
    assert record == {
        "event": "call_retried",
        "level": "warning",
        "attempt": 1,
        "wait_seconds": 0.94,
        "error": "TransportError",
        "error_detail": "no answer",
    }
