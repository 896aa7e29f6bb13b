"""Single steps of liquidation, exact to the unit."""

from __future__ import annotations

import pytest

from book.order import CancelReason, OrderState, Side
from book.units import RATE
from risk import insurance, liquidation, margin_cache
from risk.commands import Liquidate
from risk.deleveraging import Deleverage
from risk.events import (
    Liquidated,
    LiquidationStep,
    MarketState,
    OrderChanged,
    SettlementKind,
    Traded,
)
from risk.reasons import Reason
from risk.risk_terms import LossPolicy
from risk.settlement import Settlement
from risk.state import INSURANCE, SYSTEM_ACCOUNTS
from tests.risk.bankruptcy import position_of, venue_after_fall
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    ETH,
    WEEKLY,
    amount,
    money,
    of_type,
    open_venue,
    reason,
)

DELIVERY = SettlementKind.DELIVERY


def test_a_liquidation_order_is_numbered_and_dated_like_any_other() -> None:
    """It has the next id and the present time, is immediate and reduce-only, for an eighth."""
    venue = venue_after_fall(at="48900")
    for _ in range(3):
        venue.buy("win", BTC, "10", "40000")
    state = venue.exchange.state
    before = state.orders
    venue.tick()
    events = venue.liquidate()
    (changed,) = [e.order for e in of_type(events, OrderChanged) if e.order.liquidation]
    assert before + 1 == changed.order_id == state.orders
    assert (state.time, state.time) == (changed.created, changed.updated)
    assert (OrderState.CANCELLED, Side.SELL) == (changed.state, changed.side)
    assert changed.reduce_only
    assert amount("12500") == changed.amount
    (step,) = of_type(events, Liquidated)
    assert (LiquidationStep.UNFILLED, 0) == (step.step, step.amount)
    # Without a fill, the event has the price limit.
    assert changed.price == step.price


def test_a_round_reports_amount_and_average_price() -> None:
    """It fills against two makers at different prices."""
    venue = venue_after_fall(at="48900")
    venue.open("buy", BTC="10")
    venue.buy("buy", BTC, "5000", "48900")
    venue.buy("buy", BTC, "20000", "48890")
    events = venue.liquidate()
    (step,) = of_type(events, Liquidated)
    assert (LiquidationStep.REDUCED, amount("12500")) == (step.step, step.amount)
    assert venue.market(BTC).instrument.ceil_to_tick(step.price) != amount("48890")
    assert amount("48890") < step.price < amount("48900")
    assert venue.number("lou") == step.account
    assert (BTC, "BTC") == (step.instrument, step.currency)
    filled = [(trade.price, trade.amount) for trade in of_type(events, Traded)]
    assert [(amount("48900"), amount("5000")), (amount("48890"), amount("7500"))] == filled
    (changed,) = [e.order for e in of_type(events, OrderChanged) if e.order.liquidation]
    assert OrderState.FILLED is changed.state


def test_a_round_cancels_orders_and_reports_it() -> None:
    """The orders have that cancel reason and are cancelled before any sale."""
    venue = open_venue(lou={"BTC": "0.06"}, win={"BTC": "1"})
    venue.trade("lou", "win", BTC, "100000", "50000")
    venue.sell("lou", BTC, "10", "50700")
    venue.tick(btc_usd="48900")
    events = venue.liquidate()
    steps = [step.step for step in of_type(events, Liquidated)]
    assert LiquidationStep.CANCELLED == steps[0]
    (cancelled,) = [
        e.order
        for e in of_type(events, OrderChanged)
        if e.order.account == venue.number("lou") and not e.order.liquidation
    ]
    assert CancelReason.AUTOLIQUIDATION is cancelled.cancel_reason


@pytest.mark.parametrize(
    ("held", "clip"),
    [
        ("10", "10"),
        ("70", "10"),
        ("80", "10"),
        ("90", "20"),
        ("160", "20"),
        ("170", "30"),
        ("100000", "12500"),
    ],
)
def test_a_clip_is_an_eighth_rounded_up_to_the_contract(held: str, clip: str) -> None:
    """It is at least the smallest order and at most the position, for longs and shorts."""
    venue = open_venue(checked=False, ann={"BTC": "1"}, bob={"BTC": "1"})
    venue.trade("ann", "bob", BTC, held, "50000")
    for name in ("ann", "bob"):
        assert amount(clip) == liquidation.clip(position_of(venue, name))


def test_an_account_has_one_round_per_tick() -> None:
    """The next Tick allows another one."""
    venue = venue_after_fall(at="48900")
    assert of_type(venue.liquidate(), Liquidated)
    assert [] == liquidation.pending(venue.exchange.state)
    assert venue.exchange.state.ticks == venue.wallet("lou", "BTC").round
    venue.tick()
    assert [(venue.number("lou"), "BTC")] == liquidation.pending(venue.exchange.state)


# Transfers


