"""Matching, one situation at a time, with numbers that can be checked in the head."""

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
class Desk:
    """A book whose settler writes down what it is told and removes what must be cancelled."""

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
        """Rest (account, side, price, amount) orders, numbered from 1."""
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
def desk() -> Desk:
    return Desk()


def taker(account: int, side: Side, price: int, amount: int) -> Order:
    return limit_order(99, account, side, price, amount)


def no_reducing(account: int) -> Holding:
    return Holding(0, 0, [])


def long_10(orders: list[Order]) -> Callable[[int], Holding]:
    """Bob is long 10, with reduce-only orders, oldest first; others hold nothing."""
    for order in orders:
        order.reduce_only = True
    reduced = sum(order.remaining for order in orders)
    bobs = Holding(10, reduced, orders[::-1])
    return lambda account: bobs if account == BOB else Holding(0, 0, [])


def test_a_taker_trades_at_the_makers_prices_best_first(desk: Desk) -> None:
    """Buying 12 up to 102: 5 at 101 from the oldest, 4 at 101, then 3 of the 10 at 102."""
    desk.rest((BOB, SELL, 102, 10), (BOB, SELL, 101, 5), (CAROL, SELL, 101, 4))
    order = taker(ALICE, BUY, 102, 12)
    assert MatchEnd.FILLED is desk.take(order)
    assert [(2, 101, 5), (3, 101, 4), (1, 102, 3)] == desk.fills
    assert (12, 0) == (order.filled, order.remaining)
    assert [(102, 7)] == depth(desk.book, SELL, 5)


def test_a_seller_takes_the_highest_bid_first(desk: Desk) -> None:
    """Selling 6 down to 98: 4 at 99, then 2 at 98."""
    desk.rest((BOB, BUY, 98, 5), (BOB, BUY, 99, 4))
    assert MatchEnd.FILLED is desk.take(taker(ALICE, SELL, 98, 6))
    assert [(2, 99, 4), (1, 98, 2)] == desk.fills


def test_nothing_beyond_the_limit_trades(desk: Desk) -> None:
    """The limit itself still does; what is left is the caller's to rest or to cancel."""
    desk.rest((BOB, SELL, 101, 5), (BOB, SELL, 102, 5))
    order = taker(ALICE, BUY, 101, 8)
    assert MatchEnd.NO_PRICE is desk.take(order)
    assert [(1, 101, 5)] == desk.fills
    assert 3 == order.remaining
    assert not desk.book.crosses(BUY, 101)


def test_an_empty_side_stops_at_once(desk: Desk) -> None:
    """Without makers nothing trades, at any price."""
    desk.rest((BOB, BUY, 99, 5))
    assert MatchEnd.NO_PRICE is desk.take(taker(ALICE, BUY, 10**15, 1))
    assert [] == desk.fills


def test_a_partly_filled_taker_trades_only_what_remains(desk: Desk) -> None:
    """An edited order that crosses brings its earlier fills along."""
    desk.rest((BOB, SELL, 101, 10))
    order = taker(ALICE, BUY, 101, 10)
    order.filled = 6
    assert MatchEnd.FILLED is desk.take(order)
    assert [(1, 101, 4)] == desk.fills


def test_reject_taker_stops_before_its_own_order(desk: Desk) -> None:
    """What traded before it stands; its own order stays."""
    desk.rest((BOB, SELL, 101, 5), (ALICE, SELL, 101, 5), (BOB, SELL, 101, 5))
    order = taker(ALICE, BUY, 101, 12)
    assert MatchEnd.SELF_TRADE is desk.take(order)
    assert [(1, 101, 5)] == desk.fills
    assert 7 == order.remaining
    assert [(101, 10)] == depth(desk.book, SELL, 5)


