"""What a fill or an open order costs, in Money: profit or loss against the mark, and the fee."""

from __future__ import annotations

from book.order import BUY, Order, Side
from book.units import RATE
from risk.market import Market


def profit_at_mark(market: Market, side: Side, amount: int, price: int) -> int:
    """Return the profit at the mark of a fill at `price`; negative for a loss."""
    signed, value = side.sign * amount, market.value
    return value(signed, price) - value(signed, market.mark)


def loss_at_mark(market: Market, side: Side, amount: int, price: int) -> int:
    """Return the loss at the mark of a fill at `price`; 0 at prices no worse than the mark."""
    if price <= market.mark if side is BUY else price >= market.mark:
        return 0
    return max(0, -profit_at_mark(market, side, amount, price))


def fee(market: Market, amount: int, price: int, rate: int) -> int:
    """Return the fee on a fill of `amount` at `price`; see `fee_on`."""
    return fee_on(market.value(amount, price), rate) if rate else 0


def fee_on(value: int, rate: int) -> int:
    """Return the fee on a trade value, rounded up: in the venue's favour, also for a rebate."""
    return -(-abs(value) * rate // RATE)


def reserve(market: Market, order: Order) -> int:
    """Return what filling an open order may cost beyond margin: loss at the mark, and maker fee.

    A reduce-only order needs no initial margin, but it may lose as much as any other.
    """
    left, price, rate = order.amount - order.filled, order.price, market.maker_rate
    loss = loss_at_mark(market, order.side, left, price)
    if loss:
        # It is the difference of two rounded values.
        loss += 1
    return loss + fee(market, left, price, rate) if rate > 0 else loss
