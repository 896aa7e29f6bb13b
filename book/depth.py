"""Views of a book: its best levels, and the average price of taking an amount."""

from itertools import islice

from book.instrument import Instrument
from book.order import Side
from book.orderbook import OrderBook


def depth(book: OrderBook, side: Side, levels: int) -> list[tuple[int, int]]:
    """Return (price, amount) of the best levels of a side, best first."""
    return [(level.price, level.amount) for level in islice(book.side(side), levels)]


def impact_price(book: OrderBook, instrument: Instrument, side: Side, amount: int) -> int | None:
    """Return the average price of taking `amount` from a side, or None if it holds less."""
    left = amount
    cost = 0
    for level in book.side(side):
        taken = min(left, level.amount)
        cost += instrument.cost(taken, level.price)
        left -= taken
        if not left:
            return instrument.average_price(amount, cost)
    return None
