"""Pre-trade checks. Each returns a refusal or None and changes nothing but the order itself.

An order passes if the account would meet its initial margin in the worst case of all its open
orders, or if the order cannot increase the account's requirement. Either way, filling it in full
at its limit leaves the account at or above maintenance margin at a constant mark. Profit is
linear and maintenance margin convex in the filled amount, so checking both ends is enough.
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
    """The reason of a refusal, and a number or text that complements it."""

    reason: Reason
    detail: str = ""


def check_tradable(
    state: State, account: Account | None, market: Market | None, valid_until: int
) -> Refusal | None:
    """Check that the account may trade in this market now."""
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
    # There is no wallet in a currency that was added after the account was opened.
    if wallet is not None and margin.is_locked(state, wallet):
        return Refusal(Reason.ACCOUNT_LOCKED)
    return None


def check_terms(market: Market, order: Order) -> Refusal | None:
    """Check that amount, flags and time in force are valid for the instrument."""
    contract = market.instrument.contract
    if order.amount < contract.minimum:
        return Refusal(Reason.AMOUNT_BELOW_MINIMUM, text(contract.minimum))
    if order.amount % contract.contract_size:
        return Refusal(Reason.AMOUNT_OFF_STEP, text(contract.contract_size))
    if order.post_only and not (order.type is LIMIT and order.time_in_force.rests):
        return Refusal(Reason.POST_ONLY_NOT_ALLOWED)
    return None


def check_price(market: Market, order: Order) -> Refusal | None:
    """Set the price limit of a market order; check tick, band and post-only of any other."""
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
    """Limit a reduce-only order to the position; if it can rest, less other reduce-only orders.

    An immediate order has priority: resting reduce-only orders shrink as it fills. A position can
    therefore be closed in spite of resting take-profit orders.
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
    """Check the margin of the account; set `risk_reducing` on an order accepted only as such."""
    market, wallet = position.market, position.wallet
    low, high, reserved = margin.margin_preview(state, position)
    costs = reserved + _cost(market, order)
    if replaces is not None:
        costs -= position.reserves.get(replaces.order_id, 0)
        low, high = _with(low, high, replaces.side, -replaces.remaining)
    reach = order.amount - order.filled
    if order.reduce_only:
        # All reduce-only orders together close the position at most.
        reach = min(reach, abs(position.size) - _reduced_by_others(position, replaces))
    if order.side is BUY:
        high += reach
    else:
        low -= reach
    worst, limit = wallet.model.worst_case(wallet, market, low, high), market.terms.position_limit
    # The margin balance less the initial margin of the wallet's other positions.
    balance = wallet.balance + wallet.session_profit + wallet.profit
    free = balance - wallet.initial + position.initial
    fresh, fits = prices_fresh(state, wallet), -limit <= low and high <= limit
    order.risk_reducing = not fresh or worst + costs > free
    if fits and not order.risk_reducing:
        return None
    before = wallet.model.worst_case(wallet, market, *position.worst_case_sizes())
    if worst > before or not _only_reduces(position, order, low, high):
        if not fits:
            return Refusal(Reason.POSITION_OVER_LIMIT, text(limit))
        return Refusal(Reason.NOT_ENOUGH_FUNDS if fresh else Reason.UNSUPERVISED)
    extreme = high if order.side is BUY else low
    if order.risk_reducing and not _survives(wallet, position, order, extreme, costs):
        return Refusal(Reason.NOT_ENOUGH_FUNDS)
    return None


def _only_reduces(position: Position, order: Order, low: int, high: int) -> bool:
    """Return whether the order can neither increase nor flip the position.

    An order that does not raise the worst-case margin may still open a position, for example for
    a flat account with a far order on the opposite side. A reduce-only order cannot. An order
    that does not rest is compared with the present position; an order that rests is compared with
    what is left of the position after all other orders of its side, which may fill first.
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
    """Return the open amount of reduce-only orders, without the one that is replaced."""
    if replaces is not None and replaces.reduce_only:
        return position.reduced - replaces.remaining
    return position.reduced


def _with(low: int, high: int, side: Side, amount: int) -> tuple[int, int]:
    return (low, high + amount) if side is BUY else (low - amount, high)


def _cost(market: Market, order: Order) -> int:
    """Return the maximum immediate cost of filling the order as a taker: fee and loss at mark.

    A fill rounds value, carry and fee by less than two units in total. No fill is smaller than a
    contract, so two units per contract are added.
    """
    left, price, value = order.amount - order.filled, order.price, market.value
    cost = order_costs.fee_on(value(left, price), market.taker_rate)
    cost += 2 * (left // market.contract_size) + 2
    if price > market.mark if order.side is BUY else price < market.mark:
        cost += order_costs.loss_at_mark(market, order.side, left, price)
    return cost


def _survives(wallet: Wallet, position: Position, order: Order, extreme: int, cost: int) -> bool:
    """Return whether maintenance margin remains after a full fill, alone or after its side.

    `extreme` is the position size after all orders of that side, `cost` the possible cost of all
    orders in this market. The cost of orders in other markets is added, since several orders
    would otherwise be accepted on the same margin.
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
    """Return the maximum number of fills of the position's open orders, which bounds rounding."""
    open_amount = position.buys + position.sells + position.reduced
    return open_amount // position.market.contract_size
