"""What `copy` and `sync` have in common: POD:PATH or a local path, and sizes as text."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Side:
    """One source or the target.

    Attributes:
        pod: Which pod it is on; empty for this machine.
    """

    pod: str
    path: str

    def __str__(self) -> str:
        return f"{self.pod}:{self.path}" if self.pod else self.path


def parse_side(text: str) -> Side:
    """Return POD:PATH or a local path, told apart as scp does."""
    pod, colon, path = text.partition(":")
    if not colon or not pod or "/" in pod:
        return Side(pod="", path=text)
    return Side(pod=pod, path=path)


def render_size(count: int) -> str:
    """Return a number of bytes as people read it."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
