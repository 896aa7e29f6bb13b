"""Accounts, deposits and withdrawals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from risk import ledger, margin
from risk.commands import Deposit, OpenAccount, SetSelfTrading, Withdraw
from risk.events import BookingKind, Done
from risk.reasons import Reason
from risk.state import FEES, FIRST_CLIENT, INSURANCE, Account
from risk.supervision import prices_fresh

if TYPE_CHECKING:
    from risk.position import Wallet
    from risk.state import State


def open_account(state: State, command: OpenAccount) -> None:
    """Open a client account. Opening an existing account changes nothing."""
    if command.account < FIRST_CLIENT:
        return state.refuse(Reason.PERMISSION_DENIED)
    if command.account not in state.accounts:
        account = Account(command.account, command.name, state.time)
        state.accounts[command.account] = account
        for currency in state.currencies():
            state.wallet(command.account, currency)
    return state.emit(Done(state.origin))


def deposit(state: State, command: Deposit) -> None:
    """Deposit to a client account or the insurance fund."""
    refusal = _refused(state, command, (INSURANCE,))
    if refusal is not None:
        return state.refuse(refusal)
    wallet = state.wallet(command.account, command.currency)
    _change_balance(state, wallet, command.amount, BookingKind.DEPOSIT)
    return state.emit(Done(state.origin))


def withdraw(state: State, command: Withdraw) -> None:
    """Withdraw money not needed as margin from a client, the insurance fund or the fee account."""
    refusal = _refused(state, command, (INSURANCE, FEES))
    if refusal is not None:
        return state.refuse(refusal)
    wallet = state.wallet(command.account, command.currency)
    if margin.is_locked(state, wallet):
        return state.refuse(Reason.ACCOUNT_LOCKED)
    if command.amount > margin.withdrawable(state, wallet):
        return state.refuse(Reason.NOT_ENOUGH_FUNDS)
    if wallet.positions and not prices_fresh(state, wallet):
        return state.refuse(Reason.UNSUPERVISED)
    _change_balance(state, wallet, -command.amount, BookingKind.WITHDRAWAL)
    return state.emit(Done(state.origin))


def set_self_trading(state: State, command: SetSelfTrading) -> None:
    """Set what happens when an order would trade with an order of the same account."""
    account = state.accounts.get(command.account)
    if account is None:
        return state.refuse(Reason.ACCOUNT_UNKNOWN)
    account.self_trading = command.mode
    return state.emit(Done(state.origin))


def _refused(state: State, command: Deposit | Withdraw, system: tuple[int, ...]) -> Reason | None:
    if command.account not in state.accounts:
        return Reason.ACCOUNT_UNKNOWN
    if command.account < FIRST_CLIENT and command.account not in system:
        return Reason.PERMISSION_DENIED
    if command.currency not in state.currencies():
        return Reason.CURRENCY_UNKNOWN
    return None if command.amount > 0 else Reason.AMOUNT_BELOW_MINIMUM


def _change_balance(state: State, wallet: Wallet, amount: int, kind: BookingKind) -> None:
    ledger.book(state, wallet, amount, kind, state.sequence)
    state.deposited[wallet.currency] = state.deposited.get(wallet.currency, 0) + amount
