"""What is kept of rotations of a pod's login key, beside the keys themselves."""

import json
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class RotationRecord:
    """The state of a pod's rotations.

    Attributes:
        start: The start of the pod that the rotated key is for.
        retired: Public keys that are to be taken off the pod.
    """

    start: str = ""
    retired: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Return the record; an unreadable one counts as none.

        The first key then stays in use, which every start of the pod accepts.
        """
        try:
            fields = json.loads(text)
            return cls(
                start=str(fields["start"]), retired=tuple(map(str, fields["retired"]))
            )
        except (ValueError, KeyError, TypeError):
            return cls()

    def render(self) -> bytes:
        """Return the record as it is kept."""
        document = {"start": self.start, "retired": list(self.retired)}
        return json.dumps(document).encode() + b"\n"
