"""Liquidation in steps: one round per account and Tick, each checked against the current state.

1. Cancel the account's orders.
2. Reduce the position that frees most maintenance margin, an eighth at a time, by an
   immediate-or-cancel order limited to the bankruptcy price.
3. Transfer the position to the insurance fund when a round has no fill and the margin balance is
   below half the maintenance margin; transfer all positions when the margin balance is not
   positive.
4. Deleverage a position that the fund cannot carry, or socialise its loss.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import islice
from typing import TYPE_CHECKING

from book.order import CancelReason, Order, OrderState, OrderType, SelfTrading, Side, TimeInForce
from book.units import RATE, ceil_div
from risk import background_work, insurance, margin, margin_cache, settlement
from risk.adl_rankings import SCORES_PER_STEP
from risk.commands import Liquidate
from risk.deleveraging import Deleverage
from risk.events import Done, Liquidated, LiquidationStep
from risk.execution import Execution
from risk.position import Position, Wallet
from risk.reasons import Reason
from risk.risk_terms import LossPolicy
from risk.state import FIRST_CLIENT, INSURANCE

if TYPE_CHECKING:
    from risk.state import State

PARTS = 8
"""A round reduces a position by one of this many parts, but at least by the smallest order."""

PROPOSED = 512
"""Maximum length of the list of `pending`. A longer list would be out of date before its end."""


def pending(
    state: State, limit: int = PROPOSED, tried: Container[tuple[int, str]] = ()
) -> list[tuple[int, str]]:
    """Return the (account, currency) pairs that need liquidation and had no round in this Tick.

    They are ordered by shortfall relative to maintenance margin at the last measurement, largest
    first, then by account; at most `limit`, without those in `tried`. The insurance fund follows,
    for each currency in which it holds positions.
    The list is empty while rankings that a deleveraging is likely to need are incomplete, since
    the first deleveraging would otherwise compute them in one step. Continue entries complete
    them in slices. If a Tick arrives before that, the list is returned all the same.
    """
    awaiting = (key for _, key in state.watch.worst if key[0] >= FIRST_CLIENT and key not in tried)
    accounts = list(islice(awaiting, limit))
    for currency in state.currencies():
        fund = state.insurance(currency)
        held = any(position.size for position in fund.positions.values())
        if held and fund.round != state.ticks and (INSURANCE, currency) not in tried:
            accounts.append((INSURANCE, currency))
    return accounts if _rankings_ready(state, accounts) else []


def _rankings_ready(state: State, accounts: list[tuple[int, str]]) -> bool:
    """Compute a slice of the rankings likely to be needed; return whether they are complete.

    Also return True when a Tick has interrupted the computation.
    """
    watch = state.watch
    for position in _likely_deleveraged(state, accounts):
        watch.rankings.of(state, position.market, -1 if position.size > 0 else 1)
    watch.rankings.advance(state, state.parameters.slice * SCORES_PER_STEP)
    watch.incomplete = watch.incomplete or watch.rankings.incomplete
    return watch.rankings.late or not watch.rankings.incomplete


def _likely_deleveraged(state: State, accounts: list[tuple[int, str]]) -> list[Position]:
    """Return the positions that are likely to be deleveraged.

    These are all positions of accounts with less than half their maintenance margin, in a
    currency whose fund cannot carry all of them. Both conditions are cheap estimates. Where they
    are wrong, a ranking is computed in vain, or in one step when it is needed. Initial margins
    are those of the last measurement, since measuring at new marks would visit all open orders
    of these accounts in one entry.
    """
    if state.parameters.loss_policy is not LossPolicy.DELEVERAGE:
        return []
    candidates: dict[str, list[Position]] = {}
    free: dict[str, int] = {}
    for account, currency in accounts:
        if 2 * state.watch.endangered.get((account, currency), 0) < -RATE:
            wallet = state.wallet(account, currency)
            if currency not in free:
                free[currency] = _free_fund(state, currency)
            free[currency] -= wallet.initial - margin.balance(state, wallet)
            candidates.setdefault(currency, []).extend(wallet.positions.values())
    return [
        position
        for currency, positions in candidates.items()
        for position in positions
        if free[currency] < 0 and position.size
    ]


def _free_fund(state: State, currency: str) -> int:
    """Return the insurance fund's margin balance above its initial margin."""
    fund = state.insurance(currency)
    margin_cache.refresh(state, fund)
    return fund.margin_balance - fund.initial


def liquidate(state: State, command: Liquidate) -> None:
    """Run one liquidation round for a client or the insurance fund in one currency, if due."""
    account = state.accounts.get(command.account)
    known = account is not None and command.currency in state.currencies()
    if not known or INSURANCE != command.account < FIRST_CLIENT:
        return state.refuse(Reason.ACCOUNT_UNKNOWN)
    wallet = state.wallet(command.account, command.currency)
    due = command.account == INSURANCE or margin.is_locked(state, wallet)
    if due and wallet.round != state.ticks and not _is_blocked(state, wallet):
        wallet.round = state.ticks
        _round(state, wallet)
        state.watch.mark_dirty(wallet)
        state.report.wallets[wallet] = None
    return state.emit(Done(state.origin))


