"""Questions about an account's margin: its balance, what it can spend, whether it is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from risk.margin_cache import refresh, reserves

if TYPE_CHECKING:
    from risk.position import Position, Wallet
    from risk.state import State


def margin_preview(state: State, position: Position) -> tuple[int, int, int]:
    """Return what the margin check of a position's next order needs: (low, high, reserved).

    These are the worst-case sizes and the sum of the reserves. Refreshes the wallet's sums except
    this position's own initial margin, which may be stale: the caller subtracts
    `position.initial`. The order would make a new value stale again at once.
    """
    wallet, marks = position.wallet, state.marks
    # Whether anything but this position's initial margin is stale.
    if (
        len(wallet.stale_positions) > position.initial_stale
        or wallet.stale
        or wallet.marks != marks
    ):
        refresh(state, wallet)
    reserved = position.reserved if position.reserves_at == marks else reserves(state, position)
    low, high = position.size - position.sells, position.size + position.buys
    if position.reduced:
        low, high = position.worst_case_sizes()
    return low, high, reserved


def balance(state: State, wallet: Wallet) -> int:
    """Return the margin balance at the present marks, in Money.

    Unlike `refresh` it does not look at open orders, of which an account may have thousands: work
    that goes through accounts in slices needs no more.
    """
    if wallet.marks == state.marks and not wallet.stale:
        return wallet.margin_balance
    unrealised = sum(position.unrealised_profit() for position in wallet.positions.values())
    return wallet.balance + wallet.session_profit + unrealised


def is_locked(state: State, wallet: Wallet) -> bool:
    """Return whether the account is below maintenance margin, and so only liquidation may trade."""
    if wallet.marks != state.marks or wallet.stale:
        refresh(state, wallet)
    return wallet.balance + wallet.session_profit + wallet.profit < wallet.maintenance


def spare(state: State, wallet: Wallet) -> int:
    """Return the cash that a wallet can pay and keep its initial margin; negative if short."""
    refresh(state, wallet)
    return min(wallet.balance, wallet.margin_balance - wallet.initial)


def withdrawable(state: State, wallet: Wallet) -> int:
    """Return the cash that neither margin nor work in progress claims, in Money.

    Unrealised profit is not cash.
    """
    refresh(state, wallet)
    free = min(wallet.balance, wallet.margin_balance) - wallet.initial
    return max(0, free - sum(phase.withheld(state, wallet) for phase in state.phases))
