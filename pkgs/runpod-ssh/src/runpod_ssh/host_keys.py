"""Which host key each pod is known by: one pin per pod and start, in the state folder.

RunPod makes new host keys at every start of a pod and hands its ip:port to the next
pod, so a pin is filed under the pod's id and holds the start it was made for. The same
start with another key is refused; another start is trusted anew. `boot_log` vouches for
keys where the pod's log prints their fingerprints.

Files: `<folder>/<pod id>.json` and, for OpenSSH, `<pod id>.known_hosts`. This module
knows nothing of connections.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from runpod_client import ConfigError, Pod, SSHAddress
from runpod_ssh.errors import HostKeyError
from runpod_ssh.model import HostKey, HostKeyPolicy

_POD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


def start_of(pod: Pod, address: SSHAddress) -> str:
    """Return what tells this start of the pod from its others."""
    if pod.started_at is not None:
        return pod.started_at.astimezone(UTC).isoformat()
    return f"{address.host}:{address.port}"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """The key a pod showed during one start.

    Attributes:
        trust: `first-use`, or `verified` when a person or the boot log vouched for
            the fingerprint.
        others: Fingerprints that were vouched for as well, of keys of other types;
            none once the pod has shown its key.
    """

    pod_id: str
    start: str
    algorithm: str
    blob: str
    fingerprint: str
    trust: str
    pinned_at: str
    others: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> set[str]:
        """Return the fingerprints of the keys that may be the pod's."""
        return {self.fingerprint, *self.others}

    @property
    def host_key(self) -> HostKey | None:
        """Return the key; None while only its fingerprint is known."""
        return HostKey(algorithm=self.algorithm, blob=self.blob) if self.blob else None