def _is_blocked(state: State, wallet: Wallet) -> bool:
    """Return whether a settlement or deleveraging in progress involves this wallet."""
    if any(not position.market.is_open for position in wallet.positions.values()):
        return True
    if any(settlement.in_progress(state, wallet.currency)):
        # Payments of the fund would reduce what it can repay of the deficit about to be shared.
        return True
    return any(
        isinstance(phase, Deleverage)
        and phase.account == wallet.account
        and phase.market in wallet.positions
        for phase in state.phases
    )


def _round(state: State, wallet: Wallet) -> None:
    if not _cancel_orders(state, wallet):
        return
    margin_cache.refresh(state, wallet)
    held = [position for position in wallet.positions.values() if position.size]
    if not held:
        insurance.cover(state, wallet)
        return
    last = _is_last(state, wallet)
    if wallet.margin_balance <= 0 and not last:
        _hand_over(state, wallet, held)
        return
    worst = wallet.model.frees_most(held)
    filled = _reduce(state, wallet, worst)
    if last:
        insurance.cover(state, wallet)
    if filled or wallet.account == INSURANCE:
        return
    if 2 * wallet.margin_balance < wallet.maintenance:
        _hand_over(state, wallet, [worst])


def _is_last(state: State, wallet: Wallet) -> bool:
    """Return whether this is the fund and losses are socialised: no account can take over."""
    return wallet.account == INSURANCE and state.parameters.loss_policy is LossPolicy.SOCIALISE


def _cancel_orders(state: State, wallet: Wallet) -> bool:
    """Perform step 1 and return whether it is complete.

    The rest of an incomplete step precedes all other work in progress.
    """
    mine = [order_id for held in wallet.positions.values() for order_id in held.orders]
    if not mine:
        return True
    phase = background_work.CancelOrders(wallet.account, mine, CancelReason.AUTOLIQUIDATION)
    background_work.begin(state, phase)
    _report(state, wallet, LiquidationStep.CANCELLED, "", 0, 0)
    return phase.done


def _reduce(state: State, wallet: Wallet, position: Position) -> int:
    """Perform step 2: reduce the position by one clip and return the filled amount."""
    market = position.market
    bound = _bound(state, wallet, position)
    closing = Side.SELL if position.size > 0 else Side.BUY
    state.orders += 1
    order = Order(
        order_id=state.orders,
        account=wallet.account,
        instrument=market.name,
        side=closing,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
        price=bound,
        amount=clip(position),
        reduce_only=True,
        liquidation=True,
        created=state.time,
        updated=state.time,
    )
    Execution(state, market, order, position).match(bound, SelfTrading.CANCEL_MAKER)
    order.state = OrderState.FILLED if not order.remaining else OrderState.CANCELLED
    state.report.orders[order.order_id] = order
    step = LiquidationStep.REDUCED if order.filled else LiquidationStep.UNFILLED
    _report(state, wallet, step, market.name, order.filled, order.average_price or bound)
    return order.filled


def _bound(state: State, wallet: Wallet, position: Position) -> int:
    """Return the price limit of a round: the bankruptcy price.

    The fund's orders also stay within the price band, since its positions are not urgent. Where
    no account can take over from the fund, only the band applies: with the bankruptcy price the
    fund could not sell until the market recovers.
    """
    market = position.market
    band = market.low if position.size > 0 else market.high
    if _is_last(state, wallet):
        return band
    share = insurance.bankruptcy_shares(wallet)[market.name]
    bound = insurance.bankruptcy_price(market, position.size, share)
    if bound is None:
        return market.high
    if wallet.account != INSURANCE:
        return bound
    return max(bound, band) if position.size > 0 else min(bound, band)


def clip(position: Position) -> int:
    """Return the amount of one round: an eighth, rounded up to contracts, at least the minimum."""
    contract = position.market.instrument.contract
    held = abs(position.size)
    part = ceil_div(held, PARTS)
    whole = ceil_div(part, contract.contract_size) * contract.contract_size
    return min(held, max(whole, contract.minimum))


def _hand_over(state: State, wallet: Wallet, positions: list[Position]) -> None:
    """Perform steps 3 and 4: transfer to the fund, deleverage, or socialise."""
    shares = insurance.bankruptcy_shares(wallet)
    started = []
    for position in positions:
        share = shares[position.market.name]
        if wallet.account != INSURANCE and insurance.accepts(state, position, share):
            insurance.take_over(state, position, share)
        elif state.parameters.loss_policy is LossPolicy.DELEVERAGE:
            started.append(Deleverage(wallet.account, position.market.name))
        else:
            insurance.take_over(state, position, share)
    # All phases share one slice of work, so an account with many markets needs no longer entry.
    background_work.begin(state, *started)
    if state.parameters.loss_policy is LossPolicy.SOCIALISE:
        insurance.cover(state, state.insurance(wallet.currency))


def _report(
    state: State, wallet: Wallet, step: LiquidationStep, market: str, amount: int, price: int
) -> None:
    state.emit(Liquidated(wallet.account, wallet.currency, step, market, amount, price))
