"""Matching, one case per test, with small numbers that can be checked by hand."""

from collections.abc import Callable

import pytest
from attrs import define, field
from msgspec.structs import replace

from book.depth import depth
from book.instrument import perpetual
from book.matching import Holding, MatchEnd, fillable, match, post_only_price
from book.order import Order, SelfTrading, Side
from book.orderbook import OrderBook
from book.units import SCALE
from tests.book.factory import BTC, BTC_PERPETUAL, SOL_PERPETUAL, limit_order

BUY, SELL = Side.BUY, Side.SELL
REJECT_TAKER, CANCEL_MAKER = SelfTrading.REJECT_TAKER, SelfTrading.CANCEL_MAKER
ALICE, BOB, CAROL = 1, 2, 3


@define
class RecordingBook:
    """A book with a fill handler that records fills and removes cancelled makers."""

    book: OrderBook = field(factory=lambda: OrderBook(BTC_PERPETUAL.name))
    fills: list[tuple[int, int, int]] = field(factory=list)
    cancelled: list[int] = field(factory=list)
    most: int = 1_000

    def allowed_amount(self, maker: Order, amount: int) -> int:
        return amount if len(self.fills) + len(self.cancelled) < self.most else 0

    def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
        self.fills.append((maker.order_id, maker.price, amount))

    def on_self_trade(self, maker: Order) -> bool:
        if len(self.fills) + len(self.cancelled) == self.most:
            return False
        self.cancelled.append(maker.order_id)
        self.book.remove(maker)
        return True

    def rest(self, *quotes: tuple[int, Side, int, int]) -> list[Order]:
        """Add resting orders given as (account, side, price, amount), numbered from 1."""
        first = len(self.book.orders) + 1
        orders = [limit_order(number, *quote) for number, quote in enumerate(quotes, first)]
        for order in orders:
            self.book.add(order)
        return orders

    def take(self, taker: Order, mode: SelfTrading = REJECT_TAKER) -> MatchEnd:
        stop = match(self.book, taker, taker.price, mode, self)
        self.book.check()
        return stop


@pytest.fixture
def market() -> RecordingBook:
    return RecordingBook()


def taker(account: int, side: Side, price: int, amount: int) -> Order:
    return limit_order(99, account, side, price, amount)


def no_reducing(account: int) -> Holding:
    return Holding(0, 0, [])


def long_10(orders: list[Order]) -> Callable[[int], Holding]:
    """Return holdings: Bob is long 10 with these reduce-only orders, oldest first."""
    for order in orders:
        order.reduce_only = True
    reduced = sum(order.remaining for order in orders)
    bobs = Holding(10, reduced, orders[::-1])
    return lambda account: bobs if account == BOB else Holding(0, 0, [])


def test_a_taker_trades_at_the_prices_of_makers_best_first(market: RecordingBook) -> None:
    """Buying 12 up to 102: 5 at 101 from the oldest, 4 at 101, then 3 of the 10 at 102."""
    market.rest((BOB, SELL, 102, 10), (BOB, SELL, 101, 5), (CAROL, SELL, 101, 4))
    order = taker(ALICE, BUY, 102, 12)
    assert MatchEnd.FILLED is market.take(order)
    assert [(2, 101, 5), (3, 101, 4), (1, 102, 3)] == market.fills
    assert (12, 0) == (order.filled, order.remaining)
    assert [(102, 7)] == depth(market.book, SELL, 5)


def test_a_seller_takes_the_highest_bid_first(market: RecordingBook) -> None:
    """Selling 6 down to 98: 4 at 99, then 2 at 98."""
    market.rest((BOB, BUY, 98, 5), (BOB, BUY, 99, 4))
    assert MatchEnd.FILLED is market.take(taker(ALICE, SELL, 98, 6))
    assert [(2, 99, 4), (1, 98, 2)] == market.fills


def test_nothing_trades_beyond_the_limit_price(market: RecordingBook) -> None:
    """The limit itself still trades; the caller rests or cancels the remainder."""
    market.rest((BOB, SELL, 101, 5), (BOB, SELL, 102, 5))
    order = taker(ALICE, BUY, 101, 8)
    assert MatchEnd.NO_PRICE is market.take(order)
    assert [(1, 101, 5)] == market.fills
    assert 3 == order.remaining
    assert not market.book.crosses(BUY, 101)