def test_a_taker_that_is_filled_in_time_never_meets_its_own_order(desk: Desk) -> None:
    """Self-trade prevention looks at what would trade, not at what rests."""
    desk.rest((BOB, SELL, 101, 5), (ALICE, SELL, 101, 5))
    assert MatchEnd.FILLED is desk.take(taker(ALICE, BUY, 101, 5))


def test_cancel_maker_clears_the_way(desk: Desk) -> None:
    """Its own orders go as they are met, the taker goes on; those beyond its reach stay."""
    desk.rest((ALICE, SELL, 101, 5), (BOB, SELL, 101, 5), (ALICE, SELL, 102, 5))
    assert MatchEnd.FILLED is desk.take(taker(ALICE, BUY, 102, 5), CANCEL_MAKER)
    assert [1] == desk.cancelled
    assert [(2, 101, 5)] == desk.fills
    assert [(102, 5)] == depth(desk.book, SELL, 5)


def test_both_orders_show_a_fill_before_the_settler_hears_of_it() -> None:
    """So the settler can look at the book as it stands, a finished maker already out of it."""
    seen = []

    class Witness(Desk):
        def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
            resting = maker.order_id in self.book.orders
            seen.append((maker.remaining, taker.remaining, resting))

    desk = Witness()
    desk.rest((BOB, SELL, 101, 5), (BOB, SELL, 101, 5))
    desk.take(taker(ALICE, BUY, 101, 7))
    assert [(0, 2, False), (3, 0, True)] == seen


def test_a_maker_that_the_settler_takes_away_does_not_trade() -> None:
    """The next maker is chosen after the settler has had its say."""

    class Remover(Desk):
        def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
            super().on_fill(maker, taker, amount)
            if 2 in self.book.orders:
                self.book.remove(self.book.orders[2])

    desk = Remover()
    desk.rest((BOB, SELL, 101, 5), (BOB, SELL, 101, 5), (BOB, SELL, 102, 5))
    assert MatchEnd.FILLED is desk.take(taker(ALICE, BUY, 102, 10))
    assert [(1, 101, 5), (3, 102, 5)] == desk.fills


@pytest.mark.parametrize(
    ("amount", "limit", "whole"), [(9, 101, True), (10, 101, False), (10, 102, True)]
)
def test_fill_or_kill_counts_what_its_limit_reaches(
    desk: Desk, amount: int, limit: int, whole: bool
) -> None:
    """9 rest at 101 and more at 102; asking changes nothing."""
    desk.rest((BOB, SELL, 101, 5), (CAROL, SELL, 101, 4), (BOB, SELL, 102, 5))
    order = taker(ALICE, BUY, limit, amount)
    assert whole is fillable(desk.book, order, limit, REJECT_TAKER, no_reducing, 99)
    assert 0 == order.filled
    assert [(101, 9), (102, 5)] == depth(desk.book, SELL, 5)


@pytest.mark.parametrize(
    ("amount", "mode", "whole"),
    [
        (5, REJECT_TAKER, True),
        (6, REJECT_TAKER, False),
        (8, CANCEL_MAKER, True),
        (9, CANCEL_MAKER, False),
    ],
)
def test_fill_or_kill_knows_its_own_orders(
    desk: Desk, amount: int, mode: SelfTrading, whole: bool
) -> None:
    """Bob's 5, Alice's own 5, Carol's 3: her own never count, and may be in the way."""
    desk.rest((BOB, SELL, 101, 5), (ALICE, SELL, 101, 5), (CAROL, SELL, 101, 3))
    order = taker(ALICE, BUY, 101, amount)
    assert whole is fillable(desk.book, order, 101, mode, no_reducing, 99)


@pytest.mark.parametrize(("amount", "whole"), [(10, True), (11, False)])
def test_fill_or_kill_foresees_reduce_only_orders_shrinking(
    desk: Desk, amount: int, whole: bool
) -> None:
    """Bob is long 10 and rests a plain sell of 7 before reduce-only sells of 6 and 4.

    Selling the 7 leaves room for 3, so the newest goes and 3 of the 6 stay: 10 in all, not 17.
    """
    orders = desk.rest((BOB, SELL, 101, 7), (BOB, SELL, 102, 6), (BOB, SELL, 103, 4))
    order = taker(ALICE, BUY, 103, amount)
    assert whole is fillable(desk.book, order, 103, REJECT_TAKER, long_10(orders[1:]), 99)


