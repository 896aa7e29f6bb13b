"""The order book: queues, levels, their changes, depth and impact price."""

import pytest

from book.depth import depth, impact_price
from book.events import LevelChange
from book.order import Order, OrderState, Side
from book.orderbook import OrderBook
from book.units import SCALE
from tests.book.factory import BTC_PERPETUAL, SOL_PERPETUAL, limit_order

BUY, SELL = Side.BUY, Side.SELL


@pytest.fixture
def book() -> OrderBook:
    return OrderBook(BTC_PERPETUAL.name)


def rest(book: OrderBook, order_id: int, side: Side, price: int, amount: int) -> Order:
    order = limit_order(order_id, order_id, side, price, amount)
    book.add(order)
    return order


def queue(book: OrderBook, side: Side) -> list[int]:
    """Return the order ids of a side in the order in which they trade."""
    book.check()
    return [order.order_id for level in book.side(side) for order in level]


def test_an_empty_book_has_no_best_price(book: OrderBook) -> None:
    """No order crosses it, and it has no changes."""
    assert (None, None) == (book.best(BUY), book.best_price(SELL))
    assert not book.crosses(BUY, 10**15)
    assert not book.crosses(SELL, 1)
    assert () == book.take_changes()
    book.check()


def test_orders_trade_by_price_then_time(book: OrderBook) -> None:
    """The highest bid and the lowest ask trade first, and at one price the oldest does."""
    for order_id, price in enumerate([98, 99, 97, 99, 98], start=1):
        rest(book, order_id, BUY, price, 1)
    for order_id, price in enumerate([102, 101, 103, 101, 102], start=11):
        rest(book, order_id, SELL, price, 1)
    assert [2, 4, 1, 5, 3] == queue(book, BUY)
    assert [12, 14, 11, 15, 13] == queue(book, SELL)
    assert (99, 101) == (book.best_price(BUY), book.best_price(SELL))
    best_bid, best_ask = book.best(BUY), book.best(SELL)
    assert best_bid is book.orders[2]
    assert best_ask is book.orders[12]


def test_levels_between_two_prices_are_returned_best_first(book: OrderBook) -> None:
    """Both prices are included, whether there is a level or not."""
    for order_id, price in enumerate([95, 97, 98, 99], start=1):
        rest(book, order_id, BUY, price, 1)
    for order_id, price in enumerate([101, 102, 103, 105], start=11):
        rest(book, order_id, SELL, price, 1)
    assert [98, 97] == [level.price for level in book.bids.within(96, 98)]
    assert [102, 103] == [level.price for level in book.asks.within(102, 104)]
    assert [] == list(book.asks.within(106, 200))


@pytest.mark.parametrize(
    ("cancelled", "left"), [([1], [2, 3]), ([2], [1, 3]), ([3], [1, 2]), ([2, 1], [3])]
)
def test_cancelling_keeps_the_queue_of_the_others(
    book: OrderBook, cancelled: list[int], left: list[int]
) -> None:
    """The cancelled order may be at the front, in the middle or at the end of the queue."""
    orders = {order_id: rest(book, order_id, SELL, 100, 5) for order_id in (1, 2, 3)}
    for order_id in cancelled:
        book.remove(orders[order_id])
    assert left == queue(book, SELL)
    assert [(100, 5 * len(left))] == depth(book, SELL, 10)


def test_removing_the_last_order_removes_its_level(book: OrderBook) -> None:
    """The next price becomes the best, and a new order can open the level again."""
    first = rest(book, 1, BUY, 100, 5)
    rest(book, 2, BUY, 99, 5)
    book.remove(first)
    assert 99 == book.best_price(BUY)
    rest(book, 3, BUY, 100, 1)
    assert [3, 2] == queue(book, BUY)


def test_a_removed_order_is_added_again_at_the_end(book: OrderBook) -> None:
    """An edit that loses priority removes the order and adds it behind the others."""
    order = rest(book, 1, SELL, 100, 5)
    rest(book, 2, SELL, 100, 5)
    book.remove(order)
    book.add(order)
    assert [2, 1] == queue(book, SELL)


