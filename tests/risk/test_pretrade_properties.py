"""No accepted order brings its account below maintenance margin at a constant mark."""

from __future__ import annotations

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from book.order import Order, OrderState, OrderType, SelfTrading, Side, TimeInForce
from risk import margin, margin_cache
from risk.commands import CancelAll, Continue, Edit, Place, SetSelfTrading, Withdraw
from risk.execution import Execution
from risk.market import Market
from risk.reasons import Reason
from tests.hypothesis_settings import thorough
from tests.risk.random_commands import CATALOGUE, CURRENCIES
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    PRICES,
    SOL_USDC,
    WEEKLY,
    Venue,
    amount,
    money,
    open_venue,
    order,
    reason,
)

PAIRS = [(WEEKLY, WEEKLY), (BTC, WEEKLY), (BTC_USDC, SOL_USDC)]
RICH = {"BTC": "1000000", "USDC": "10000000000"}
SIDES = st.sampled_from(list(Side))
WHICH = st.integers(0, 1)
WORSE = st.sampled_from([4, 4, 4, 2, 1, 0, 0, -1, -3])
"""Distance of a price from the mark, in quarters of the distance to the end of the band."""
CONTRACTS = st.sampled_from([1, 2, 9, 40, 150, 600, 2500, 9000])


def price_at(market: Market, side: Side, worse: int) -> int:
    """Return a valid price; `worse` of 4 is the worst price that the band allows to the side."""
    instrument, quarters = market.instrument, side.sign * worse
    if quarters < 0:
        reach = market.mark - market.low
        return instrument.ceil_to_tick(market.mark + reach * quarters // 4)
    reach = market.high - market.mark
    return instrument.floor_to_tick(market.mark + reach * quarters // 4)


class UnchangedMark(RuleBasedStateMachine):
    """Ann trades with little money against a rich account that accepts any price.

    The other account fills any of her orders at any time, in any order. Before a change of the
    mark she cancels her orders, and gets money if needed, so that she starts sound.
    """

    def __init__(self) -> None:
        super().__init__()
        self.venue = open_venue(
            catalogue=CATALOGUE,
            prices={name: PRICES[name] for name in ("btc_usd", "btc_usdc", "sol_usdc")},
            ann={"BTC": "0.05", "USDC": "2000"},
            house=RICH,
        )
        self.venue.do(
            SetSelfTrading(account=self.venue.number("house"), mode=SelfTrading.CANCEL_MAKER)
        )

    @initialize(markets=st.sampled_from(PAIRS))
    def choose(self, markets: tuple[str, str]) -> None:
        """Select one of two markets only, so that effects accumulate."""
        self.markets = markets

    @rule(which=WHICH, side=SIDES, worse=WORSE, contracts=CONTRACTS)
    def quote(self, which: int, side: Side, worse: int, contracts: int) -> None:
        market = self.venue.market(self.markets[which])
        contract_size = market.instrument.contract.contract_size
        self.place("house", market, side, price_at(market, side, worse), contracts * contract_size)

    @rule(
        which=WHICH,
        side=SIDES,
        worse=WORSE,
        contracts=CONTRACTS,
        kind=st.sampled_from([OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET]),
        reduce_only=st.booleans(),
        greedy=st.booleans(),
        drain=st.booleans(),
    )
    def order(
        self,
        which: int,
        side: Side,
        worse: int,
        contracts: int,
        kind: OrderType,
        reduce_only: bool,
        greedy: bool,
        drain: bool,
    ) -> None:
        """Place an order of Ann, at times the largest allowed, then at times withdraw all."""
        market = self.venue.market(self.markets[which])
        held = self.venue.size("ann", market.name)
        if reduce_only and held:
            side = Side.SELL if held > 0 else Side.BUY
        contract_size = market.instrument.contract.contract_size
        limit = 0 if kind is OrderType.MARKET else price_at(market, side, worse)
        step = contracts
        while step:
            refused = self.place(
                "ann", market, side, limit, step * contract_size, type=kind, reduce_only=reduce_only
            )
            step = step // 2 if greedy or refused is Reason.NOT_ENOUGH_FUNDS else 0
        if drain:
            self.withdraw(market.currency)

    def place(
        self, account: str, market: Market, side: Side, limit: int, size: int, **terms: object
    ) -> Reason | None:
        command = Place(
            account=self.venue.number(account),
            instrument=market.name,
            side=side,
            amount=size,
            price=limit,
            **terms,  # type: ignore[arg-type]
        )
        note(str(command))
        return reason(self.venue.do(command))

    @rule(choice=st.integers(0, 7), worse=WORSE, contracts=CONTRACTS)
    def edit(self, choice: int, worse: int, contracts: int) -> None:
        orders = self.venue.orders("ann")
        if not orders:
            return
        order = orders[choice % len(orders)]
        market = self.venue.market(order.instrument)
        size = contracts * market.instrument.contract.contract_size
        command = Edit(
            account=order.account,
            order_id=order.order_id,
            price=price_at(market, order.side, worse),
            amount=size,
        )
        note(str(command))
        self.venue.do(command)

    @rule(choice=st.integers(0, 7), parts=st.sampled_from([1, 2, 3]))
    def fill_one(self, choice: int, parts: int) -> None:
        """Fill one of Ann's orders fully or in part."""
        self.fill(choice, parts)

    def fill(self, choice: int, parts: int) -> None:
        """Fill at the price of the order, whatever else is in the book."""
        orders = self.venue.orders("ann")
        if not orders:
            return
        order = orders[choice % len(orders)]
        size = self.venue.market(order.instrument).instrument.contract.contract_size
        amount = max(size, order.remaining // parts // size * size)
        note(f"fill {amount} of {order}")
        fill(self.venue, order, amount)

    @rule(choices=st.lists(st.integers(0, 7), min_size=2, max_size=6))
    def fill_many(self, choices: list[int]) -> None:
        """Fill several of Ann's orders in any order."""
        for choice in choices:
            self.fill(choice, 1)

    def withdraw(self, currency: str) -> None:
        """Withdraw all of Ann's free money."""
        wallet = self.venue.wallet("ann", currency)
        amount = margin.withdrawable(self.venue.exchange.state, wallet)
        note(f"withdraw {amount} {currency}")
        self.venue.do(Withdraw(account=wallet.account, currency=currency, amount=amount))

    # Rare, so that orders accumulate.
    @precondition(lambda self: len(self.venue.entries) % 5 == 0)
    @rule(moves=st.tuples(*[st.sampled_from([-30, -12, -6, 0, 6, 12, 30])] * 3))
    def change_marks(self, moves: tuple[int, int, int]) -> None:
        """Change the marks, at times so that Ann is between maintenance and initial margin."""
        for account in ("ann", "house"):
            self.venue.do(CancelAll(account=self.venue.number(account)))
        self.venue.finish()
        prices = self.venue.prices
        for name, per_mille in zip(("btc_usd", "btc_usdc", "sol_usdc"), moves, strict=True):
            prices[name] += prices[name] * per_mille // 1000
        self.venue.tick()
        note(f"change_marks {moves}")
        for currency in CURRENCIES:
            wallet = self.venue.wallet("ann", currency)
            margin_cache.refresh(self.venue.exchange.state, wallet)
            lacking = wallet.maintenance - wallet.margin_balance
            if lacking > 0:
                self.venue.deposit("ann", currency, f"{lacking // 10**12 + 1}")

    @invariant()
    def ann_is_sound(self) -> None:
        """Ann's margin balance is at or above her maintenance margin."""
        for currency in CURRENCIES:
            wallet = self.venue.wallet("ann", currency)
            margin_cache.refresh(self.venue.exchange.state, wallet)
            assert wallet.maintenance <= wallet.margin_balance, currency


UnchangedMark.TestCase.settings = thorough(60, stateful_step_count=40)
test_accepted_orders_never_endanger = UnchangedMark.TestCase


def fill(venue: Venue, order: Order, amount: int) -> None:
    """Let the other account fill part of a resting order, whatever its priority."""
    state, market = venue.exchange.state, venue.market(order.instrument)
    state.orders += 1
    taker = Order(
        order_id=state.orders,
        account=venue.number("house"),
        instrument=order.instrument,
        side=order.side.opposite,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
        price=order.price,
        amount=amount,
        filled=amount,
        state=OrderState.FILLED,
    )
    execution = Execution(state, market, taker, state.position(taker.account, market))
    assert amount == execution.allowed_amount(order, amount)
    market.book.fill(order, amount)
    execution.on_fill(order, taker, amount)
    execution.credit_fees()
    venue.do(Continue())


def test_a_reduce_only_order_reserves_its_possible_loss() -> None:
    """It needs no initial margin, but the loss of its fill cannot be withdrawn."""
    venue = open_venue(ann={"BTC": "0.02"}, house=RICH)
    venue.trade("ann", "house", WEEKLY, "10000", "50000")
    order(venue.sell("ann", WEEKLY, "10000", "48500", reduce_only=True))
    withdraw_all(venue, "ann")
    assert money("0.01") < venue.wallet("ann", "BTC").balance
    fill(venue, venue.orders("ann")[0], amount("10000"))
    assert_sound(venue, "ann")


def test_several_risk_reducing_orders_do_not_share_one_margin() -> None:
    """Above initial margin, each order may use only what earlier orders of any kind leave."""
    venue = open_venue(ann={"BTC": "0.00756"}, house=RICH)
    venue.trade("ann", "house", WEEKLY, "10000", "50000")
    venue.tick(btc_usd="48900")
    passed = [
        reason(venue.sell("ann", WEEKLY, "2500", "48000", reduce_only=reduce_only))
        for reduce_only in (False, True, False, True)
    ]
    assert None is passed[0]
    assert Reason.NOT_ENOUGH_FUNDS in passed
    for resting in venue.orders("ann"):
        assert resting.risk_reducing
        fill(venue, resting, resting.remaining)
        assert_sound(venue, "ann")


def test_risk_reducing_orders_of_two_markets_do_not_share_one_margin() -> None:
    """The possible cost of an order in one market is not available in another."""
    venue = open_venue(ann={"BTC": "0.0140"}, house=RICH)
    for name in (WEEKLY, BTC):
        venue.trade("ann", "house", name, "10000", "50000")
    venue.tick(btc_usd="49200")
    first = venue.sell("ann", WEEKLY, "5000", "48000")
    second = venue.sell("ann", BTC, "10000", "48500")
    assert order(first).risk_reducing
    assert Reason.NOT_ENOUGH_FUNDS is reason(second)
    fill(venue, venue.orders("ann")[0], amount("5000"))
    assert_sound(venue, "ann")


def withdraw_all(venue: Venue, account: str) -> None:
    state, wallet = venue.exchange.state, venue.wallet(account, "BTC")
    pieces = margin.withdrawable(state, wallet)
    assert pieces > 0
    venue.do(Withdraw(account=wallet.account, currency="BTC", amount=pieces))


def assert_sound(venue: Venue, account: str) -> None:
    wallet = venue.wallet(account, "BTC")
    margin_cache.refresh(venue.exchange.state, wallet)
    assert wallet.maintenance <= wallet.margin_balance