@pytest.mark.parametrize(("amount", "whole"), [(15, True), (16, False), (20, False)])
def test_fill_or_kill_foresees_a_position_that_turns(desk: Desk, amount: int, whole: bool) -> None:
    """Bob is long 10 and sells 15: nothing is left to reduce, though he is short of 5 then."""
    orders = desk.rest((BOB, SELL, 101, 15), (BOB, SELL, 102, 10))
    order = taker(ALICE, BUY, 102, amount)
    assert whole is fillable(desk.book, order, 102, REJECT_TAKER, long_10(orders[1:]), 99)


@pytest.mark.parametrize(("amount", "whole"), [(10, True), (11, False), (13, False)])
def test_fill_or_kill_foresees_an_order_that_is_cut_twice(
    desk: Desk, amount: int, whole: bool
) -> None:
    """Bob is long 10: each plain sell of 3 takes 3 of his reduce-only sell of 10, and 4 stay."""
    orders = desk.rest((BOB, SELL, 101, 3), (BOB, SELL, 102, 3), (BOB, SELL, 103, 10))
    order = taker(ALICE, BUY, 103, amount)
    assert whole is fillable(desk.book, order, 103, REJECT_TAKER, long_10(orders[2:]), 99)


@pytest.mark.parametrize(("most", "whole"), [(2, False), (3, False), (4, True)])
def test_fill_or_kill_foresees_a_fill_that_would_cut_too_many_orders(
    desk: Desk, most: int, whole: bool
) -> None:
    """Selling all that Bob has cuts four reduce-only orders, and a fill may cut only so many."""
    sells = [(BOB, SELL, 102 + number, 2) for number in range(4)]
    orders = desk.rest((BOB, SELL, 101, 10), *sells)
    order = taker(ALICE, BUY, 101, 10)
    assert whole is fillable(desk.book, order, 101, REJECT_TAKER, long_10(orders[1:]), most)


@pytest.mark.parametrize(("amount", "whole"), [(10, True), (11, False)])
def test_fill_or_kill_counts_reduce_only_orders_that_have_room(
    desk: Desk, amount: int, whole: bool
) -> None:
    """Bob is long 10 and rests reduce-only sells of 6 and 4: filling one leaves the other."""
    orders = desk.rest((BOB, SELL, 101, 6), (BOB, SELL, 102, 4))
    order = taker(ALICE, BUY, 102, amount)
    assert whole is fillable(desk.book, order, 102, REJECT_TAKER, long_10(orders), 99)


def test_fill_or_kill_asks_once_for_each_account_it_meets(desk: Desk) -> None:
    """Gathering an account's reduce-only orders costs; accounts behind the last fill cost none."""
    desk.rest((BOB, SELL, 101, 1), (BOB, SELL, 102, 1), (CAROL, SELL, 103, 1))
    asked = []

    def holding(account: int) -> Holding:
        asked.append(account)
        return Holding(0, 0, [])

    assert fillable(desk.book, taker(ALICE, BUY, 103, 2), 103, REJECT_TAKER, holding, 99)
    assert [ALICE, BOB] == asked


@pytest.mark.parametrize(
    ("most", "stop", "fills"), [(2, MatchEnd.LIMIT, 2), (3, MatchEnd.FILLED, 3)]
)
def test_a_taker_stops_where_its_settler_gives_no_more_room(
    desk: Desk, most: int, stop: MatchEnd, fills: int
) -> None:
    """What is left of it is the caller's to cancel: it would cross the book if it rested."""
    desk.most = most
    desk.rest((BOB, SELL, 101, 1), (BOB, SELL, 101, 1), (BOB, SELL, 102, 5))
    order = taker(ALICE, BUY, 102, 4)
    assert (most == 3) is fillable(desk.book, order, 102, REJECT_TAKER, no_reducing, most)
    assert stop is desk.take(order)
    assert (fills, 4 - order.filled) == (len(desk.fills), 0 if most == 3 else 2)