@pytest.mark.parametrize(("more", "handed"), [(0, False), (-1, True)])
def test_half_the_maintenance_margin_is_the_limit_of_a_takeover(more: int, handed: bool) -> None:
    """A round without fill transfers the position below half, but not at half."""
    venue = venue_after_fall(at="48900", fund="10")
    venue.checked = False
    lou = position_of(venue, "lou")
    needed = lou.wallet.maintenance
    # The margin is even, so that its half is a number of units.
    lou.wallet.balance += needed // 2 + needed % 2 - lou.wallet.margin_balance + more
    venue.liquidate()
    assert handed == (venue.size("lou", BTC) == 0)


def test_orders_of_the_fund_stay_within_the_price_band() -> None:
    """A long sells at or above the band's low, a short buys at or below its high."""
    for maker, taker, sign in (("lou", "win", 1), ("win", "lou", -1)):
        venue = open_venue(
            checked=False, insurance={"BTC": "10"}, lou={"BTC": "1"}, win={"BTC": "1"}
        )
        venue.trade(maker, taker, BTC, "1000", "50000")
        state, market = venue.exchange.state, venue.market(BTC)
        insurance.take_over(state, position_of(venue, "lou"), 0)
        fund = position_of(venue, INSURANCE)
        assert sign * fund.size > 0
        band = market.low if sign > 0 else market.high
        assert band == liquidation._bound(state, fund.wallet, fund)
        # The bankruptcy price applies where it is nearer.
        fund.wallet.balance = money("0.00001") - fund.wallet.session_profit - fund.wallet.profit
        margin_cache.refresh(state, fund.wallet)
        share = insurance.bankruptcy_shares(fund.wallet)[BTC]
        nearer = insurance.bankruptcy_price(market, fund.size, share)
        assert nearer is not None
        assert sign * (nearer - band) > 0
        assert nearer == liquidation._bound(state, fund.wallet, fund)
        venue.set_parameters(loss_policy=LossPolicy.SOCIALISE)
        assert band == liquidation._bound(state, fund.wallet, fund)


def test_a_short_without_bankruptcy_price_is_limited_by_the_band() -> None:
    """Its loss is less than its coins at any price."""
    venue = open_venue(checked=False, lou={"BTC": "10"}, win={"BTC": "10"})
    venue.trade("win", "lou", BTC, "1000", "50000")
    lou = position_of(venue, "lou")
    state, market = venue.exchange.state, venue.market(BTC)
    assert insurance.bankruptcy_price(market, lou.size, lou.wallet.margin_balance) is None
    assert market.high == liquidation._bound(state, lou.wallet, lou)


# Rankings that are likely to be needed


def test_rankings_are_computed_for_the_opposite_side() -> None:
    """Shorts are ranked where a long must be transferred, and vice versa."""
    for maker, taker, price_now, sign in (("lou", "win", "47000", -1), ("win", "lou", "53100", 1)):
        venue = open_venue(lou={"BTC": "0.06"}, win={"BTC": "1"})
        venue.trade(maker, taker, BTC, "100000", "50000")
        venue.tick(btc_usd=price_now)
        venue.finish()
        state = venue.exchange.state
        liquidation._rankings_ready(state, [(venue.number("lou"), "BTC")])
        assert [(BTC, sign)] == list(state.watch.rankings.by_side)


