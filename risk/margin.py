"""What a wallet needs as margin, kept up to date, and what its open orders may cost beyond that.

How much margin positions need is the affair of the wallet's model (see risk.margin_model). It
measures a wallet anew when a mark has moved (`State.marks`), and otherwise only the positions that
were changed: in calm an order costs O(1), whatever else the account holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from book.order import BUY, Order, Side
from book.units import RATE
from risk.market import Market

if TYPE_CHECKING:
    from risk.position import Position, Wallet
    from risk.state import State


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


def worst_case_sizes(position: Position) -> tuple[int, int]:
    """The lowest and highest size that the position's open orders can make of it."""
    size, reduced = position.size, position.reduced
    low = size - position.sells - (reduced if size > 0 else 0)
    high = size + position.buys + (reduced if size < 0 else 0)
    return low, high


def refresh(state: State, wallet: Wallet) -> None:
    """Bring the wallet's requirements to the present marks, positions and orders."""
    wallet.model.measure(state, wallet)
    for position in wallet.stale_positions:
        position.initial_stale = position.margin_stale = False
    wallet.stale_positions.clear()
    wallet.stale = False


def profit(position: Position) -> int:
    """Unrealised profit of a position at the present mark, with accrued funding."""
    market, size = position.market, position.size
    if not size or not market.mark:
        return 0
    found = position.carry - market.value(size, market.mark)
    if position.funding_index != market.funding_index:
        found += position.accrued_funding(market.funding_index)
    return found


def balance(state: State, wallet: Wallet) -> int:
    """The margin balance at the present marks.

    Unlike `refresh` it does not look at open orders, so it takes the same for every wallet: phases
    that go through accounts by the slice need no more.
    """
    if wallet.marks == state.marks and not wallet.stale:
        return wallet.margin_balance
    unrealised = sum(profit(position) for position in wallet.positions.values())
    return wallet.balance + wallet.session_profit + unrealised


def margin_preview(state: State, position: Position) -> tuple[int, int, int]:
    """The `extremes` of a position and its `reserves`, as its next order is to be checked by.

    The wallet's requirements are brought up to date too, except that they may hold an earlier
    initial margin of this position: it is the one that the position shows, so that it can be
    subtracted. To replace it would be in vain, for the order is about to change it again.
    """
    wallet, marks = position.wallet, state.marks
    # Whether others are behind.
    if (
        len(wallet.stale_positions) > position.initial_stale
        or wallet.stale
        or wallet.marks != marks
    ):
        refresh(state, wallet)
    reserved = position.reserved if position.reserves_at == marks else reserves(state, position)
    low, high = position.size - position.sells, position.size + position.buys
    if position.reduced:
        low, high = worst_case_sizes(position)
    return low, high, reserved


def update(position: Position) -> None:
    """Size or carry of a position have changed: the next refresh measures it anew.

    Not at once: makers are filled more often than they are asked for their margin, and who takes
    from several of them is asked once.
    """
    position.margin_stale = position.wallet.stale = True
    if not position.initial_stale:
        update_orders(position)


def update_orders(position: Position) -> None:
    """The same where only the position's open orders have changed: these move initial margin."""
    if not position.initial_stale:
        position.initial_stale = True
        position.wallet.stale_positions.append(position)


def forget(position: Position) -> None:
    """Take a position that is about to go out of its wallet's requirements."""
    wallet = position.wallet
    if position.initial_stale:
        wallet.stale_positions.remove(position)
    wallet.model.forget(position)


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


def update_reserve(state: State, position: Position, order: Order) -> None:
    """Replace what one open order reserves, after it opened or shrank."""
    if position.reserves_at == state.marks:
        if position.reserves:
            release_reserve(position, order)
        market, price = position.market, order.price
        # The condition is that of `loss_at_mark`: most orders cost nothing.
        worse = price > market.mark if order.side is BUY else price < market.mark
        if worse or market.maker_rate > 0:
            amount = position.reserves[order.order_id] = reserve(market, order)
            position.reserved += amount


def release_reserve(position: Position, order: Order) -> None:
    """Forget what an order reserved that is gone."""
    if position.reserves:
        position.reserved -= position.reserves.pop(order.order_id, 0)


def is_locked(state: State, wallet: Wallet) -> bool:
    """Whether the account is below maintenance margin, and so in liquidation's hands."""
    if wallet.marks != state.marks or wallet.stale:
        refresh(state, wallet)
    return wallet.balance + wallet.session_profit + wallet.profit < wallet.maintenance


def spare(state: State, wallet: Wallet) -> int:
    """What a wallet can pay in cash and still have its initial margin; negative where it lacks."""
    refresh(state, wallet)
    return min(wallet.balance, wallet.margin_balance - wallet.initial)


def withdrawable(state: State, wallet: Wallet) -> int:
    """What may be taken out: cash that neither margin nor work in progress claims.

    Unrealised profit is not cash.
    """
    refresh(state, wallet)
    free = min(wallet.balance, wallet.margin_balance) - wallet.initial
    return max(0, free - sum(phase.withheld(state, wallet) for phase in state.phases))
