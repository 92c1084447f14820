"""RunPod's SSH proxy: a shell in any running pod, whatever its ports and image.

A client logs in as the pod's host id with one of the account's keys and gets a shell
behind a terminal, nothing else: no command, no file transfer, no forwarding.
"""

import asyncio
import socket
from typing import Protocol

import asyncssh

from runpod_sim.asyncssh_server import LOGIN_SECONDS, PodSessions, Process
from runpod_sim.model import Account, Pod

# rule SIM-SSH-6
NO_TERMINAL = b"Error: Your SSH client doesn't support PTY\r\n"


class Estate(Protocol):
    """What the proxy asks of the platform."""

    def find_pod_by_host(self, host_id: str) -> Pod | None:
        """Return the pod that is assigned to a machine under that id."""
        ...

    def account_of(self, pod: Pod) -> Account:
        """Return whose pod it is."""
        ...

    def sessions_in(self, pod: Pod) -> PodSessions | None:
        """Return the way into a pod that runs, None for one that does not."""
        ...


class SSHProxy:
    """The proxy while it serves; its host key is made at each start."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self, opened: socket.socket) -> None:
        """Serve on a socket that is bound."""
        self._acceptor = await asyncssh.listen(
            sock=opened,
            server_factory=lambda: _Login(self._estate, self._connections),
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            process_factory=self._serve,
            encoding=None,
            line_editor=False,
            login_timeout=LOGIN_SECONDS,
        )

    async def stop(self) -> None:
        """Hang up on everybody; the pods end what runs in them."""
        if self._acceptor is not None:
            self._acceptor.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    async def _serve(self, process: Process) -> None:
        pod = self._estate.find_pod_by_host(process.get_extra_info("username"))
        sessions = self._estate.sessions_in(pod) if pod else None
        if process.term_type is None or sessions is None:
            process.stdout.write(NO_TERMINAL if sessions else b"Error: no such pod\r\n")
            process.exit(1)
            return
        await sessions.serve(process)


class _Login(asyncssh.SSHServer):
    """Let a pod's account in, by its own keys or the pod's SSH_PUBLIC_KEY."""

    def __init__(
        self, estate: Estate, connections: set[asyncssh.SSHServerConnection]
    ) -> None:
        self._estate = estate
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, so that it ends with the proxy."""
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Check the keys of the pod's account; an unknown pod has none."""
        pod = self._estate.find_pod_by_host(username)
        if self._connection is not None and pod is not None:
            # rule SIM-SSH-5
            text = dict(pod.spec.env).get("SSH_PUBLIC_KEY", "")
            text = text or self._estate.account_of(pod).pub_key
            lines = [line for line in text.splitlines() if line.strip()]
            if lines:
                keys = asyncssh.import_authorized_keys("\n".join(lines) + "\n")
                self._connection.set_authorized_keys(keys)
        return True
