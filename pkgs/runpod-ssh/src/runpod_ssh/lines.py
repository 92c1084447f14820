"""Cutting a stream of bytes into lines, in bounded memory. Pure."""

# a longer line is handed on in pieces of this size, as if each were a line
MAX_LINE_BYTES = 64 * 1024


class LineSplitter:
    """Takes chunks as they come and gives lines, without their newlines."""

    def __init__(self, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._begun = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are complete by now."""
        *whole, self._begun = (self._begun + chunk).split(b"\n")
        lines = [piece for line in whole for piece in self._pieces(line)]
        if len(self._begun) > self._max_bytes:
            *ready, self._begun = self._pieces(self._begun)
            lines.extend(ready)
        return lines

    def finish(self) -> list[bytes]:
        """Return what is left of a last line that had no newline."""
        rest, self._begun = self._begun, b""
        return [rest] if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        if len(line) <= self._max_bytes:
            return [line]
        return [
            line[start : start + self._max_bytes]
            for start in range(0, len(line), self._max_bytes)
        ]
