"""The order book and a naive one execute the same random commands and must always agree."""

from collections import Counter
from copy import deepcopy

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from book.depth import depth
from book.matching import Holding, MatchEnd, fillable, match, post_only_price
from book.order import Order, SelfTrading, Side, TimeInForce
from book.orderbook import OrderBook
from tests.book.factory import BTC_PERPETUAL, limit_order
from tests.oracle import Fill, NaiveBook, NaiveOrder

TICK = BTC_PERPETUAL.contract.tick

# Few accounts and prices, so that orders often match, queue, and belong to the same account.
ACCOUNTS = st.sampled_from([1, 2, 3])
MIDDLE = 3 * TICK
PRICES = st.integers(1, 5).map(lambda ticks: ticks * TICK)
AMOUNTS = st.integers(1, 12)
RESTING = st.lists(st.tuples(ACCOUNTS, PRICES, AMOUNTS, st.booleans()), min_size=8, max_size=24)
POSITIONS = st.fixed_dictionaries({account: st.integers(-30, 30) for account in (1, 2, 3)})


@define
class Clearing:
    """A book with a minimal clearing house: positions and reduce-only orders."""

    positions: Counter[int]
    book: OrderBook = field(factory=lambda: OrderBook(BTC_PERPETUAL.name))
    fills: list[Fill] = field(factory=list)
    reduce_only: dict[int, dict[int, Order]] = field(factory=dict)
    most: int = 1_000
    taker: Order | None = None
    steps: int = 0

    def allowed_amount(self, maker: Order, amount: int) -> int:
        """Return the largest amount that cuts at most `most` orders of either account."""
        if self.steps >= self.most:
            return 0
        assert self.taker is not None
        wanted = amount
        for order in (self.taker, maker):
            while self.cut(order, amount) > self.most:
                amount -= 1
        if amount < wanted:
            self.steps = self.most
        return amount

    def cut(self, order: Order, amount: int) -> int:
        """Return how many reduce-only orders of its account a fill of this order would cut."""
        orders = self.reduce_only.get(order.account, {})
        if not orders or order.order_id in orders:
            return 0
        size = self.positions[order.account] + order.side.sign * amount
        return len(self.excess(order.account, size))

    def excess(self, account: int, size: int) -> list[tuple[Order, int]]:
        """Return (order, amount) of the cuts that a position makes necessary, newest first."""
        orders = list(self.reduce_only.get(account, {}).values())
        if not orders:
            return []
        room, cut = max(-orders[0].side.sign * size, 0), []
        for order in orders:
            kept = min(room, order.remaining)
            room -= kept
            if kept < order.remaining:
                cut.append((order, order.remaining - kept))
        return cut[::-1]

    def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
        self.fills.append(Fill(maker.order_id, taker.order_id, maker.price, amount))
        self.steps += 1
        if not maker.remaining:
            self.forget(maker)
        for order in (maker, taker):
            self.positions[order.account] += order.side.sign * amount
            self.trim(order.account)

    def on_self_trade(self, maker: Order) -> bool:
        if self.steps >= self.most:
            return False
        self.steps += 1
        self.cancel(maker)
        return True

    def trim(self, account: int) -> None:
        """Shrink reduce-only orders, newest first, to what the position leaves to reduce."""
        for order, amount in self.excess(account, self.positions[account]):
            self.steps += 1
            if amount == order.remaining:
                self.cancel(order)
            else:
                self.book.shrink(order, amount)

    def holding(self, account: int) -> Holding:
        orders = list(self.reduce_only.get(account, {}).values())
        reduced = sum(order.remaining for order in orders)
        return Holding(self.positions[account], reduced, orders[::-1])

    def place(self, order: Order, self_trading: SelfTrading) -> None:
        whole = fillable(self.book, order, order.price, self_trading, self.holding, self.most)
        if order.time_in_force is TimeInForce.FILL_OR_KILL and not whole:
            return
        self.taker, self.steps = order, 0
        stop = match(self.book, order, order.price, self_trading, self)
        assert whole == (stop is MatchEnd.FILLED)
        assert (not order.remaining) == (stop is MatchEnd.FILLED)
        if stop is MatchEnd.NO_PRICE and order.time_in_force.rests:
            self.book.add(order)
            if order.reduce_only:
                self.reduce_only.setdefault(order.account, {})[order.order_id] = order

    def cancel(self, order: Order) -> None:
        self.book.remove(order)
        self.forget(order)

    def forget(self, order: Order) -> None:
        if order.reduce_only:
            del self.reduce_only[order.account][order.order_id]


