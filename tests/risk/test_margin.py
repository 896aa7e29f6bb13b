"""Standard margin: its figures, the effect of open orders, and the cached sums of wallets."""

from __future__ import annotations

from decimal import Decimal

import pytest

from book.units import MONEY, RATE
from risk import margin, margin_cache, standard_margin
from risk.position import Position
from risk.reasons import Reason
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    ETH,
    SOL_USDC,
    WEEKLY,
    Venue,
    amount,
    money,
    open_venue,
    order,
    price,
    reason,
    trades,
)


def held(venue: Venue, account: str, instrument: str = BTC) -> Position:
    """Return an existing position, refreshed to the present marks."""
    position = venue.position(account, instrument)
    assert position is not None
    margin_cache.refresh(venue.exchange.state, venue.wallet(account, position.market.currency))
    return position


@pytest.mark.parametrize(
    ("instrument", "size", "initial", "maintenance"),
    [
        (BTC, "50000", "0.02005", "0.01005"),
        (BTC, "500000", "0.205", "0.105"),
        (BTC, "50000000", "70", "60"),
        (WEEKLY, "500000", "0.205", "0.105"),
        (ETH, "250000", "2.04", "1.04"),
        (BTC_USDC, "2", "2010", "1010"),
        (SOL_USDC, "1000", "6750", "3750"),
    ],
)
def test_margin_is_base_and_slope_of_the_size_in_coins(
    instrument: str, size: str, initial: str, maintenance: str
) -> None:
    """It is (2 % + 0.005 % n) n for n BTC, for longs and shorts alike."""
    market = open_venue().market(instrument)
    for signed in (amount(size), -amount(size)):
        assert money(initial) == standard_margin.initial(market, signed)
        assert money(maintenance) == standard_margin.maintenance(market, signed)


def test_a_flat_position_needs_no_margin() -> None:
    """Its requirement is exactly zero."""
    market = open_venue().market(BTC)
    assert (0, 0) == (standard_margin.initial(market, 0), standard_margin.maintenance(market, 0))


def test_requirements_are_rounded_up() -> None:
    """10 USD at 30,000 are 1/3,000 BTC; rounding down would be the venue's loss."""
    market = open_venue(prices={"btc_usd": "30000"}).market(BTC)
    exact = Decimal(10) / 30000
    exact *= Decimal("0.02") + Decimal("0.00005") * exact
    requirement = standard_margin.initial(market, amount("10"))
    assert 0 < requirement - exact * MONEY <= 2


def test_inverse_margin_follows_the_mark_and_linear_margin_the_index() -> None:
    """At half the price, an inverse position is twice as many coins."""
    venue = open_venue()
    inverse, linear = venue.market(BTC), venue.market(BTC_USDC)
    inverse.mark //= 2
    assert money("0.0402") == standard_margin.initial(inverse, amount("50000"))
    linear.mark //= 2
    assert money("2010") == standard_margin.initial(linear, amount("2"))
    linear.index.price //= 2
    assert money("1005") == standard_margin.initial(linear, amount("2"))


def test_open_orders_need_the_margin_of_the_worse_side() -> None:
    """Bids and offers do not add up: only one side can lead to the largest position."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"})
    venue.trade("alice", "bob", BTC, "100000", "50000")
    venue.buy("alice", BTC, "50000", "49900")
    market = venue.market(BTC)
    assert standard_margin.initial(market, amount("150000")) == held(venue, "alice").initial
    venue.sell("alice", BTC, "230000", "50100")
    assert standard_margin.initial(market, amount("150000")) == held(venue, "alice").initial
    venue.sell("alice", BTC, "40000", "50100")
    assert standard_margin.initial(market, amount("170000")) == held(venue, "alice").initial
    assert standard_margin.maintenance(market, amount("100000")) == held(venue, "alice").maintenance


def test_a_reduce_only_order_needs_no_margin() -> None:
    """It can only reduce the position, also together with other orders."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"})
    venue.trade("alice", "bob", BTC, "100000", "50000")
    before = held(venue, "alice").initial
    venue.sell("alice", BTC, "100000", "50100", reduce_only=True)
    assert before == held(venue, "alice").initial
    assert (0, amount("100000")) == held(venue, "alice").worst_case_sizes()


