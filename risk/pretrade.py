"""Checks before the book: a refusal, or None. They change nothing but the order they price.

An order passes if the account would still have its initial margin in the worst case of all
its open orders, or if it cannot raise what the account needs. Either way, executing it in
full at its limit leaves the account at or above maintenance margin at an unchanged mark:
profit is linear and maintenance convex in what is filled, so checking both ends is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from book.matching import post_only_price
from book.order import (
    BUY,
    FILL_OR_KILL,
    IMMEDIATE_OR_CANCEL,
    LIMIT,
    MARKET,
    MARKET_LIMIT,
    Order,
    Side,
)
from book.units import text
from risk import margin, order_costs
from risk.market import OPEN, Market
from risk.position import Position, Wallet
from risk.reasons import Reason
from risk.state import FIRST_CLIENT
from risk.supervision import prices_fresh

if TYPE_CHECKING:
    from risk.state import Account, State


class Refusal(NamedTuple):
    """Why not, and the number or text that belongs to it."""

    reason: Reason
    detail: str = ""


def check_tradable(
    state: State, account: Account | None, market: Market | None, valid_until: int
) -> Refusal | None:
    """Whether this account may trade this market now at all."""
    if account is None or account.number < FIRST_CLIENT:
        return Refusal(Reason.ACCOUNT_UNKNOWN)
    if market is None:
        return Refusal(Reason.INSTRUMENT_UNKNOWN)
    if valid_until and state.time > valid_until:
        return Refusal(Reason.TIMED_OUT)
    if market.state is not OPEN:
        return Refusal(Reason.SETTLEMENT_IN_PROGRESS)
    if not market.mark:
        return Refusal(Reason.UNSUPERVISED, "no index price yet")
    wallet = account.wallets.get(market.currency)
    # It may be that of a currency that was added since the account was opened.
    if wallet is not None and margin.is_locked(state, wallet):
        return Refusal(Reason.ACCOUNT_LOCKED)
    return None


def check_terms(market: Market, order: Order) -> Refusal | None:
    """Whether amount, flags and time in force make an order of this instrument."""
    contract = market.instrument.contract
    if order.amount < contract.minimum:
        return Refusal(Reason.AMOUNT_BELOW_MINIMUM, text(contract.minimum))
    if order.amount % contract.contract_size:
        return Refusal(Reason.AMOUNT_OFF_STEP, text(contract.contract_size))
    if order.post_only and not (order.type is LIMIT and order.time_in_force.rests):
        return Refusal(Reason.POST_ONLY_NOT_ALLOWED)
    return None


def check_price(market: Market, order: Order) -> Refusal | None:
    """Give a market order its bound, and hold a limit to tick, band and post-only."""
    buying = order.side is BUY
    if order.type is MARKET:
        order.original_type = MARKET
        order.price = market.high if buying else market.low
        if order.time_in_force is not FILL_OR_KILL:
            order.time_in_force = IMMEDIATE_OR_CANCEL
        tradable = market.book.crosses(order.side, order.price)
        return None if tradable else Refusal(Reason.NO_LIQUIDITY)
    if order.type is MARKET_LIMIT:
        best = market.book.best_price(order.side.opposite)
        if best is None:
            return Refusal(Reason.NO_LIQUIDITY)
        order.price = best
        order.original_type, order.type = order.type, LIMIT
    if order.price <= 0 or order.price % market.instrument.tick_at(order.price):
        return Refusal(Reason.PRICE_OFF_TICK)
    if buying and order.price > market.high:
        return Refusal(Reason.PRICE_TOO_HIGH, text(market.high))
    if not buying and order.price < market.low:
        return Refusal(Reason.PRICE_TOO_LOW, text(market.low))
    if order.post_only and market.book.crosses(order.side, order.price):
        return _slide(market, order)
    return None


def _slide(market: Market, order: Order) -> Refusal | None:
    if order.reject_post_only:
        return Refusal(Reason.POST_ONLY_REJECT)
    order.price = post_only_price(market.book, market.instrument, order.side, order.price)
    return None if order.price > 0 else Refusal(Reason.POST_ONLY_PRICE)


def check_reduce_only(position: Position, order: Order, replaces: Order | None) -> Refusal | None:
    """Cap a reduce-only order to the position, or where it may rest to what others leave of it.

    An immediate order goes first, and those that rest shrink as it fills: a position can be
    closed whatever waits to take its profit.
    """
    free = -order.side.sign * position.size
    if order.time_in_force.rests:
        free -= _reduced_by_others(position, replaces)
    if free <= 0:
        return Refusal(Reason.NOTHING_TO_REDUCE)
    order.amount = order.filled + min(order.remaining, free)
    return None


def check_margin(
    state: State, position: Position, order: Order, replaces: Order | None
) -> Refusal | None:
    """Whether the account can carry the order; marks the order `risk_reducing` if it must be."""
    market, wallet = position.market, position.wallet
    low, high, reserved = margin.margin_preview(state, position)
    costs = reserved + _cost(market, order)
    if replaces is not None:
        costs -= position.reserves.get(replaces.order_id, 0)
        low, high = _with(low, high, replaces.side, -replaces.remaining)
    reach = order.amount - order.filled
    if order.reduce_only:
        # Together, these go to zero at most.
        reach = min(reach, abs(position.size) - _reduced_by_others(position, replaces))
    if order.side is BUY:
        high += reach
    else:
        low -= reach
    worst, limit = wallet.model.worst_case(wallet, market, low, high), market.terms.position_limit
    # What the rest of the wallet leaves of the margin balance.
    balance = wallet.balance + wallet.session_profit + wallet.profit
    free = balance - wallet.initial + position.initial
    trusted, fits = prices_fresh(state, wallet), -limit <= low and high <= limit
    order.risk_reducing = not trusted or worst + costs > free
    if fits and not order.risk_reducing:
        return None
    before = wallet.model.worst_case(wallet, market, *position.worst_case_sizes())
    if worst > before or not _only_reduces(position, order, low, high):
        if not fits:
            return Refusal(Reason.POSITION_OVER_LIMIT, text(limit))
        return Refusal(Reason.NOT_ENOUGH_FUNDS if trusted else Reason.UNSUPERVISED)
    extreme = high if order.side is BUY else low
    if order.risk_reducing and not _survives(wallet, position, order, extreme, costs):
        return Refusal(Reason.NOT_ENOUGH_FUNDS)
    return None


def _only_reduces(position: Position, order: Order, low: int, high: int) -> bool:
    """Whether the position itself does not grow and does not change sides by this order.

    What needs no more margin in the worst case may still open a position: against the far order
    of a flat account, say. A reduce-only order cannot. One that does not rest is judged by what
    it makes of the position now; one that rests also by what the others of its side, which may
    be filled first, leave of it.
    """
    if order.reduce_only:
        return True
    size, sign = position.size, order.side.sign
    if size * sign >= 0:
        return False
    if not order.time_in_force.rests:
        return order.amount - order.filled <= abs(size)
    return high <= 0 if sign > 0 else low >= 0


def _reduced_by_others(position: Position, replaces: Order | None) -> int:
    """What other reduce-only orders hold of the position than the one that is to go."""
    if replaces is not None and replaces.reduce_only:
        return position.reduced - replaces.remaining
    return position.reduced


def _with(low: int, high: int, side: Side, amount: int) -> tuple[int, int]:
    return (low, high + amount) if side is BUY else (low - amount, high)


def _cost(market: Market, order: Order) -> int:
    """The most that filling the order as a taker can cost at once.

    Every fill rounds value, carry and fee by less than two units in all, and no fill is
    smaller than a contract, so that much is added.
    """
    left, price, value = order.amount - order.filled, order.price, market.value
    cost = order_costs.fee_on(value(left, price), market.taker_rate)
    cost += 2 * (left // market.contract_size) + 2
    if price > market.mark if order.side is BUY else price < market.mark:
        cost += order_costs.loss_at_mark(market, order.side, left, price)
    return cost


def _survives(wallet: Wallet, position: Position, order: Order, extreme: int, cost: int) -> bool:
    """Whether a full fill leaves maintenance margin, also after all others of that side.

    `extreme` is the size that these make of the position, `cost` what all orders in it may cost.
    What other markets' orders may cost counts too, or each of several orders would be let
    through on the same margin.
    """
    market = position.market
    alone = position.size + order.side.sign * order.remaining
    model = wallet.model
    needed = [model.maintenance(wallet, market, size) for size in (alone, extreme)]
    after = wallet.maintenance - position.maintenance + max(needed)
    for held in wallet.positions.values():
        cost += 2 * _open_contracts(held)
        if held is not position:
            cost += held.reserved
    return wallet.margin_balance - cost >= after


def _open_contracts(position: Position) -> int:
    """The most fills that the position's open orders can have; each may round by two units."""
    open_amount = position.buys + position.sells + position.reduced
    return open_amount // position.market.contract_size
