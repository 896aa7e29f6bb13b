"""The liquidation ladder: one round a Tick, each re-checked against the state as it is.

1. cancel the account's orders; 2. reduce the position that needs most maintenance margin, an
eighth at a time, by an immediate order bounded by the bankruptcy price; 3. hand over to the
insurance fund when a round finds no fill and half the maintenance margin is gone, or when
nothing is left; 4. deleverage, or socialise, what the fund cannot carry.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import islice
from typing import TYPE_CHECKING

from book.order import CancelReason, Order, OrderState, OrderType, SelfTrading, Side, TimeInForce
from book.units import RATE, ceil_div
from risk import background_work, insurance, margin, settlement
from risk.adl_rankings import LOOKS_PER_STEP
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
"""A round reduces a position by this part of it, but at least by the smallest order."""

PROPOSED = 512
"""How many to list at a time: with more, what is proposed would be out of date."""


def pending(
    state: State, limit: int = PROPOSED, tried: Container[tuple[int, str]] = ()
) -> list[tuple[int, str]]:
    """(account, currency) of what should be liquidated and has had no round since the last Tick.

    Worst first, as the watch last saw them: by shortfall as a part of maintenance margin, then by
    account; at most `limit`, and none of those that were `tried`. The insurance fund comes last,
    wherever it holds what it took over. Nobody while standings that these need are worked out,
    which Continue entries do, unless a Tick came first: else the first of them would have to, at
    one go.
    """
    awaiting = (key for _, key in state.watch.worst if key[0] >= FIRST_CLIENT and key not in tried)
    accounts = list(islice(awaiting, limit))
    for currency in state.currencies():
        fund = state.insurance(currency)
        held = any(position.size for position in fund.positions.values())
        if held and fund.round != state.ticks and (INSURANCE, currency) not in tried:
            accounts.append((INSURANCE, currency))
    return accounts if _standings_ready(state, accounts) else []


def _standings_ready(state: State, accounts: list[tuple[int, str]]) -> bool:
    """Whether all standings are worked out that will be wanted; works out a slice of them."""
    watch = state.watch
    for position in _likely_deleveraged(state, accounts):
        watch.standings.of(state, position.market, -1 if position.size > 0 else 1)
    watch.standings.advance(state, state.parameters.slice * LOOKS_PER_STEP)
    watch.incomplete = watch.incomplete or watch.standings.incomplete
    return watch.standings.late or not watch.standings.incomplete


def _likely_deleveraged(state: State, accounts: list[tuple[int, str]]) -> list[Position]:
    """What is likely to be deleveraged: all that must be handed over, if the fund lacks any of it.

    Two guesses that cost little; where they are wrong, a standing is worked out that is of no
    use, or one at one go. Initial margins are taken as the watch last saw them: to bring them to
    new marks would be to go through all open orders of all these accounts at once.
    """
    if state.parameters.loss_policy is not LossPolicy.DELEVERAGE:
        return []
    given: dict[str, list[Position]] = {}
    free: dict[str, int] = {}
    for account, currency in accounts:
        if 2 * state.watch.endangered.get((account, currency), 0) < -RATE:
            wallet = state.wallet(account, currency)
            if currency not in free:
                free[currency] = _free_fund(state, currency)
            free[currency] -= wallet.initial - margin.balance(state, wallet)
            given.setdefault(currency, []).extend(wallet.positions.values())
    return [
        position
        for currency, positions in given.items()
        for position in positions
        if free[currency] < 0 and position.size
    ]


def _free_fund(state: State, currency: str) -> int:
    """What the insurance fund has above its initial margin."""
    fund = state.insurance(currency)
    margin.refresh(state, fund)
    return fund.margin_balance - fund.initial


def liquidate(state: State, command: Liquidate) -> None:
    """One round for a client or the insurance fund in one currency, if it is due."""
    account = state.accounts.get(command.account)
    known = account is not None and command.currency in state.currencies()
    if not known or INSURANCE != command.account < FIRST_CLIENT:
        return state.refuse(Reason.ACCOUNT_UNKNOWN)
    wallet = state.wallet(command.account, command.currency)
    due = command.account == INSURANCE or margin.is_locked(state, wallet)
    if due and wallet.round != state.ticks and not _unsettled(state, wallet):
        wallet.round = state.ticks
        _round(state, wallet)
        state.watch.mark_dirty(wallet)
        state.touch(wallet)
    return state.emit(Done(state.origin))


def _unsettled(state: State, wallet: Wallet) -> bool:
    """Whether a settlement or an earlier hand-over is still at work on this wallet."""
    if any(not position.market.is_open for position in wallet.positions.values()):
        return True
    if any(settlement.in_progress(state, wallet.currency)):
        # What the fund pays now, it could not repay of the deficit that is about to be shared.
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
    margin.refresh(state, wallet)
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
    """Whether nobody could take over from this one: the fund, where losses are socialised."""
    return wallet.account == INSURANCE and state.parameters.loss_policy is LossPolicy.SOCIALISE


def _cancel_orders(state: State, wallet: Wallet) -> bool:
    """Step 1. Whether it is done; what is left of it goes on before anything else."""
    mine = [order_id for held in wallet.positions.values() for order_id in held.orders]
    if not mine:
        return True
    phase = background_work.CancelOrders(wallet.account, mine, CancelReason.AUTOLIQUIDATION)
    background_work.begin(state, phase)
    _report(state, wallet, LiquidationStep.CANCELLED, "", 0, 0)
    return phase.done


def _reduce(state: State, wallet: Wallet, position: Position) -> int:
    """Step 2: sell or buy back one clip; returns what was filled."""
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
    state.touched_orders[order.order_id] = order
    step = LiquidationStep.REDUCED if order.filled else LiquidationStep.UNFILLED
    _report(state, wallet, step, market.name, order.filled, order.average_price or bound)
    return order.filled


def _bound(state: State, wallet: Wallet, position: Position) -> int:
    """The worst price of a round: the bankruptcy price.

    The fund, which is in no hurry, also stays within the price band; and if nobody could take
    over from it, the band is all that holds it, or it would sit on what it has until the market
    came back.
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
    """How much one round reduces: an eighth, rounded up to the contract, at least the minimum."""
    contract = position.market.instrument.contract
    held = abs(position.size)
    part = ceil_div(held, PARTS)
    whole = ceil_div(part, contract.contract_size) * contract.contract_size
    return min(held, max(whole, contract.minimum))


def _hand_over(state: State, wallet: Wallet, positions: list[Position]) -> None:
    """Steps 3 and 4: to the fund, or to the other side, or to everybody."""
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
    # All of them share one slice of work, so that an account with many markets takes no longer.
    background_work.begin(state, *started)
    if state.parameters.loss_policy is LossPolicy.SOCIALISE:
        insurance.cover(state, state.insurance(wallet.currency))


def _report(
    state: State, wallet: Wallet, step: LiquidationStep, market: str, amount: int, price: int
) -> None:
    state.emit(Liquidated(wallet.account, wallet.currency, step, market, amount, price))