@pytest.mark.parametrize(("most", "stop"), [(2, MatchEnd.LIMIT), (3, MatchEnd.FILLED)])
def test_own_orders_that_are_cancelled_count_towards_the_limit(
    desk: Desk, most: int, stop: MatchEnd
) -> None:
    """Two of her own, then Bob's."""
    desk.most = most
    desk.rest((ALICE, SELL, 101, 1), (ALICE, SELL, 101, 1), (BOB, SELL, 101, 5))
    order = taker(ALICE, BUY, 101, 4)
    whole = fillable(desk.book, order, 101, CANCEL_MAKER, no_reducing, most)
    assert whole is (stop is MatchEnd.FILLED)
    assert stop is desk.take(order, CANCEL_MAKER)
    assert [1, 2] == desk.cancelled


def test_a_post_only_order_that_does_not_cross_stays_where_it_is(desk: Desk) -> None:
    """Any price rests against an empty side, and inside the spread too."""
    assert 100 * SCALE == post_only_price(desk.book, BTC_PERPETUAL, BUY, 100 * SCALE)
    desk.rest((BOB, BUY, 100 * SCALE, 1), (BOB, SELL, 101 * SCALE, 1))
    inside = 100 * SCALE + SCALE // 2
    assert inside == post_only_price(desk.book, BTC_PERPETUAL, BUY, inside)
    assert inside == post_only_price(desk.book, BTC_PERPETUAL, SELL, inside)


def test_a_post_only_order_slides_one_tick_off_the_other_side(desk: Desk) -> None:
    """Bid 100, ask 101, tick 0.5: a buy at or above 101 goes to 100.5, so does a sell below."""
    desk.rest((BOB, BUY, 100 * SCALE, 1), (BOB, SELL, 101 * SCALE, 1))
    off = 100 * SCALE + SCALE // 2
    for price in (101, 105):
        assert off == post_only_price(desk.book, BTC_PERPETUAL, BUY, price * SCALE)
    for price in (100, 95):
        assert off == post_only_price(desk.book, BTC_PERPETUAL, SELL, price * SCALE)


def test_a_slide_where_every_price_is_a_tick(desk: Desk) -> None:
    """The next price is one unit away."""
    fine = perpetual(replace(BTC, tick=1), number=3, created=0)
    desk.rest((BOB, SELL, 1_000, 10), (BOB, BUY, 900, 10))
    assert 999 == post_only_price(desk.book, fine, BUY, 1_000)
    assert 901 == post_only_price(desk.book, fine, SELL, 900)


def test_a_slide_over_a_tick_step_uses_the_tick_that_holds_there(desk: Desk) -> None:
    """Ticks are 0.01 up to 10 and 0.05 above: around 10 the neighbours are 9.99 and 10.05."""
    desk.rest((BOB, SELL, 10 * SCALE, 1))
    assert 999 * SCALE // 100 == post_only_price(desk.book, SOL_PERPETUAL, BUY, 11 * SCALE)
    desk.book.remove(desk.book.orders[1])
    desk.rest((BOB, BUY, 10 * SCALE, 1))
    assert 1005 * SCALE // 100 == post_only_price(desk.book, SOL_PERPETUAL, SELL, 9 * SCALE)


def test_a_slide_below_the_first_tick_finds_no_price(desk: Desk) -> None:
    """With an ask at one tick no bid can rest; the caller sees it by the sign."""
    desk.rest((BOB, SELL, SCALE // 2, 1))
    assert post_only_price(desk.book, BTC_PERPETUAL, BUY, SCALE) <= 0