def test_shrinking_keeps_the_place_in_the_queue(book: OrderBook) -> None:
    """An edit to a smaller amount at the same price keeps priority."""
    order = rest(book, 1, SELL, 100, 5)
    rest(book, 2, SELL, 100, 5)
    book.shrink(order, 2)
    assert [1, 2] == queue(book, SELL)
    assert (3, 3, 0) == (order.amount, order.remaining, order.filled)
    assert [(100, 8)] == depth(book, SELL, 1)


@pytest.mark.parametrize("amount", [-1, 0, 3, 4])
def test_shrinking_to_nothing_is_rejected(book: OrderBook, amount: int) -> None:
    """Of 5 with 2 filled, 3 remain: only 1 or 2 can be taken away."""
    order = rest(book, 1, SELL, 100, 5)
    book.fill(order, 2)
    with pytest.raises(AssertionError):
        book.shrink(order, amount)


def test_a_partly_filled_order_keeps_its_place_in_the_queue(book: OrderBook) -> None:
    """The rest of it trades next."""
    order = rest(book, 1, BUY, 100, 5)
    rest(book, 2, BUY, 100, 5)
    book.fill(order, 4)
    assert [1, 2] == queue(book, BUY)
    assert (4, 1) == (order.filled, order.remaining)
    book.fill(order, 1)
    assert [2] == queue(book, BUY)


@pytest.mark.parametrize("amount", [-1, 0, 6])
def test_a_fill_is_positive_and_no_more_than_what_remains(book: OrderBook, amount: int) -> None:
    """Any other amount fails an assertion."""
    order = rest(book, 1, BUY, 100, 5)
    with pytest.raises(AssertionError):
        book.fill(order, amount)


def test_an_order_cannot_rest_twice(book: OrderBook) -> None:
    """Adding it again, or removing an order that does not rest, fails an assertion."""
    order = rest(book, 1, BUY, 100, 5)
    with pytest.raises(AssertionError):
        book.add(order)
    book.remove(order)
    with pytest.raises(AssertionError):
        book.remove(order)


def test_an_order_prints_without_its_neighbours(book: OrderBook) -> None:
    """The `repr` of an order has the same length in any queue."""
    for order_id in range(5_000):
        rest(book, order_id, BUY, 100, 5)
    assert repr(book.orders[0]) == repr(limit_order(0, 0, BUY, 100, 5))


def test_an_order_crosses_from_the_best_opposite_price_on(book: OrderBook) -> None:
    """A buy at the best ask trades, one unit lower it rests; likewise for sells."""
    rest(book, 1, BUY, 99, 1)
    rest(book, 2, SELL, 101, 1)
    assert [False, True, True] == [book.crosses(BUY, price) for price in (100, 101, 102)]
    assert [True, True, False] == [book.crosses(SELL, price) for price in (98, 99, 100)]


def test_several_changes_of_a_level_are_reported_as_one(book: OrderBook) -> None:
    """`take_changes` returns one change per level, from the amount at the previous call."""
    order = rest(book, 1, BUY, 99, 5)
    rest(book, 2, BUY, 99, 2)
    rest(book, 3, SELL, 101, 4)
    assert (LevelChange(BUY, 99, 0, 7), LevelChange(SELL, 101, 0, 4)) == book.take_changes()
    book.fill(order, 3)
    book.shrink(order, 1)
    assert (LevelChange(BUY, 99, 7, 3),) == book.take_changes()
    assert () == book.take_changes()


def test_a_level_with_an_unchanged_amount_is_not_reported(book: OrderBook) -> None:
    """Neither one that appeared and vanished, nor one that was emptied and refilled."""
    old = rest(book, 1, SELL, 101, 4)
    book.take_changes()
    book.remove(rest(book, 2, SELL, 100, 1))
    book.remove(old)
    rest(book, 3, SELL, 101, 4)
    assert () == book.take_changes()
    assert [(101, 4)] == depth(book, SELL, 5)


def test_a_removed_level_is_reported_with_amount_zero(book: OrderBook) -> None:
    """Subscribers delete such a level."""
    order = rest(book, 1, SELL, 101, 4)
    book.take_changes()
    book.remove(order)
    assert (LevelChange(SELL, 101, 4, 0),) == book.take_changes()


