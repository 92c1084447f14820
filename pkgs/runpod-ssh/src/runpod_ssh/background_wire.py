"""What a client and the background process say to each other over their socket. Pure.

A frame is four bytes of length, then fields parted by NUL: words of a command line,
variables and paths cannot hold one. The conversation of an `exec`:

    client   exec WORDS VARIABLES     what is wanted; nothing is given away yet
    server   decline                  not for the background process: do it yourself
             taken SECONDS            it is being seen to; more comes within that time
             ready                    the connection stands
    client   go                       with stdin, stdout and stderr as descriptors: from
                                      here on the command may have run
    server   exit STATUS MESSAGE HINT it is over; with a message it failed

A client that hears nothing in time hangs up and does it itself: before `go` nothing
has happened, and nobody else holds its streams. Afterwards it hangs up, or shuts its
side and waits for `exit`, to have the command interrupted.

`status` and `stop` are answered by `report JSON`; `stop now` interrupts what runs. Whoever asked hangs up, or shuts its
side, to have the command interrupted. As for `background_place`: light imports only.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXEC, STATUS, STOP = "exec", "status", "stop"
NOW = "now"
DECLINE, TAKEN, READY, GO = "decline", "taken", "ready", "go"
EXIT, REPORT = "exit", "report"
DESCRIPTOR_COUNT = 3
# more than an argv and an environment can be together
MAX_FRAME_BYTES = 8 * 1024 * 1024
HEADER_BYTES = 4


class MalformedError(Exception):
    """What came is no frame of ours."""


class Request:
    """What a client wants.

    Attributes:
        words: The command line behind `runpod-ssh exec`, verbatim.
        variables: The client's variables whose names stand among the words.
    """

    def __init__(
        self,
        kind: str,
        words: "Sequence[str]" = (),
        variables: "Mapping[str, str] | None" = None,
    ) -> None:
        self.kind = kind
        self.words = tuple(words)
        self.variables = dict(variables or {})


def pick_variables(
    words: "Sequence[str]", environ: "Mapping[str, str]"
) -> "dict[str, str]":
    """Return the variables that words like `NAME` or `--env=NAME` may speak of."""
    names = (word.rpartition("=")[2] for word in words)
    return {name: environ[name] for name in names if name in environ}


def render_request(request: Request) -> bytes:
    """Return a request as a frame."""
    variables = [f"{name}={value}" for name, value in request.variables.items()]
    return render_frame(
        [request.kind, str(len(request.words)), *request.words, *variables]
    )


def parse_request(payload: bytes) -> Request:
    """Return the request of a frame's payload.

    Raises:
        MalformedError: It is none.
    """
    kind, *rest = parse_fields(payload)
    if not rest or not rest[0].isascii() or not rest[0].isdigit():
        raise MalformedError("a request without a count of words")
    count = int(rest[0])
    if len(rest) < 1 + count:
        raise MalformedError("a request with fewer words than it says")
    variables = {}
    for text in rest[1 + count :]:
        name, equals, value = text.partition("=")
        if not equals:
            raise MalformedError("a variable without a value")
        variables[name] = value
    return Request(kind, rest[1 : 1 + count], variables)


def render_frame(fields: "Sequence[str]") -> bytes:
    """Return fields as a frame; text that is no Unicode survives."""
    payload = "\0".join(fields).encode("utf-8", "surrogateescape")
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def parse_length(header: bytes) -> int:
    """Return how long the payload behind a header is.

    Raises:
        MalformedError: Longer than anything we send.
    """
    length = int.from_bytes(header, "big")
    if length > MAX_FRAME_BYTES:
        raise MalformedError(f"a frame of {length} bytes")
    return length


def parse_fields(payload: bytes) -> "list[str]":
    """Return a payload's fields, of which there is at least one."""
    return payload.decode("utf-8", "surrogateescape").split("\0")