class BookAgainstOracle(RuleBasedStateMachine):
    """Drives both books; `shown` is the depth that a subscriber to level changes would have."""

    def __init__(self) -> None:
        super().__init__()
        self.clearing = Clearing(Counter())
        self.book = self.clearing.book
        self.oracle = NaiveBook(TICK, Counter())
        self.last_id = 0
        self.shown: dict[tuple[Side, int], int] = {}

    @initialize(positions=POSITIONS, resting=RESTING, most=st.sampled_from([1_000, 1, 2, 4]))
    def start_with_resting_orders(
        self, positions: dict[int, int], resting: list[tuple[int, int, int, bool]], most: int
    ) -> None:
        """Start with positions and resting orders, so that takers match at once."""
        self.clearing.most = self.oracle.most = most
        self.clearing.positions.update(positions)
        self.oracle.positions.update(positions)
        for account, price, amount, reduce_only in resting:
            if reduce_only:
                self.place_reduce_only(account, price, amount, TimeInForce.GOOD_TIL_CANCELLED)
            else:
                side = Side.BUY if price < MIDDLE else Side.SELL
                self.place_post_only(account, side, price, amount)

    @rule(
        account=ACCOUNTS,
        side=st.sampled_from(Side),
        price=PRICES,
        amount=AMOUNTS,
        time_in_force=st.sampled_from(TimeInForce),
        self_trading=st.sampled_from(SelfTrading),
    )
    def place(
        self,
        account: int,
        side: Side,
        price: int,
        amount: int,
        time_in_force: TimeInForce,
        self_trading: SelfTrading,
    ) -> None:
        naive = NaiveOrder(self.new_id(), account, side, price, amount)
        self.place_in_both(naive, time_in_force, self_trading)

    @rule(
        account=ACCOUNTS,
        side=st.sampled_from(Side),
        price=PRICES,
        beyond=st.integers(-2, 1),
        time_in_force=st.sampled_from(TimeInForce),
        self_trading=st.sampled_from(SelfTrading),
    )
    def place_for_all_liquidity(
        self,
        account: int,
        side: Side,
        price: int,
        beyond: int,
        time_in_force: TimeInForce,
        self_trading: SelfTrading,
    ) -> None:
        """Place a taker for all the liquidity in reach, slightly less, or one unit more."""
        greedy = NaiveOrder(0, account, side, price, 10**6)
        fills, _ = deepcopy(self.oracle).trade(greedy, self_trading)
        amount = sum(fill.amount for fill in fills) + beyond
        if amount > 0:
            self.place(account, side, price, amount, time_in_force, self_trading)

    @rule(
        account=ACCOUNTS,
        price=PRICES,
        amount=AMOUNTS,
        time_in_force=st.sampled_from(TimeInForce),
    )
    def place_reduce_only(
        self, account: int, price: int, amount: int, time_in_force: TimeInForce
    ) -> None:
        side = Side.SELL if self.oracle.positions[account] > 0 else Side.BUY
        amount = min(amount, self.oracle.room(account, side))
        if amount > 0:
            naive = NaiveOrder(self.new_id(), account, side, price, amount, reduce_only=True)
            self.place_in_both(naive, time_in_force, SelfTrading.CANCEL_MAKER)

    @rule(account=ACCOUNTS, side=st.sampled_from(Side), price=PRICES, amount=AMOUNTS)
    def place_post_only(self, account: int, side: Side, price: int, amount: int) -> None:
        naive = NaiveOrder(self.new_id(), account, side, price, amount)
        self.oracle.slide(naive)
        assert naive.price == post_only_price(self.book, BTC_PERPETUAL, side, price)
        if naive.price > 0:
            before = len(self.clearing.fills)
            self.place_in_both(naive, TimeInForce.GOOD_TIL_CANCELLED, SelfTrading.REJECT_TAKER)
            assert before == len(self.clearing.fills)
            assert naive.order_id in self.book.orders

    @precondition(lambda self: self.book.orders)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(list(self.book.orders.values())))
        self.clearing.cancel(order)
        self.oracle.orders = [o for o in self.oracle.orders if o.order_id != order.order_id]

    @precondition(lambda self: any(order.left > 1 for order in self.oracle.orders))
    @rule(data=st.data())
    def shrink(self, data: st.DataObject) -> None:
        naive = data.draw(st.sampled_from([o for o in self.oracle.orders if o.left > 1]))
        amount = data.draw(st.integers(1, naive.left - 1))
        self.book.shrink(self.book.orders[naive.order_id], amount)
        naive.left -= amount

    @rule()
    def publish(self) -> None:
        """The changes lead from the depth last shown to the present one."""
        for change in self.book.take_changes():
            level = change.side, change.price
            assert change.before == self.shown.pop(level, 0)
            assert change.before != change.after
            if change.after:
                self.shown[level] = change.after
        present = {
            (side, price): total for side in Side for price, total in self.oracle.depth(side)
        }
        assert present == self.shown
        assert () == self.book.take_changes()

    @invariant()
    def books_agree(self) -> None:
        self.book.check()
        for side in Side:
            levels = self.oracle.depth(side)
            assert levels == depth(self.book, side, len(levels) + 1)
            assert levels[:2] == depth(self.book, side, 2)
            queue = [(order.order_id, order.left) for order in self.oracle.ranked(side)]
            assert queue == [
                (order.order_id, order.remaining)
                for level in self.book.side(side)
                for order in level
            ]
            best = self.book.best(side)
            assert queue[:1] == ([(best.order_id, best.remaining)] if best else [])
            assert (levels[0][0] if levels else None) == self.book.best_price(side)
        assert self.oracle.positions == self.clearing.positions

    def new_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def place_in_both(
        self, naive: NaiveOrder, time_in_force: TimeInForce, self_trading: SelfTrading
    ) -> None:
        order = limit_order(
            naive.order_id,
            naive.account,
            naive.side,
            naive.price,
            naive.left,
            time_in_force=time_in_force,
            reduce_only=naive.reduce_only,
        )
        assert self.oracle.crosses(naive) == self.book.crosses(naive.side, naive.price)
        already = len(self.clearing.fills)
        self.clearing.place(order, self_trading)
        fills = self.oracle.place(naive, time_in_force, self_trading)
        assert fills == self.clearing.fills[already:]
        assert naive.left == order.remaining

    def teardown(self) -> None:
        self.publish()


BookAgainstOracle.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, derandomize=True
)
test_book_and_oracle_agree = BookAgainstOracle.TestCase
