"""Accounts: who they are, their credit, and what their meters take from it.

Pure. What a missing credit means for pods is the world's business.
"""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from runpod_sim import billing
from runpod_sim.ledger import Ledger
from runpod_sim.model import Account, DeclinedError
from runpod_sim.refusals import LOW_BALANCE, over_spend_limit


class Accounts:
    """Every account that was ever used, and the meters of all."""

    def __init__(self, first_balance_usd: Decimal) -> None:
        self._first_balance_usd = first_balance_usd
        self._accounts: dict[str, Account] = {}
        self.ledger = Ledger()

    def open(self, api_key: str, now: datetime) -> Account:
        """Return the account behind a key, opened at its first use."""
        digest = hashlib.sha256(api_key.encode()).hexdigest()
        account_id = f"user_{digest[:24]}"
        known = self._accounts.get(account_id)
        if known is not None:
            return known
        account = Account(
            id=account_id,
            email=f"{digest[:8]}@example.com",
            deposited_usd=self._first_balance_usd,
            settled_at=now,
        )
        self._accounts[account_id] = account
        return account

    def all(self) -> tuple[Account, ...]:
        """Return every account that was ever used."""
        return tuple(self._accounts.values())

    def get(self, account_id: str) -> Account:
        """Return the account of that id."""
        return self._accounts[account_id]

    def set_pub_key(self, account_id: str, pub_key: str) -> Account:
        """Replace the account's SSH public keys, newline separated."""
        account = replace(self._accounts[account_id], pub_key=pub_key)
        self._accounts[account_id] = account
        return account

    def set_balance(self, account_id: str, balance_usd: Decimal) -> None:
        """Give the account exactly that much credit."""
        account = self._accounts[account_id]
        difference = Fraction(balance_usd) - account.balance_exact_usd
        self._accounts[account_id] = replace(
            account, charged_usd=account.charged_usd - difference
        )

    def charge(self, account_id: str, until_at: datetime) -> datetime:
        """Take from the credit what everything has cost up to an instant.

        Returns:
            Up to when is charged now, never before what was charged already.
        """
        account = self._accounts[account_id]
        if until_at <= account.settled_at:
            return account.settled_at
        # rule SIM-BILL-1
        rate = self.ledger.usd_per_hour(account_id)
        amount = billing.charge_usd(rate, account.settled_at, until_at)
        self._accounts[account_id] = replace(
            account, charged_usd=account.charged_usd + amount, settled_at=until_at
        )
        return until_at

    def find_empty_at(self, account_id: str, now: datetime) -> datetime | None:
        """Return when the credit runs out, None when it lasts beyond `now`."""
        account = self._accounts[account_id]
        rate = self.ledger.usd_per_hour(account_id)
        balance = account.balance_exact_usd
        due = billing.charge_usd(rate, account.settled_at, now)
        if not rate or balance - due > 0:
            return None
        seconds_left = float(max(Fraction(0), balance) / rate * 3600)
        return min(now, account.settled_at + timedelta(seconds=seconds_left))

    def check_credit(self, account_id: str, usd_per_hour: Decimal) -> None:
        """Check that the account may spend that much more per hour.

        Raises:
            DeclinedError: It would exceed its limit, or its credit for an hour.
        """
        account = self._accounts[account_id]
        limit = account.spend_limit_usd_per_hour
        # rule SIM-BILL-4
        if self.ledger.usd_per_hour(account_id) + Fraction(usd_per_hour) > limit:
            raise DeclinedError(over_spend_limit(limit))
        # rule SIM-BILL-3
        if account.balance_exact_usd < Fraction(usd_per_hour):
            raise DeclinedError(LOW_BALANCE)
