"""The exchange and a naive book get the same orders and must agree on all results."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from book.depth import depth
from book.order import Order, OrderType, SelfTrading, Side, TimeInForce
from book.units import SCALE
from risk.commands import Cancel, ClosePosition, Edit, Place, SetSelfTrading
from risk.events import Event, Ordered, Traded
from risk.reasons import Reason
from tests.hypothesis_settings import thorough
from tests.oracle import NaiveBook, NaiveOrder
from tests.risk.venue import BTC, amount, of_type, open_venue, price, reason

TICK = SCALE // 2
RICH = {"BTC": "1000"}
ACCOUNTS = st.sampled_from([101, 102, 103])
SIDES = st.sampled_from(list(Side))
PRICES = st.integers(-3, 3).map(lambda ticks: price("50000") + ticks * TICK)
AMOUNTS = st.integers(1, 12).map(lambda contracts: amount(10 * contracts))


class ExchangeAgainstOracle(RuleBasedStateMachine):
    """All accounts are rich and prices stay near the mark, so margin has no effect."""

    def __init__(self) -> None:
        super().__init__()
        self.venue = open_venue(ann=RICH, ben=RICH, cat=RICH)
        self.market = self.venue.market(BTC)
        self.oracle = NaiveBook(TICK, Counter(), step=amount(10))
        self.modes = dict.fromkeys((101, 102, 103), SelfTrading.REJECT_TAKER)

    @initialize(most=st.sampled_from([1_000, 1, 2, 4]))
    def limit_fills(self, most: int) -> None:
        """Limit the fills of one order to a few, or to more than ever occur."""
        self.venue.set_parameters(fills=most)
        self.oracle.most = most

    @rule(
        account=ACCOUNTS,
        side=SIDES,
        limit=PRICES,
        size=AMOUNTS,
        time_in_force=st.sampled_from([*TimeInForce, TimeInForce.GOOD_TIL_CANCELLED]),
        reduce_only=st.booleans(),
    )
    def limit(
        self,
        account: int,
        side: Side,
        limit: int,
        size: int,
        time_in_force: TimeInForce,
        reduce_only: bool,
    ) -> None:
        command = Place(
            account=account,
            instrument=BTC,
            side=side,
            amount=size,
            price=limit,
            time_in_force=time_in_force,
            reduce_only=reduce_only,
        )
        self.compare(command, NaiveOrder(0, account, side, limit, size, reduce_only))

    @rule(account=ACCOUNTS, side=SIDES, size=AMOUNTS, fill_or_kill=st.booleans())
    def market_order(self, account: int, side: Side, size: int, fill_or_kill: bool) -> None:
        terms = TimeInForce.FILL_OR_KILL if fill_or_kill else TimeInForce.IMMEDIATE_OR_CANCEL
        command = Place(
            account=account,
            instrument=BTC,
            side=side,
            amount=size,
            type=OrderType.MARKET,
            time_in_force=terms,
        )
        bound = self.market.high if side is Side.BUY else self.market.low
        naive = NaiveOrder(0, account, side, bound, size)
        if self.oracle.crosses(naive):
            self.compare(command, naive)
        else:
            assert Reason.NO_LIQUIDITY is reason(self.venue.do(command))

    @rule(account=ACCOUNTS, side=SIDES, size=AMOUNTS)
    def market_limit(self, account: int, side: Side, size: int) -> None:
        command = Place(
            account=account,
            instrument=BTC,
            side=side,
            amount=size,
            type=OrderType.MARKET_LIMIT,
        )
        opposite = self.oracle.ranked(side.opposite)
        if opposite:
            self.compare(command, NaiveOrder(0, account, side, opposite[0].price, size))
        else:
            assert Reason.NO_LIQUIDITY is reason(self.venue.do(command))

    @rule(account=ACCOUNTS, side=SIDES, limit=PRICES, size=AMOUNTS, strict=st.booleans())
    def post_only(self, account: int, side: Side, limit: int, size: int, strict: bool) -> None:
        command = Place(
            account=account,
            instrument=BTC,
            side=side,
            amount=size,
            price=limit,
            post_only=True,
            reject_post_only=strict,
        )
        naive = NaiveOrder(0, account, side, limit, size)
        if strict and self.oracle.crosses(naive):
            assert Reason.POST_ONLY_REJECT is reason(self.venue.do(command))
        else:
            self.oracle.slide(naive)
            self.compare(command, naive)

    @rule(account=ACCOUNTS)
    def close_position(self, account: int) -> None:
        held = self.oracle.positions[account]
        command = ClosePosition(account=account, instrument=BTC)
        side = Side.SELL if held > 0 else Side.BUY
        bound = self.market.high if side is Side.BUY else self.market.low
        naive = NaiveOrder(0, account, side, bound, abs(held), reduce_only=True)
        if not held:
            assert Reason.NO_POSITION is reason(self.venue.do(command))
        elif not self.oracle.crosses(naive):
            assert Reason.NO_LIQUIDITY is reason(self.venue.do(command))
        else:
            self.compare(command, naive, TimeInForce.IMMEDIATE_OR_CANCEL)

    @rule(choice=st.integers(0, 20), limit=PRICES | st.none(), size=AMOUNTS | st.none())
    def edit(self, choice: int, limit: int | None, size: int | None) -> None:
        order = self.pick(choice)
        if order is None:
            return
        command = Edit(account=order.account, order_id=order.order_id, price=limit, amount=size)
        naive = next(each for each in self.oracle.orders if each.order_id == order.order_id)
        left = (size if size is not None else order.amount) - order.filled
        if order.filled and left <= 0:
            self.venue.do(command)
            self.oracle.orders.remove(naive)
        elif limit in (None, naive.price) and left <= naive.left:
            self.venue.do(command)
            naive.left = left
        else:
            self.oracle.orders.remove(naive)
            new_price = limit if limit is not None else naive.price
            again = NaiveOrder(
                naive.order_id, naive.account, naive.side, new_price, left, naive.reduce_only
            )
            if order.post_only and order.reject_post_only and self.oracle.crosses(again):
                assert Reason.POST_ONLY_REJECT is reason(self.venue.do(command))
                return
            if order.post_only:
                self.oracle.slide(again)
            self.compare(command, again, order.time_in_force)

    @rule(choice=st.integers(0, 20))
    def cancel(self, choice: int) -> None:
        order = self.pick(choice)
        if order is not None:
            self.venue.do(Cancel(account=order.account, order_id=order.order_id))
            self.oracle.orders = [
                each for each in self.oracle.orders if each.order_id != order.order_id
            ]

    @rule(account=ACCOUNTS, mode=st.sampled_from(list(SelfTrading)))
    def choose(self, account: int, mode: SelfTrading) -> None:
        self.venue.do(SetSelfTrading(account=account, mode=mode))
        self.modes[account] = mode

    def compare(
        self,
        command: Place | ClosePosition | Edit,
        naive: NaiveOrder,
        time_in_force: TimeInForce | None = None,
    ) -> None:
        """Give both the same order; expect the same trades or the same reason for none."""
        if time_in_force is None:
            assert isinstance(command, Place)
            time_in_force = command.time_in_force
        if naive.reduce_only:
            book = self.oracle
            room = book.room if time_in_force.rests else book.exposed
            naive.left = min(naive.left, room(naive.account, naive.side))
        events = self.venue.do(command)
        if naive.left <= 0:
            assert Reason.NOTHING_TO_REDUCE is reason(events)
            return
        remaining = naive.left
        fills = self.oracle.place(naive, time_in_force, self.modes[naive.account])
        assert [(fill.maker, fill.price, fill.amount) for fill in fills] == [
            (trade.maker.order_id, trade.price, trade.amount) for trade in of_type(events, Traded)
        ]
        self.answered(events, naive, remaining)
        assert len(fills) <= self.oracle.most

    def answered(self, events: list[Event], naive: NaiveOrder, remaining: int) -> None:
        """Check the answer's trades; a stopped self-trade alone has no order."""
        if reason(events) is not None:
            assert Reason.ORDER_OVERLAP is reason(events)
            assert remaining == naive.left
            assert naive not in self.oracle.orders
            return
        [answer] = of_type(events, Ordered)
        assert naive.left == answer.order.amount - answer.order.filled
        naive.order_id = answer.order.order_id

    def pick(self, choice: int) -> Order | None:
        orders = list(self.market.book.orders.values())
        return orders[choice % len(orders)] if orders else None

    @invariant()
    def books_and_positions_agree(self) -> None:
        """Compare depth, every queue and every position."""
        for side in Side:
            assert self.oracle.depth(side) == depth(self.market.book, side, 100)
            assert [(each.order_id, each.left) for each in self.oracle.ranked(side)] == [
                (order.order_id, order.remaining)
                for level in self.market.book.side(side)
                for order in level
            ]
        for account in self.modes:
            assert self.oracle.positions[account] == self.venue.size(account, BTC)


ExchangeAgainstOracle.TestCase.settings = thorough(50, stateful_step_count=40)
test_exchange_and_oracle_agree = ExchangeAgainstOracle.TestCase
