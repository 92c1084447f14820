"""Reading an answer's body within bounds of bytes and of time, however it arrives."""

from collections.abc import Generator, Iterator

import requests
from requests import exceptions as lower
from urllib3 import exceptions as lowest

from runpod_client.deadlines import check_time, cut_at

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_STREAM_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
_CHUNK_BYTES = 64 * 1024


def read_body(response: requests.Response, deadline: float) -> bytes:
    """Return the whole body.

    Args:
        deadline: An instant of the monotonic clock.

    Raises:
        RequestException: It is too large, or did not end in time.
        HTTPError: urllib3's, for a body that cannot be read.
    """
    with cut_at(response.raw.fileno, deadline):
        return b"".join(_read_chunks(response, deadline, MAX_ANSWER_BYTES))


def read_lines(
    response: requests.Response, deadline: float
) -> Generator[str, None, None]:
    """Yield the body's lines as they arrive, until its end or the deadline.

    A line that the deadline cuts in two is left out.

    Raises:
        RequestException: The body or a line is too large.
        HTTPError: urllib3's, for a body that cannot be read.
    """
    rest = b""
    with cut_at(response.raw.fileno, deadline):
        chunks = _read_chunks(response, deadline, MAX_STREAM_BYTES)
        while True:
            try:
                chunk = next(chunks)
            except lower.ReadTimeout:
                return
            except StopIteration:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            if max(map(len, (*lines, rest))) > MAX_LINE_BYTES:
                raise lower.ContentDecodingError("a line is too long")
            yield from map(_decode, lines)
    if rest:
        yield _decode(rest)


def _read_chunks(
    response: requests.Response, deadline: float, max_bytes: int
) -> Iterator[bytes]:
    """Yield what has arrived; raise `ReadTimeout` once the deadline has passed."""
    size = 0
    while True:
        try:
            # read1 returns what is there; a plain read would wait for whole chunks
            chunk = response.raw.read1(_CHUNK_BYTES, decode_content=True)
        except (lowest.HTTPError, OSError) as error:
            check_time(deadline, error)
            raise
        if chunk:
            size += len(chunk)
            if size > max_bytes:
                raise lower.ContentDecodingError("the answer is too large")
            yield chunk
        # an end that comes with the deadline is the timer's doing
        check_time(deadline)
        if not chunk:
            return


def _decode(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")