def test_a_taker_against_an_empty_side_does_not_trade(market: RecordingBook) -> None:
    """At any price, the end is NO_PRICE."""
    market.rest((BOB, BUY, 99, 5))
    assert MatchEnd.NO_PRICE is market.take(taker(ALICE, BUY, 10**15, 1))
    assert [] == market.fills


def test_a_partly_filled_taker_trades_only_its_remainder(market: RecordingBook) -> None:
    """An edited order that crosses the book may have earlier fills."""
    market.rest((BOB, SELL, 101, 10))
    order = taker(ALICE, BUY, 101, 10)
    order.filled = 6
    assert MatchEnd.FILLED is market.take(order)
    assert [(1, 101, 4)] == market.fills


def test_reject_taker_ends_matching_at_an_own_order(market: RecordingBook) -> None:
    """Earlier fills stand, and the own order stays in the book."""
    market.rest((BOB, SELL, 101, 5), (ALICE, SELL, 101, 5), (BOB, SELL, 101, 5))
    order = taker(ALICE, BUY, 101, 12)
    assert MatchEnd.SELF_TRADE is market.take(order)
    assert [(1, 101, 5)] == market.fills
    assert 7 == order.remaining
    assert [(101, 10)] == depth(market.book, SELL, 5)


def test_an_own_order_behind_the_last_fill_does_not_matter(market: RecordingBook) -> None:
    """Self-trade prevention applies to orders that would trade, not to all resting ones."""
    market.rest((BOB, SELL, 101, 5), (ALICE, SELL, 101, 5))
    assert MatchEnd.FILLED is market.take(taker(ALICE, BUY, 101, 5))


def test_cancel_maker_cancels_own_orders_that_would_trade(market: RecordingBook) -> None:
    """The taker trades on; own orders behind its last fill stay."""
    market.rest((ALICE, SELL, 101, 5), (BOB, SELL, 101, 5), (ALICE, SELL, 102, 5))
    assert MatchEnd.FILLED is market.take(taker(ALICE, BUY, 102, 5), CANCEL_MAKER)
    assert [1] == market.cancelled
    assert [(2, 101, 5)] == market.fills
    assert [(102, 5)] == depth(market.book, SELL, 5)


def test_both_orders_show_a_fill_before_the_handler_is_called() -> None:
    """A filled maker has already been removed from the book."""
    seen = []

    class Observer(RecordingBook):
        def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
            resting = maker.order_id in self.book.orders
            seen.append((maker.remaining, taker.remaining, resting))

    market = Observer()
    market.rest((BOB, SELL, 101, 5), (BOB, SELL, 101, 5))
    market.take(taker(ALICE, BUY, 101, 7))
    assert [(0, 2, False), (3, 0, True)] == seen


def test_a_maker_that_the_handler_removes_does_not_trade() -> None:
    """The next maker is chosen after the handler has returned."""

    class Remover(RecordingBook):
        def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
            super().on_fill(maker, taker, amount)
            if 2 in self.book.orders:
                self.book.remove(self.book.orders[2])

    market = Remover()
    market.rest((BOB, SELL, 101, 5), (BOB, SELL, 101, 5), (BOB, SELL, 102, 5))
    assert MatchEnd.FILLED is market.take(taker(ALICE, BUY, 102, 10))
    assert [(1, 101, 5), (3, 102, 5)] == market.fills


@pytest.mark.parametrize(
    ("amount", "limit", "whole"), [(9, 101, True), (10, 101, False), (10, 102, True)]
)
def test_fill_or_kill_counts_the_liquidity_within_its_limit(
    market: RecordingBook, amount: int, limit: int, whole: bool
) -> None:
    """9 rest at 101 and 5 at 102; `fillable` changes nothing."""
    market.rest((BOB, SELL, 101, 5), (CAROL, SELL, 101, 4), (BOB, SELL, 102, 5))
    order = taker(ALICE, BUY, limit, amount)
    assert whole is fillable(market.book, order, limit, REJECT_TAKER, no_reducing, 99)
    assert 0 == order.filled
    assert [(101, 9), (102, 5)] == depth(market.book, SELL, 5)


