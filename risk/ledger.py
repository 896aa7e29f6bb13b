"""The ledger: the only code that changes a balance. Each change is a `Booked` event.

A client's booking emits its event at once. System accounts are the counterparty of nearly every
booking, often many times per entry: their bookings are summed by kind and emitted at its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from risk.events import Booked, BookingKind
from risk.position import Wallet
from risk.state import FIRST_CLIENT, INSURANCE

if TYPE_CHECKING:
    from risk.state import State


_FEES: Final = (
    BookingKind.TRADE_FEE,
    BookingKind.MAKER_REBATE,
    BookingKind.LIQUIDATION_FEE,
    BookingKind.DELIVERY_FEE,
)
PAYMENTS: Final = (*_FEES, BookingKind.INSURANCE, BookingKind.SOCIALISED_LOSS)
"""Payments between accounts: each kind sums to zero over all accounts of a currency."""


def book(
    state: State,
    wallet: Wallet,
    amount: int,
    kind: BookingKind,
    reference: int = 0,
    instrument: str = "",
) -> None:
    """Change a wallet's balance by `amount`; see `Booked` for `reference` and `instrument`."""
    if not amount:
        return
    balance = wallet.balance = wallet.balance + amount
    booked = wallet.booked
    booked[kind] = booked.get(kind, 0) + amount
    account = wallet.account
    if account >= FIRST_CLIENT:
        state.events.append(
            Booked(account, wallet.currency, kind, amount, balance, reference, instrument)
        )
    else:
        key, system_booked = (wallet, kind), state.report.booked
        system_booked[key] = system_booked.get(key, 0) + amount
        if account != INSURANCE:
            # No margin depends on the balances of the other system accounts.
            return
    state.report.wallets[wallet] = None
    state.watch.mark_dirty(wallet)


def fees_paid(wallet: Wallet) -> int:
    """Return the fees that a client has paid so far, less rebates."""
    if wallet.account < FIRST_CLIENT:
        return 0
    return wallet.fees - sum(wallet.booked.get(kind, 0) for kind in _FEES)


def bring_forward(wallet: Wallet) -> None:
    """Book the balance of a wallet from a snapshot that has no bookings."""
    if wallet.balance and not wallet.booked:
        wallet.booked[BookingKind.BROUGHT_FORWARD] = wallet.balance