class HostKeyStore:
    """Pins under one folder; every write is whole or not at all, mode 0600."""

    def __init__(self, folder: Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.folder = folder
        self._now = now

    def find(self, pod_id: str) -> Pin | None:
        """Return the pod's pin, whatever start it is for; None when there is none.

        Raises:
            ConfigError: The file is there and cannot be read as a pin.
        """
        path = self._path(pod_id, ".json")
        try:
            fields = json.loads(path.read_text())
            return Pin(**{**fields, "others": tuple(fields.get("others", ()))})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # an unreadable pin must not count as none: that would trust any key
            raise ConfigError(
                f"cannot read the pinned host key {path}: {error}",
                source=str(path),
                hint=f"Verify the pod, then: runpod-ssh keys forget {pod_id}",
            ) from error

    def has(self, selector: str) -> bool:
        """Return whether `selector` is the id of a pod with a pin, readable or not."""
        if not _POD_ID.fullmatch(selector):
            return False
        return self._path(selector, ".json").exists()

    def find_for_start(self, pod_id: str, start: str) -> Pin | None:
        """Return the pin if it was made during this start."""
        pin = self.find(pod_id)
        return pin if pin is not None and pin.start == start else None

    def pin(
        self, pod_id: str, start: str, key: HostKey, *, trust: str = "first-use"
    ) -> Pin:
        """Record the key of this start, replacing the pin of an earlier one."""
        return self._write(
            Pin(
                pod_id=pod_id,
                start=start,
                algorithm=key.algorithm,
                blob=key.blob,
                fingerprint=key.fingerprint,
                trust=trust,
                pinned_at=self._now().isoformat(),
            )
        )

    def vouch(self, pod_id: str, start: str, fingerprints: Sequence[str]) -> Pin:
        """Record that the pod's key of this start is one of these, seen or not.

        Args:
            fingerprints: Of keys of different types; the likeliest first.
        """
        known = self.find_for_start(pod_id, start)
        if known is not None and known.blob and known.fingerprint in fingerprints:
            return self._write(replace(known, trust="verified", others=()))
        return self._write(
            Pin(
                pod_id=pod_id,
                start=start,
                algorithm="",
                blob="",
                fingerprint=fingerprints[0],
                trust="verified",
                pinned_at=self._now().isoformat(),
                others=tuple(fingerprints[1:]),
            )
        )

    def list_pod_ids(self) -> list[str]:
        """Return the ids of all pods with a pin, readable or not."""
        if not self.folder.is_dir():
            return []
        return sorted(path.stem for path in self.folder.glob("[!.]*.json"))

    def forget(self, pod_id: str) -> bool:
        """Remove the pod's pin; say whether there was one."""
        existed = self._path(pod_id, ".json").exists()
        for suffix in (".json", ".known_hosts", ".unverified"):
            self._path(pod_id, suffix).unlink(missing_ok=True)
        return existed

    def known_hosts_file(self, pod_id: str) -> Path:
        """Return the OpenSSH file that holds the pod's key under its id as alias."""
        return self._path(pod_id, ".known_hosts")

    def _write(self, pin: Pin) -> Pin:
        document = json.dumps(asdict(pin), indent=2) + "\n"
        key = pin.host_key
        line = f"{pin.pod_id} {key.algorithm} {key.blob}\n" if key else ""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(self._path(pin.pod_id, ".known_hosts"), line)
            _replace(self._path(pin.pod_id, ".json"), document)
        except OSError as error:
            raise ConfigError(
                f"cannot write the host key to {self.folder}: {error.strerror}",
                setting="state_dir",
                hint="Point RUNPOD_STATE_DIR at a folder that can be written.",
            ) from error
        return pin

    def _path(self, pod_id: str, suffix: str) -> Path:
        # ids come from the API: never let one walk the tree
        if not _POD_ID.fullmatch(pod_id):
            raise ConfigError(f"{pod_id!r} cannot be a pod id")
        return self.folder / f"{pod_id}{suffix}"


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all; mkstemp gives it mode 0600."""
    import tempfile  # noqa: PLC0415  # 4 ms, and most connections write no pin

    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


class HostKeyVerifier:
    """Judges the key a connection was offered; one per connection.

    `check` is asked during the key exchange, `confirm` once the pod has proved that
    it holds the key and accepted our login: only then is a new key pinned.
    """

    def __init__(
        self,
        store: HostKeyStore,
        *,
        pod_id: str,
        start: str,
        policy: HostKeyPolicy = HostKeyPolicy.TRUST_ON_FIRST_USE,
    ) -> None:
        self._store = store
        self._pod_id = pod_id
        self._start = start
        self._policy = policy

    @property
    def preferred_algorithm(self) -> str:
        """Return the type of the pinned key, empty when none is pinned."""
        if self._policy is HostKeyPolicy.OFF:
            return ""
        pin = self._store.find_for_start(self._pod_id, self._start)
        return pin.algorithm if pin else ""

    def check(self, offered: HostKey) -> None:
        """Return if the key may be the pod's.

        Raises:
            HostKeyError: It is another than the pinned one, or none is pinned and
                the policy is strict.
        """
        if self._policy is HostKeyPolicy.OFF:
            return
        pin = self._store.find_for_start(self._pod_id, self._start)
        if pin is None:
            if self._policy is HostKeyPolicy.STRICT:
                raise self._unknown(offered)
        elif offered.fingerprint not in pin.fingerprints:
            raise self._changed(pin, offered)

    def confirm(self, proved: HostKey) -> None:
        """Pin the key of a connection that was established."""
        if self._policy is HostKeyPolicy.OFF:
            return
        # another process may have pinned since `check`: what is there must agree
        self.check(proved)
        pin = self._store.find_for_start(self._pod_id, self._start)
        if pin is None or not pin.blob:
            trust = pin.trust if pin else "first-use"
            self._store.pin(self._pod_id, self._start, proved, trust=trust)

    def _unknown(self, offered: HostKey) -> HostKeyError:
        return HostKeyError(
            f"no host key is pinned for pod {self._pod_id} since its last start; "
            f"it offers {offered.fingerprint}",
            offered_fingerprint=offered.fingerprint,
            hint="Compare with the fingerprint in the pod's boot log, then: "
            f"runpod-ssh keys trust {self._pod_id} {offered.fingerprint}",
        )

    def _changed(self, pin: Pin, offered: HostKey) -> HostKeyError:
        if pin.blob:
            told = "changed without a new start: pinned"
            way_out = f"runpod-ssh keys forget {self._pod_id}"
        else:
            told = "is none that was vouched for: expected"
            way_out = f"runpod-ssh keys trust {self._pod_id} {offered.fingerprint}"
        return HostKeyError(
            f"the host key of pod {self._pod_id} {told} {pin.fingerprint}, "
            f"offered {offered.fingerprint}",
            expected_fingerprint=pin.fingerprint,
            offered_fingerprint=offered.fingerprint,
            hint="Someone may be in between. Compare with the fingerprint in the pod's "
            f"boot log (runpod-client pods logs {self._pod_id}); "
            f"if it is right: {way_out}",
        )