@pytest.mark.parametrize(
    ("amount", "mode", "whole"),
    [
        (5, REJECT_TAKER, True),
        (6, REJECT_TAKER, False),
        (8, CANCEL_MAKER, True),
        (9, CANCEL_MAKER, False),
    ],
)
def test_fill_or_kill_does_not_count_own_orders(
    market: RecordingBook, amount: int, mode: SelfTrading, whole: bool
) -> None:
    """Bob's 5, Alice's own 5, Carol's 3: with REJECT_TAKER her own order ends the walk."""
    market.rest((BOB, SELL, 101, 5), (ALICE, SELL, 101, 5), (CAROL, SELL, 101, 3))
    order = taker(ALICE, BUY, 101, amount)
    assert whole is fillable(market.book, order, 101, mode, no_reducing, 99)


@pytest.mark.parametrize(("amount", "whole"), [(10, True), (11, False)])
def test_fill_or_kill_accounts_for_reduce_only_orders_that_shrink(
    market: RecordingBook, amount: int, whole: bool
) -> None:
    """Bob is long 10 and rests a plain sell of 7 before reduce-only sells of 6 and 4.

    Selling the 7 leaves 3 to reduce, so the newest is cut and 3 of the 6 stay: 10 in all, not 17.
    """
    orders = market.rest((BOB, SELL, 101, 7), (BOB, SELL, 102, 6), (BOB, SELL, 103, 4))
    order = taker(ALICE, BUY, 103, amount)
    assert whole is fillable(market.book, order, 103, REJECT_TAKER, long_10(orders[1:]), 99)


@pytest.mark.parametrize(("amount", "whole"), [(15, True), (16, False), (20, False)])
def test_fill_or_kill_accounts_for_a_position_that_changes_sides(
    market: RecordingBook, amount: int, whole: bool
) -> None:
    """Bob is long 10 and sells 15: he is short 5, and his reduce-only sell is cut to nothing."""
    orders = market.rest((BOB, SELL, 101, 15), (BOB, SELL, 102, 10))
    order = taker(ALICE, BUY, 102, amount)
    assert whole is fillable(market.book, order, 102, REJECT_TAKER, long_10(orders[1:]), 99)


@pytest.mark.parametrize(("amount", "whole"), [(10, True), (11, False), (13, False)])
def test_fill_or_kill_accounts_for_an_order_that_is_cut_twice(
    market: RecordingBook, amount: int, whole: bool
) -> None:
    """Bob is long 10: each plain sell of 3 cuts 3 off his reduce-only sell of 10, and 4 stay."""
    orders = market.rest((BOB, SELL, 101, 3), (BOB, SELL, 102, 3), (BOB, SELL, 103, 10))
    order = taker(ALICE, BUY, 103, amount)
    assert whole is fillable(market.book, order, 103, REJECT_TAKER, long_10(orders[2:]), 99)


@pytest.mark.parametrize(("most", "whole"), [(2, False), (3, False), (4, True)])
def test_fill_or_kill_fails_if_a_fill_would_cut_too_many_orders(
    market: RecordingBook, most: int, whole: bool
) -> None:
    """Selling all of Bob's position cuts four reduce-only orders; a fill may cut at most `most`."""
    sells = [(BOB, SELL, 102 + number, 2) for number in range(4)]
    orders = market.rest((BOB, SELL, 101, 10), *sells)
    order = taker(ALICE, BUY, 101, 10)
    assert whole is fillable(market.book, order, 101, REJECT_TAKER, long_10(orders[1:]), most)


@pytest.mark.parametrize(("amount", "whole"), [(10, True), (11, False)])
def test_fill_or_kill_counts_reduce_only_orders_within_the_position(
    market: RecordingBook, amount: int, whole: bool
) -> None:
    """Bob is long 10 with reduce-only sells of 6 and 4: filling one does not cut the other."""
    orders = market.rest((BOB, SELL, 101, 6), (BOB, SELL, 102, 4))
    order = taker(ALICE, BUY, 102, amount)
    assert whole is fillable(market.book, order, 102, REJECT_TAKER, long_10(orders), 99)


def test_fill_or_kill_reads_the_holding_of_each_account_once(market: RecordingBook) -> None:
    """And not that of accounts behind the last fill."""
    market.rest((BOB, SELL, 101, 1), (BOB, SELL, 102, 1), (CAROL, SELL, 103, 1))
    read = []

    def holding(account: int) -> Holding:
        read.append(account)
        return Holding(0, 0, [])

    assert fillable(market.book, taker(ALICE, BUY, 103, 2), 103, REJECT_TAKER, holding, 99)
    assert [ALICE, BOB] == read


