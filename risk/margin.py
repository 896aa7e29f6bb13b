"""Standard margin: what a position must have behind it, and what open orders add to that.

Initial margin of n base coins is (base + slope * n) * n, maintenance likewise with its own
base; inverse contracts are margined in the coin itself, linear ones at the index (API
reference, standard margin, `legacy-2025`). Every requirement is rounded up.

A wallet caches its sums until a mark moves (`State.marks`), and one changed position only
replaces its own part of them: in calm an order costs O(1), whatever else the account holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from book.order import BUY, Order, Side
from book.units import MONEY, RATE, SCALE, ceil_div
from risk.market import Market
from risk.position import Position, Wallet

if TYPE_CHECKING:
    from risk.state import State


_REMEMBERED = 256
"""Requirements that a market remembers: more than its busiest accounts have sizes."""


def base_size(market: Market, size: int) -> int:
    """Base coins in a size, unsigned, in 1e-12; an inverse size is converted at the mark."""
    if market.instrument.contract.inverse:
        return ceil_div(abs(size) * MONEY, market.mark)
    return abs(size) * (MONEY // SCALE)


def initial(market: Market, size: int) -> int:
    """Initial margin of a signed size, in Money.

    It is asked for again and again at the same prices, so the market remembers the latest.
    """
    key = (size, market.mark, market.index.price)
    found = market.initials.get(key)
    if found is None:
        terms = market.terms
        found = _requirement(market, size, terms.initial_base, terms.initial_slope)
        if len(market.initials) >= _REMEMBERED:
            market.initials.clear()
        market.initials[key] = found
    return found


def maintenance(market: Market, size: int) -> int:
    """Maintenance margin of a signed size, in Money."""
    terms = market.terms
    return _requirement(market, size, terms.maintenance_base, terms.maintenance_slope)


def _requirement(market: Market, size: int, base: int, slope: int) -> int:
    if not size:
        return 0
    coins = base_size(market, size)
    weighted = coins * (base * MONEY + slope * coins)
    if market.instrument.contract.inverse:
        return ceil_div(weighted, RATE * MONEY)
    return ceil_div(weighted * market.index.price, RATE * MONEY * SCALE)


def profit_at_mark(market: Market, side: Side, amount: int, price: int) -> int:
    """What a fill at `price` is worth at the mark, in Money; negative is a loss."""
    signed, value = side.sign * amount, market.value
    return value(signed, price) - value(signed, market.mark)


def loss_at_mark(market: Market, side: Side, amount: int, price: int) -> int:
    """The same as a loss, in Money; nothing at prices no worse than the mark."""
    if price <= market.mark if side is BUY else price >= market.mark:
        return 0
    return max(0, -profit_at_mark(market, side, amount, price))


def fee(market: Market, amount: int, price: int, rate: int) -> int:
    """Fee on a fill of `amount` at `price`, see `fee_on`."""
    return fee_on(market.value(amount, price), rate) if rate else 0


def fee_on(value: int, rate: int) -> int:
    """Fee on a trade value, rounded up: a fee in the venue's favour, a rebate too."""
    return -(-abs(value) * rate // RATE)


def reserve(market: Market, order: Order) -> int:
    """What a resting order may cost at once beyond margin: its loss against the mark, its fee.

    A reduce-only order needs no initial margin, but it may lose as much as any other.
    """
    left, price, rate = order.amount - order.filled, order.price, market.maker_rate
    loss = loss_at_mark(market, order.side, left, price)
    if loss:
        # For the rounding of the two values that it is the difference of.
        loss += 1
    return loss + fee(market, left, price, rate) if rate > 0 else loss


def extremes(position: Position) -> tuple[int, int]:
    """The lowest and highest size that the position's open orders can make of it."""
    size, reduced = position.size, position.reduced
    low = size - position.sells - (reduced if size > 0 else 0)
    high = size + position.buys + (reduced if size < 0 else 0)
    return low, high


def worst_initial(market: Market, low: int, high: int) -> int:
    """Initial margin of the worse of two sizes."""
    return initial(market, low if -low > high else high)


def refresh(state: State, wallet: Wallet) -> None:
    """Bring the wallet's sums to the present marks, positions and orders."""
    if wallet.marks != state.marks:
        wallet.marks = state.marks
        wallet.profit = wallet.initial = wallet.maintenance = 0
        for position in wallet.positions.values():
            _measure(state, position)
            _count(wallet, position, 1)
    else:
        for position in wallet.behind:
            if position.moved:
                _count(wallet, position, -1)
                _measure(state, position)
                _count(wallet, position, 1)
            else:
                wallet.initial -= position.initial
                position.initial = _initial(state, position)
                wallet.initial += position.initial
    for position in wallet.behind:
        position.behind = position.moved = False
    wallet.behind.clear()
    wallet.moved = False


def outlook(state: State, position: Position) -> tuple[int, int, int]:
    """The `extremes` of a position and its `reserves`, as its next order is to be checked by.

    The wallet's sums are brought up to date too, except that they may hold an earlier initial
    margin of this position: it is the one that the position shows, so that they can be told
    without it. To replace it would be in vain, for the order is about to change it again.
    """
    wallet, marks = position.wallet, state.marks
    # Whether others are behind.
    if len(wallet.behind) > position.behind or wallet.moved or wallet.marks != marks:
        refresh(state, wallet)
    reserved = position.reserved if position.reserves_at == marks else reserves(state, position)
    low, high = position.size - position.sells, position.size + position.buys
    if position.reduced:
        low, high = extremes(position)
    return low, high, reserved


def update(position: Position) -> None:
    """Size or carry of a position have changed: the next refresh measures it anew.

    Not at once: makers are filled more often than they are asked for their margin, and who takes
    from several of them is asked once.
    """
    position.moved = position.wallet.moved = True
    if not position.behind:
        update_orders(position)


def update_orders(position: Position) -> None:
    """The same where only the position's open orders have changed: these move initial margin."""
    if not position.behind:
        position.behind = True
        position.wallet.behind.append(position)


def forget(position: Position) -> None:
    """Take out of its wallet's sums what a position is in them that is about to go."""
    wallet = position.wallet
    if position.behind:
        wallet.behind.remove(position)
    _count(wallet, position, -1)


def _count(wallet: Wallet, position: Position, sign: int) -> None:
    wallet.profit += sign * position.profit
    wallet.initial += sign * position.initial
    wallet.maintenance += sign * position.maintenance


def _measure(state: State, position: Position) -> None:
    market = position.market
    if not market.mark:
        return
    size = position.size
    position.profit = position.maintenance = 0
    if size:
        position.profit = (
            position.carry
            - market.value(size, market.mark)
            + position.accrued_funding(market.funding_index)
        )
        position.maintenance = maintenance(market, size)
    position.initial = _initial(state, position)


def _initial(state: State, position: Position) -> int:
    return worst_initial(position.market, *extremes(position)) + reserves(state, position)


def reserves(state: State, position: Position) -> int:
    """The sum of what the position's open orders reserve at the present mark."""
    if position.reserves_at != state.marks:
        position.reserves_at = state.marks
        market, mark = position.market, position.market.mark
        charged = market.maker_rate > 0
        # The condition is that of `loss_at_mark`: orders mostly cost nothing, and to ask for each
        # of them took most of the time that an account's first order after a Tick took.
        position.reserves = {
            order_id: reserve(market, order)
            for order_id, order in position.orders.items()
            if charged or (order.price > mark if order.side is BUY else order.price < mark)
        }
        position.reserved = sum(position.reserves.values())
    return position.reserved


def reserve_again(state: State, position: Position, order: Order) -> None:
    """Replace what one open order reserves, after it opened or shrank."""
    if position.reserves_at == state.marks:
        if position.reserves:
            reserve_no_more(position, order)
        market, price = position.market, order.price
        # The condition is that of `loss_at_mark`: most orders cost nothing.
        worse = price > market.mark if order.side is BUY else price < market.mark
        if worse or market.maker_rate > 0:
            amount = position.reserves[order.order_id] = reserve(market, order)
            position.reserved += amount


def reserve_no_more(position: Position, order: Order) -> None:
    """Forget what an order reserved that is gone."""
    if position.reserves:
        position.reserved -= position.reserves.pop(order.order_id, 0)


def is_locked(state: State, wallet: Wallet) -> bool:
    """Whether the account is below maintenance margin, and so in liquidation's hands."""
    if wallet.marks != state.marks or wallet.moved:
        refresh(state, wallet)
    return wallet.balance + wallet.session_profit + wallet.profit < wallet.maintenance


def withdrawable(state: State, wallet: Wallet) -> int:
    """What may be taken out: cash that no margin needs. Unrealised profit is not cash."""
    refresh(state, wallet)
    return max(0, min(wallet.balance, wallet.margin_balance) - wallet.initial)
