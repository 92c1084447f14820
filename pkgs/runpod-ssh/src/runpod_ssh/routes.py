"""The way to a pod: straight, through jump hosts, or carried by a program.

A jump host is the user's own machine: its key is looked up in their known_hosts and
their own keys log in there. The way comes from `Route`, else from the user's
ssh_config. It knows nothing of pods and their pins.
"""

import asyncio
import contextlib
import functools
import getpass
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from runpod_client import ConfigError, SSHAddress
from runpod_ssh.connecting import (
    Carrier,
    Door,
    Link,
    carry_by_tunnel,
    hang_up,
    log_in,
)
from runpod_ssh.dialing import carry_by_tcp
from runpod_ssh.errors import (
    SSHAuthenticationError,
    SSHError,
    SSHUnreachableError,
)
from runpod_ssh.key_files import KeyRing
from runpod_ssh.model import Bounds, Credentials, HostKeyJudge, Route
from runpod_ssh.proxy_commands import carry_by_command
from runpod_ssh.ssh_config import HostConfig, KnownHostsJudge, read_host_config

_MOST_HOPS = 8
# what leaves the way of the user's config for the straight one, as in ssh_config
_STRAIGHT = "none"


@dataclass(frozen=True, kw_only=True)
class Hop:
    """A jump host as the user names it; None where they leave it to their config."""

    host: str
    port: int | None = None
    user: str | None = None


def parse_jump(text: str) -> tuple[Hop, ...]:
    """Return the jump hosts of `[user@]host[:port],...`, the nearest first.

    There are none behind the word `none`.

    Raises:
        ConfigError: It is not of that form.
    """
    if text.strip().lower() == _STRAIGHT:
        return ()
    return tuple(_parse_hop(part.strip()) for part in text.split(",") if part.strip())


def _parse_hop(text: str) -> Hop:
    user, _, place = text.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or place.endswith("]"):
        host, port = place, ""
    host = host.removeprefix("[").removesuffix("]")
    # a bare IPv6 address has colons and no port
    if ":" in host and "[" not in place:
        host, port = place, ""
    if not host or host.startswith("-") or (port and not port.isdecimal()):
        raise ConfigError(
            f"{text!r} is no jump host",
            setting="jump",
            hint="Write [user@]host[:port], several with commas between.",
        )
    return Hop(host=host, port=int(port) if port else None, user=user or None)


@contextlib.asynccontextmanager
async def open_link(
    address: SSHAddress,
    *,
    host_keys: HostKeyJudge,
    credentials: Credentials,
    route: Route,
    bounds: Bounds,
) -> AsyncIterator[Link]:
    """Log in to an sshd over the route; all that was opened closes with the block."""
    deadline = asyncio.get_running_loop().time() + bounds.total_seconds
    config = await read_host_config(
        route.ssh_config, address.host, port=address.port, user=address.user
    )
    trip = _Trip(credentials, route, bounds, deadline)
    async with contextlib.AsyncExitStack() as stack:
        # first of all: an unusable key must not cost the way there
        keys = await trip.open_keys(address, config, credentials)
        stack.callback(keys.close)
        if route.jump:
            config = replace(config, jump=route.jump, proxy_command=())
        carry = await trip.open_way(stack, address, config)
        door = Door(address=address, host_keys=host_keys, keys=keys)
        link = await log_in(door, carry, _bounds_of(config, bounds), deadline)
        stack.push_async_callback(hang_up, link.raw)
        keys.close()
        yield link