def test_an_order_beyond_the_mark_reserves_its_loss_until_it_ends() -> None:
    """Buying 50,000 USD at 50,500 with a mark of 50,000 loses 1 - 50000/50500 coins."""
    venue = open_venue(alice={"BTC": "10"})
    resting = order(venue.buy("alice", BTC, "50000", "50500"))
    loss = MONEY - round(Decimal(50000 * MONEY) / 50500)
    assert loss + 1 == held(venue, "alice").reserved
    venue.buy("alice", BTC, "50000", "49000")
    assert loss + 1 == held(venue, "alice").reserved
    initial = standard_margin.initial(venue.market(BTC), amount("100000"))
    assert initial + loss + 1 == held(venue, "alice").initial
    venue.open("bob", BTC="10")
    venue.sell("bob", BTC, "20000", "50500")
    assert abs(held(venue, "alice").reserved - loss * 3 // 5) <= 2
    venue.sell("bob", BTC, "30000", "50500")
    assert resting.order_id not in held(venue, "alice").orders
    assert 0 == held(venue, "alice").reserved


def test_an_order_without_reserve_is_not_stored_in_the_reserves() -> None:
    """Most orders need none, and storing them would slow down each order."""
    # A check would compute them again.
    venue = open_venue(checked=False, alice={"BTC": "10"}, bob={"BTC": "10"})
    assert 0 == venue.market(BTC).maker_rate
    for limit in ("49000", "50000", "48000"):
        venue.buy("alice", BTC, "50000", limit)
        assert {} == held(venue, "alice").reserves
    costs = order(venue.buy("alice", BTC, "50000", "50500"))
    assert [costs.order_id] == list(held(venue, "alice").reserves)
    venue.sell("bob", BTC, "50000", "50501")
    # Computed again, with an offer exactly at the mark.
    venue.market(BTC).mark = price("50501")
    venue.exchange.state.marks += 1
    assert {} == held(venue, "bob").reserves


def test_reserves_follow_the_mark() -> None:
    """A price better than the mark becomes a loss when the mark falls."""
    venue = open_venue(alice={"BTC": "10"})
    venue.buy("alice", BTC, "50000", "49500")
    assert 0 == held(venue, "alice").reserved
    venue.tick(btc_usd="49000")
    margin_cache.refresh(venue.exchange.state, venue.wallet("alice", "BTC"))
    market = venue.market(BTC)
    bought, worth = (
        market.instrument.value(amount("50000"), at) for at in (price("49500"), market.mark)
    )
    assert bought < worth
    assert worth - bought + 1 == held(venue, "alice").reserved


def test_an_order_is_accepted_exactly_up_to_its_margin() -> None:
    """It needs initial margin, taker fee and the rounding of its fills."""
    needed = money("0.02005") + money("0.0005") + 2 * 5000 + 2
    for paid, expected in ((needed, None), (needed - 1, Reason.NOT_ENOUGH_FUNDS)):
        venue = open_venue(alice={"BTC": str(Decimal(paid) / MONEY)})
        assert expected == reason(venue.buy("alice", BTC, "50000", "50000"))


def test_unrealised_profit_cannot_be_withdrawn() -> None:
    """It is cash only once realised or settled; a loss counts at once."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"})
    venue.trade("alice", "bob", BTC, "100000", "50000")
    venue.tick(btc_usd="60000")
    state = venue.exchange.state
    alice, bob = venue.wallet("alice", "BTC"), venue.wallet("bob", "BTC")
    free = margin.withdrawable(state, alice)
    assert alice.profit > 0
    assert alice.balance - alice.initial == free
    free = margin.withdrawable(state, bob)
    assert bob.profit < 0
    assert bob.balance + bob.profit - bob.initial == free


def test_cached_sums_equal_a_recount_after_orders_and_trades() -> None:
    """Every entry updates only the changed position's part, without drift."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"})
    wallet, state = venue.wallet("alice", "BTC"), venue.exchange.state
    quarterly = next(name for name in state.markets if name.startswith("BTC-26JUN"))
    for step, instrument in enumerate((BTC, WEEKLY, quarterly) * 3):
        venue.trade("alice", "bob", instrument, str(1000 * (step + 1)), "50000")
        resting = order(venue.sell("alice", instrument, "7000", str(50100 + 5 * step)))
        venue.buy("bob", instrument, "3000", str(50100 + 5 * step))
        cached = (wallet.profit, wallet.initial, wallet.maintenance)
        assert state.marks == wallet.marks
        wallet.marks = -1
        for position in wallet.positions.values():
            position.reserves_at = -1
        margin_cache.refresh(state, wallet)
        assert (wallet.profit, wallet.initial, wallet.maintenance) == cached
        assert amount("4000") == resting.amount - amount("3000")


def test_a_maker_fee_is_reserved_and_a_rebate_is_not() -> None:
    """A rebate of a weekly future counts only after it is earned."""
    venue = open_venue(alice={"BTC": "10"})
    venue.buy("alice", WEEKLY, "50000", "49900")
    assert 0 == held(venue, "alice", WEEKLY).reserved
    assert venue.market(WEEKLY).maker_rate < 0
    venue.market(BTC).maker_rate = RATE // 1000
    venue.buy("alice", BTC, "49900", "49900", check=False)
    assert money("0.001") == held(venue, "alice").reserved


def test_unrealised_profit_includes_accrued_funding() -> None:
    """Of a flat position, or without a mark, there is none."""
    venue = open_venue(checked=False, alice={"BTC": "10"}, bob={"BTC": "10"})
    venue.trade("alice", "bob", BTC, "100000", "49900")
    position = held(venue, "alice")
    market = position.market
    traded = position.carry - market.value(position.size, market.mark)
    assert traded == position.unrealised_profit() > 0
    market.funding_index += 10**19
    accrued = position.accrued_funding(market.funding_index)
    assert traded + accrued == position.unrealised_profit() < traded
    assert 0 == Position(position.wallet, market, carry=5).unrealised_profit()
    market.mark = 0
    assert 0 == position.unrealised_profit()


def test_a_margin_balance_is_computed_anew_after_marks_or_positions_changed() -> None:
    """It is the one that a refresh leaves."""
    venue = open_venue(checked=False, alice={"BTC": "10"}, bob={"BTC": "10"})
    state, wallet = venue.exchange.state, venue.wallet("alice", "BTC")
    for trade_price, mark in (("49900", "50000"), ("50100", "50400")):
        assert trades(venue.trade("alice", "bob", BTC, "1000", trade_price))
        for _ in range(2):
            found = margin.balance(state, wallet)
            margin_cache.refresh(state, wallet)
            assert found == wallet.margin_balance
            venue.tick(btc_usd=mark)


def test_an_offer_at_the_mark_reserves_only_a_fee() -> None:
    """Without a maker fee it is not among the reserves; the lowest rate reserves one unit."""
    venue = open_venue(checked=False, alice={"BTC": "10"})
    venue.buy("alice", BTC, "10", "49900")
    market = venue.market(BTC)
    venue.sell("alice", BTC, "10", "50000")
    assert {} == held(venue, "alice").reserves
    market.maker_rate = 1
    offer = order(venue.sell("alice", BTC, "10", "50000"))
    assert {offer.order_id: 1} == held(venue, "alice").reserves