@pytest.mark.parametrize(("shortfall", "wanted"), [(-RATE // 2, 0), (-RATE // 2 - 1, 1)])
def test_an_account_below_half_its_maintenance_margin_is_likely_deleveraged(
    shortfall: int, wanted: int
) -> None:
    """The last measurement counts; an account at exactly half is not included."""
    venue = venue_after_fall()
    state, key = venue.exchange.state, (venue.number("lou"), "BTC")
    state.watch.endangered[key] = shortfall
    assert wanted == len(liquidation._likely_deleveraged(state, [key]))


def test_a_fund_that_can_carry_all_positions_needs_no_rankings() -> None:
    """It can use all above its initial margin; with one unit less it needs rankings."""
    for missing in (0, 1):
        venue = venue_after_fall(fund="10")
        venue.checked = False
        state, key = venue.exchange.state, (venue.number("lou"), "BTC")
        # Something that needs margin is with it already.
        venue.open("gus", BTC="10")
        venue.trade("gus", "win", BTC, "1000", "47000")
        insurance.take_over(state, position_of(venue, "gus"), 0)
        fund = position_of(venue, INSURANCE).wallet
        assert fund.initial > 0
        lou = position_of(venue, "lou").wallet
        needed = lou.initial - lou.margin_balance
        fund.balance += needed + fund.initial - fund.margin_balance - missing
        state.watch.endangered[key] = -RATE
        assert missing == len(liquidation._likely_deleveraged(state, [key]))
    venue.set_parameters(loss_policy=LossPolicy.SOCIALISE)
    assert [] == liquidation._likely_deleveraged(state, [key])


def test_the_position_of_the_largest_requirement_is_reduced_first() -> None:
    """The order of instrument names does not matter."""
    for larger in (BTC, WEEKLY):
        venue = open_venue(lou={"BTC": "0.1"}, win={"BTC": "10"})
        for name in (BTC, WEEKLY):
            quantity = "100000" if name == larger else "50000"
            venue.trade("lou", "win", name, quantity, "50000")
        venue.tick(btc_usd="48800")
        (step,) = of_type(venue.liquidate(), Liquidated)
        assert (LiquidationStep.UNFILLED, larger) == (step.step, step.instrument)


def test_each_currency_is_liquidated_on_its_own() -> None:
    """An account is due only in the currency in which it lacks margin."""
    venue = open_venue(
        lou={"BTC": "0.06", "ETH": "1", "USDC": "10000"},
        win={"BTC": "1", "ETH": "9", "USDC": "90000"},
    )
    venue.trade("lou", "win", BTC, "100000", "50000")
    venue.trade("lou", "win", ETH, "100", "2500")
    venue.trade("lou", "win", BTC_USDC, "0.1", "50000")
    venue.tick(btc_usd="48900")
    assert [(venue.number("lou"), "BTC")] == liquidation.pending(venue.exchange.state)
    events = venue.liquidate()
    assert {BTC} == {each.instrument for each in of_type(events, Liquidated)}


def test_only_clients_and_the_fund_can_be_liquidated() -> None:
    """Other accounts and unknown currencies are refused."""
    venue = venue_after_fall()
    for account, currency in (
        (999, "BTC"),
        (venue.number("lou"), "DOGE"),
        (999, "DOGE"),
        *((number, "BTC") for number in SYSTEM_ACCOUNTS if number != INSURANCE),
    ):
        events = venue.do(Liquidate(account=account, currency=currency))
        assert Reason.ACCOUNT_UNKNOWN is reason(events)
    for account in (venue.number("lou"), venue.number("win"), INSURANCE):
        assert reason(venue.do(Liquidate(account=account, currency="BTC"))) is None


def test_an_account_has_no_round_while_its_position_is_transferred() -> None:
    """This holds in that currency only, and for no other account."""
    venue = venue_after_fall()
    state = venue.exchange.state
    lou, win = venue.wallet("lou", "BTC"), venue.wallet("win", "BTC")
    assert not liquidation._is_blocked(state, lou)
    state.phases.append(Deleverage(lou.account, BTC))
    assert liquidation._is_blocked(state, lou)
    assert not liquidation._is_blocked(state, win)
    state.phases[0] = Deleverage(lou.account, WEEKLY)
    assert not liquidation._is_blocked(state, lou)


def test_pending_accounts_exclude_tried_ones_and_are_limited() -> None:
    """The account with the larger shortfall comes first."""
    venue = open_venue(lou={"BTC": "0.06"}, low={"BTC": "0.05"}, win={"BTC": "1"})
    for name in ("lou", "low"):
        venue.trade(name, "win", BTC, "100000", "50000")
    venue.tick(btc_usd="48900")
    state = venue.exchange.state
    low, lou = [(venue.number(name), "BTC") for name in ("low", "lou")]
    assert [low, lou] == liquidation.pending(state)
    assert [low] == liquidation.pending(state, limit=1)
    assert [lou] == liquidation.pending(state, tried={low})
    assert [] == liquidation.pending(state, tried={low, lou})


def test_a_wallet_in_a_settlement_or_deleveraging_is_not_liquidated() -> None:
    """Nor is one with a position in a market that is not open."""
    venue = venue_after_fall()
    state, lou = venue.exchange.state, position_of(venue, "lou")
    assert not liquidation._is_blocked(state, lou.wallet)
    lou.market.state = MarketState.SETTLEMENT
    assert liquidation._is_blocked(state, lou.wallet)
    lou.market.state = MarketState.OPEN
    for phase, unsettled in (
        (Settlement("BTC", 5, {}, 0), True),
        (Settlement("ETH", 5, {}, 0), False),
        (Deleverage(lou.account, BTC), True),
        (Deleverage(lou.account, WEEKLY), False),
        (Deleverage(lou.account + 1, BTC), False),
    ):
        state.phases.append(phase)
        assert unsettled == liquidation._is_blocked(state, lou.wallet)
        state.phases.clear()


@pytest.mark.parametrize(
    ("balance", "steps"),
    [
        (-1, [LiquidationStep.TAKEN_OVER]),
        (0, [LiquidationStep.TAKEN_OVER]),
        (1, [LiquidationStep.UNFILLED, LiquidationStep.TAKEN_OVER]),
    ],
)
def test_a_positive_margin_balance_is_offered_to_the_market_first(
    balance: int, steps: list[LiquidationStep]
) -> None:
    """Without one, the insurance fund takes all positions at once."""
    venue = venue_after_fall(fund="10")
    state, lou = venue.exchange.state, position_of(venue, "lou")
    lou.wallet.balance += balance - lou.wallet.margin_balance
    state.events = []
    liquidation._round(state, lou.wallet)
    assert steps == [event.step for event in of_type(state.events, Liquidated)]