class _Trip:
    """What all stages of one way have in common."""

    def __init__(
        self, credentials: Credentials, route: Route, bounds: Bounds, deadline: float
    ) -> None:
        self._credentials = credentials
        self._route = route
        self._bounds = bounds
        self._deadline = deadline

    async def open_keys(
        self, address: SSHAddress, config: HostConfig, credentials: Credentials
    ) -> KeyRing:
        """Return the keys for one login; what is ours goes before the config."""
        agent = credentials.agent_path
        if credentials.identity_file is None and config.identity_agent is not None:
            agent = config.identity_agent or None
        provider = credentials.pkcs11_provider or config.pkcs11_provider
        chosen = replace(credentials, agent_path=agent, pkcs11_provider=provider)
        keys = KeyRing(chosen, address)
        try:
            await keys.prepare(config.identity_files)
        except BaseException:
            keys.close()
            raise
        return keys

    async def open_way(
        self,
        stack: contextlib.AsyncExitStack,
        address: SSHAddress,
        config: HostConfig,
    ) -> Carrier:
        """Return what carries a connection to the address, with all before it open."""
        before: Link | None = None
        before_address = address
        for hop_address, hop_config in await self._list_hops(config.jump):
            carry = self._carrier(
                stack, hop_address, hop_config, before, before_address
            )
            before = await self._open_hop(stack, hop_address, hop_config, carry)
            before_address = hop_address
        return self._carrier(stack, address, config, before, before_address)

    def _carrier(
        self,
        stack: contextlib.AsyncExitStack,
        address: SSHAddress,
        config: HostConfig,
        before: Link | None,
        before_address: SSHAddress,
    ) -> Carrier:
        if before is not None:
            return functools.partial(
                carry_by_tunnel, address, before.raw, before_address
            )
        if config.proxy_command:
            return functools.partial(
                carry_by_command, stack, address, config.proxy_command
            )
        return functools.partial(
            carry_by_tcp, address, head_start=self._route.head_start
        )

    async def _list_hops(self, jump: str) -> list[tuple[SSHAddress, HostConfig]]:
        """Return where the jump hosts are, the nearest first.

        The nearest may itself be behind another by the user's config; a pattern that
        sends a jump host through itself is passed over, as OpenSSH does.
        """
        hops = list(parse_jump(jump))
        seen = {hop.host for hop in hops}
        found: list[tuple[SSHAddress, HostConfig]] = []
        while hops:
            if len(found) >= _MOST_HOPS:
                raise ConfigError(
                    f"more than {_MOST_HOPS} jump hosts in a row", setting="jump"
                )
            hop = hops.pop()
            config = await read_host_config(
                self._route.ssh_config, hop.host, port=hop.port, user=hop.user
            )
            found.insert(0, (_address_of(hop, config), config))
            if not hops:
                further = parse_jump(config.jump)
                hops = [h for h in further if h.host not in seen]
                seen.update(h.host for h in hops)
        return found

    async def _open_hop(
        self,
        stack: contextlib.AsyncExitStack,
        address: SSHAddress,
        config: HostConfig,
        carry: Carrier,
    ) -> Link:
        # the pod's own key is of no use there
        own = replace(self._credentials, identity_file=None)
        judge = KnownHostsJudge(config.host_key_alias or address.host, address.port)
        try:
            keys = await self.open_keys(address, config, own)
            stack.callback(keys.close)
            door = Door(address=address, host_keys=judge, keys=keys)
            link = await log_in(
                door, carry, _bounds_of(config, self._bounds), self._deadline
            )
        except SSHError as error:
            raise _told_as_jump(error, address) from error
        stack.push_async_callback(hang_up, link.raw)
        keys.close()
        return link


def _address_of(hop: Hop, config: HostConfig) -> SSHAddress:
    return SSHAddress(
        host=config.host or hop.host,
        port=config.port or 22,
        user=config.user or getpass.getuser(),
    )


def _bounds_of(config: HostConfig, bounds: Bounds) -> Bounds:
    """Return the bounds with ssh_config's ConnectTimeout: until the greeting."""
    seconds = config.connect_timeout_seconds
    if not seconds:
        return bounds
    return replace(bounds, tcp_seconds=seconds, banner_seconds=seconds)


def _told_as_jump(error: SSHError, address: SSHAddress) -> SSHError:
    """Return the failure of a jump host, whose remedies are not a pod's."""
    by_hand = f"ssh -p {address.port} {address.user}@{address.host}"
    if isinstance(error, SSHAuthenticationError):
        return SSHAuthenticationError(
            f"jump host: {error.message}",
            address=address,
            hint=f"It takes your own keys; try: {by_hand}",
        )
    if isinstance(error, SSHUnreachableError):
        return SSHUnreachableError(
            f"jump host: {error.message}",
            address=address,
            hint=f"Is that jump host up? Try: {by_hand}",
        )
    return error