def test_changes_are_ordered_by_side_and_then_by_first_change(book: OrderBook) -> None:
    """Bids first. The order is fixed, so that every replica publishes the same."""
    for order_id, (side, price) in enumerate([(SELL, 105), (BUY, 98), (SELL, 103), (BUY, 99)]):
        rest(book, order_id, side, price, 1)
    assert [98, 99, 105, 103] == [change.price for change in book.take_changes()]


def test_depth_returns_at_most_the_requested_levels(book: OrderBook) -> None:
    """Best first, each price once with its total amount."""
    for order_id, price in enumerate([101, 103, 102, 101]):
        rest(book, order_id, SELL, price, 10 + order_id)
    assert [] == depth(book, BUY, 5)
    assert [(101, 23), (102, 12)] == depth(book, SELL, 2)
    assert [(101, 23), (102, 12), (103, 11)] == depth(book, SELL, 5)


def test_the_impact_price_is_the_average_over_the_levels_taken(book: OrderBook) -> None:
    """100 at 20,000 and 100 of the 300 at 30,000: 24,000 inverse, 25,000 linear."""
    rest(book, 1, SELL, 20_000 * SCALE, 100 * SCALE)
    rest(book, 2, SELL, 30_000 * SCALE, 300 * SCALE)
    assert 24_000 * SCALE == impact_price(book, BTC_PERPETUAL, SELL, 200 * SCALE)
    assert 25_000 * SCALE == impact_price(book, SOL_PERPETUAL, SELL, 200 * SCALE)
    assert 20_000 * SCALE == impact_price(book, BTC_PERPETUAL, SELL, 100 * SCALE)


def test_an_impact_price_at_a_tie_is_rounded_to_even() -> None:
    """One unit at 2 and one at 3 average 2.5, which rounds to 2."""
    book = OrderBook(SOL_PERPETUAL.name)
    for number, price in enumerate((2, 3), 1):
        book.add(limit_order(number, 1, SELL, price, 1))
    assert 2 == impact_price(book, SOL_PERPETUAL, SELL, 2)


def test_a_side_with_too_little_liquidity_has_no_impact_price(book: OrderBook) -> None:
    """An amount equal to the whole side has one; one unit more has none."""
    rest(book, 1, BUY, 100 * SCALE, 7)
    rest(book, 2, BUY, 99 * SCALE, 3)
    assert impact_price(book, BTC_PERPETUAL, BUY, 10) is not None
    assert impact_price(book, BTC_PERPETUAL, BUY, 11) is None
    assert impact_price(book, BTC_PERPETUAL, SELL, 1) is None


def break_level_total(book: OrderBook) -> None:
    book.asks.levels[101].amount += 1


def break_link(book: OrderBook) -> None:
    book.orders[3].previous = None


def break_tail(book: OrderBook) -> None:
    book.asks.levels[101].tail = book.orders[2]


def break_index(book: OrderBook) -> None:
    del book.orders[2]


def break_keys(book: OrderBook) -> None:
    book.asks.keys.add(105)


def break_best(book: OrderBook) -> None:
    book.bids.best = None


def break_remaining(book: OrderBook) -> None:
    book.orders[1].filled = book.orders[1].amount
    book.bids.levels[99].amount = 0


def break_state(book: OrderBook) -> None:
    book.orders[1].state = OrderState.CANCELLED


def break_sides(book: OrderBook) -> None:
    rest(book, 4, SELL, 99, 1)


def break_price(book: OrderBook) -> None:
    book.orders[2].price = 102


CORRUPTIONS = [
    break_level_total,
    break_link,
    break_tail,
    break_index,
    break_keys,
    break_best,
    break_remaining,
    break_state,
    break_sides,
    break_price,
]


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=lambda corrupt: corrupt.__name__)
def test_check_detects_every_broken_invariant(book: OrderBook, corrupt: object) -> None:
    """Each invariant is broken once, so that none of the assertions can be lost."""
    rest(book, 1, BUY, 99, 5)
    rest(book, 2, SELL, 101, 5)
    rest(book, 3, SELL, 101, 5)
    book.check()
    assert callable(corrupt)
    corrupt(book)
    with pytest.raises(AssertionError):
        book.check()
