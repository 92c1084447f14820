"""Who may come in: the token, sessions of browsers, one-time tickets. Pure but for time.

    token    the whole secret; programs send it as a bearer
    session  a signed cookie, made from a token or a ticket; dies with the token
    ticket   good once and for ten minutes, so that a link can be printed

Nothing here knows HTTP; `api/guard.py` does.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from runpod_client import Secret
from runpod_hub.interfaces import Clock

TICKET_SECONDS = 600.0
_MAX_TICKETS = 100


@dataclass(kw_only=True)
class Access:
    """Checks and gives out what opens the hub."""

    token: Secret
    session_secret: Secret
    session_seconds: float
    clock: Clock
    _tickets: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def cookie_name(self) -> str:
        """Return a name of this hub's own: cookies do not tell ports apart."""
        return f"runpod_hub_{_digest(self.session_secret)[:8]}"

    def is_token(self, candidate: str) -> bool:
        """Compare with the token in constant time."""
        return hmac.compare_digest(candidate.encode(), self.token.encode())

    def create_session(self) -> str:
        """Return the cookie of a new session."""
        expires = int(self.clock.now().timestamp() + self.session_seconds)
        body = f"{expires}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._sign(body)}"

    def is_session(self, cookie: str) -> bool:
        """Say whether we made this cookie and it has not expired."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            return False
        expires, _, _ = body.partition(".")
        return self.clock.now().timestamp() < int(expires)

    def create_ticket(self) -> str:
        """Return a ticket that opens one session within ten minutes."""
        self._forget_expired()
        while len(self._tickets) >= _MAX_TICKETS:
            self._tickets.pop(next(iter(self._tickets)))
        ticket = secrets.token_urlsafe(24)
        self._tickets[_digest(ticket)] = self.clock.monotonic() + TICKET_SECONDS
        return ticket

    def redeem_ticket(self, ticket: str) -> bool:
        """Use a ticket up; say whether it was good."""
        self._forget_expired()
        return self._tickets.pop(_digest(ticket), None) is not None

    def _forget_expired(self) -> None:
        now = self.clock.monotonic()
        for digest in [key for key, end in self._tickets.items() if end <= now]:
            del self._tickets[digest]

    def _sign(self, body: str) -> str:
        # the token is part of the key: changing it ends every session
        key = f"{self.session_secret}.{self.token}".encode()
        return hmac.new(key, body.encode(), hashlib.sha256).hexdigest()


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