@pytest.mark.parametrize(
    ("most", "stop", "fills"), [(2, MatchEnd.LIMIT, 2), (3, MatchEnd.FILLED, 3)]
)
def test_a_taker_ends_where_its_handler_allows_no_more(
    market: RecordingBook, most: int, stop: MatchEnd, fills: int
) -> None:
    """The caller must cancel the remainder, which would cross the book if it rested."""
    market.most = most
    market.rest((BOB, SELL, 101, 1), (BOB, SELL, 101, 1), (BOB, SELL, 102, 5))
    order = taker(ALICE, BUY, 102, 4)
    assert (most == 3) is fillable(market.book, order, 102, REJECT_TAKER, no_reducing, most)
    assert stop is market.take(order)
    assert (fills, 4 - order.filled) == (len(market.fills), 0 if most == 3 else 2)


@pytest.mark.parametrize(("most", "stop"), [(2, MatchEnd.LIMIT), (3, MatchEnd.FILLED)])
def test_cancelled_own_orders_count_towards_the_limit(
    market: RecordingBook, most: int, stop: MatchEnd
) -> None:
    """Two own orders of Alice rest before Bob's."""
    market.most = most
    market.rest((ALICE, SELL, 101, 1), (ALICE, SELL, 101, 1), (BOB, SELL, 101, 5))
    order = taker(ALICE, BUY, 101, 4)
    whole = fillable(market.book, order, 101, CANCEL_MAKER, no_reducing, most)
    assert whole is (stop is MatchEnd.FILLED)
    assert stop is market.take(order, CANCEL_MAKER)
    assert [1, 2] == market.cancelled


def test_a_post_only_order_that_does_not_cross_keeps_its_price(market: RecordingBook) -> None:
    """At any price against an empty side, and inside the spread."""
    assert 100 * SCALE == post_only_price(market.book, BTC_PERPETUAL, BUY, 100 * SCALE)
    market.rest((BOB, BUY, 100 * SCALE, 1), (BOB, SELL, 101 * SCALE, 1))
    inside = 100 * SCALE + SCALE // 2
    assert inside == post_only_price(market.book, BTC_PERPETUAL, BUY, inside)
    assert inside == post_only_price(market.book, BTC_PERPETUAL, SELL, inside)


def test_a_post_only_order_slides_to_one_tick_off_the_opposite_price(market: RecordingBook) -> None:
    """Bid 100, ask 101, tick 0.5: a buy at 101 or above and a sell at 100 or below go to 100.5."""
    market.rest((BOB, BUY, 100 * SCALE, 1), (BOB, SELL, 101 * SCALE, 1))
    off = 100 * SCALE + SCALE // 2
    for price in (101, 105):
        assert off == post_only_price(market.book, BTC_PERPETUAL, BUY, price * SCALE)
    for price in (100, 95):
        assert off == post_only_price(market.book, BTC_PERPETUAL, SELL, price * SCALE)


def test_a_slide_with_a_tick_of_one_unit(market: RecordingBook) -> None:
    """The price moves by one unit."""
    fine = perpetual(replace(BTC, tick=1), number=3, created=0)
    market.rest((BOB, SELL, 1_000, 10), (BOB, BUY, 900, 10))
    assert 999 == post_only_price(market.book, fine, BUY, 1_000)
    assert 901 == post_only_price(market.book, fine, SELL, 900)


def test_a_slide_across_a_tick_step_uses_the_tick_of_the_new_price(market: RecordingBook) -> None:
    """Ticks are 0.01 up to 10 and 0.05 above: around 10 the neighbours are 9.99 and 10.05."""
    market.rest((BOB, SELL, 10 * SCALE, 1))
    assert 999 * SCALE // 100 == post_only_price(market.book, SOL_PERPETUAL, BUY, 11 * SCALE)
    market.book.remove(market.book.orders[1])
    market.rest((BOB, BUY, 10 * SCALE, 1))
    assert 1005 * SCALE // 100 == post_only_price(market.book, SOL_PERPETUAL, SELL, 9 * SCALE)


def test_a_slide_below_the_first_tick_returns_no_valid_price(market: RecordingBook) -> None:
    """With an ask at one tick no bid can rest: the result is zero or less."""
    market.rest((BOB, SELL, SCALE // 2, 1))
    assert post_only_price(market.book, BTC_PERPETUAL, BUY, SCALE) <= 0
