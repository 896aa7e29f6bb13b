"""Single steps of deleveraging, settlement and delivery, exact to the unit."""

from __future__ import annotations

from copy import copy

import pytest

from book.order import CancelReason, Side
from book.units import RATE, SECOND
from risk import margin, margin_cache
from risk.deleveraging import Deleverage
from risk.delivery import Delivery
from risk.events import (
    Booked,
    BookingKind,
    PositionSettled,
    SettlementKind,
)
from risk.order_costs import fee, fee_on, loss_at_mark, reserve
from risk.position import Position, Wallet
from risk.settlement import Settlement
from risk.state import FEES, INSURANCE, ROUNDING
from tests.book.factory import limit_order
from tests.risk.bankruptcy import position_of, venue_after_fall
from tests.risk.venue import (
    BTC,
    MONTHLY,
    WEEKLY,
    Venue,
    amount,
    of_type,
    open_venue,
)

DELIVERY = SettlementKind.DELIVERY


def test_a_deleveraging_without_candidates_ends_with_the_fund() -> None:
    """The fund takes the position at once, and its loss becomes the deficit."""
    venue = venue_after_fall()
    state, lou = venue.exchange.state, position_of(venue, "lou")
    phase = Deleverage(lou.account, BTC, cursor=5, scanned=True)
    phase._rank_again(state, lou)
    assert phase.done
    assert 0 == lou.size
    assert -amount("100000") == -venue.size(INSURANCE, BTC)
    assert state.deficit("BTC").balance < 0
    assert 0 == state.insurance("BTC").margin_balance


def test_a_successful_pass_starts_a_new_ranking() -> None:
    """The new ranking starts from its first step."""
    venue = venue_after_fall()
    phase = Deleverage(venue.number("lou"), BTC, cursor=5, scanned=True, closed=True)
    phase._rank_again(venue.exchange.state, position_of(venue, "lou"))
    assert (0, False, False, False) == (phase.cursor, phase.scanned, phase.closed, phase.done)


def test_deleveraging_and_delivery_withhold_no_money() -> None:
    """Only a settlement can still claim money of an account."""
    venue = venue_after_fall()
    state, wallet = venue.exchange.state, venue.wallet("win", "BTC")
    for phase in (Delivery(WEEKLY, 1, 1, 1), Deleverage(venue.number("lou"), BTC)):
        assert 0 == phase.withheld(state, wallet)


def test_a_settlement_is_identified_by_currency_and_time() -> None:
    """Two currencies settle at the same time."""
    settlement = Settlement("BTC", 5, {}, 0)
    assert settlement.ends_with("BTC", 5)
    assert not settlement.ends_with("ETH", 5)
    assert not settlement.ends_with("BTC", 6)


def test_system_accounts_and_zero_results_share_no_deficit() -> None:
    """Only profits and losses of clients are counted."""
    settlement = Settlement("BTC", 5, {}, 0)
    for account, profit in ((FEES, 5), (INSURANCE, 5), (101, 0), (102, 5), (102, 2), (103, -1)):
        settlement.count(account, profit)
    assert {102: 7, 103: -1} == settlement.profits


def settlement_before_sharing(deficit: int, profits: dict[int, int]) -> tuple[Venue, Settlement]:
    """Return a settlement that has settled all accounts and is about to share a deficit."""
    venue = open_venue(checked=False)
    for number in range(len(profits)):
        venue.open(f"client {number}", BTC="1")
    state = venue.exchange.state
    state.deficit("BTC").balance = -deficit
    settlement = Settlement("BTC", 5, {}, deficit, profits=dict(profits))
    settlement._finish_settling(state)
    return venue, settlement


def test_a_profit_of_one_unit_shares_the_deficit() -> None:
    """Accounts with a loss or without a result do not share it."""
    _, settlement = settlement_before_sharing(10, {101: 1, 102: 0, 103: -5, 104: 2})
    assert {101: 1, 104: 2} == settlement.profits
    assert (3, [104, 101]) == (settlement.total, settlement.sharing)
    _, settlement = settlement_before_sharing(0, {101: 1})
    assert {} == settlement.profits


def test_a_deficit_is_shared_within_the_budget_of_each_step() -> None:
    """Accounts share it in order, and the last step reopens the markets."""
    venue, settlement = settlement_before_sharing(100, dict.fromkeys(range(101, 106), 50))
    state = venue.exchange.state
    for left, budget in ((3, 2), (2, 1), (0, 2)):
        assert budget == settlement.advance(state, budget)
        assert settlement.sharing is not None
        assert left == len(settlement.sharing)
    done = [settlement.done]
    assert 1 == settlement.advance(state, 5)
    assert [False, True] == [*done, settlement.done]
    assert 100 == settlement.taxed
    assert 0 == state.deficit("BTC").balance


@pytest.mark.parametrize("balance", [0, 1, 5, 6])
def test_a_share_of_a_deficit_is_limited_by_the_balance(balance: int) -> None:
    """An account without cash pays nothing."""
    venue, settlement = settlement_before_sharing(5, {101: 50})
    state, wallet = venue.exchange.state, venue.wallet("client 0", "BTC")
    wallet.balance = balance
    settlement.advance(state, 1)
    assert min(balance, 5) == settlement.taxed
    assert balance - settlement.taxed == wallet.balance


@pytest.mark.parametrize("long", [True, False])
def test_orders_cancelled_by_a_deleveraging_count_as_steps(long: bool) -> None:
    """At most the rest of the budget is cancelled at once, newest first, before it goes on."""
    venue = open_venue(checked=False, lou={"BTC": "0.06"}, win={"BTC": "1"})
    pair = ("lou", "win") if long else ("win", "lou")
    venue.trade(*pair, BTC, "100000", "50000")
    far = "49300" if long else "50700"
    for _ in range(20):
        venue.place("win", BTC, Side.BUY if long else Side.SELL, "5000", far, reduce_only=True)
    venue.tick(btc_usd="47000" if long else "53200")
    state = venue.exchange.state
    lou, win = venue.number("lou"), position_of(venue, "win")
    oldest = list(win.orders)
    assert 20 == len(oldest)
    resting = list(win.orders.values())
    # The first candidate, the last in the list, has no position any more.
    phase = Deleverage(lou, BTC, ranking=[(1, -win.account), (2, -999)], scanned=True)
    phase.advance(state, 6)
    assert oldest[:15] == list(win.orders)
    assert 0 != venue.size("lou", BTC)
    while not phase.done:
        assert phase.advance(state, 6) <= 12
    assert 0 == venue.size("lou", BTC) == win.size
    assert not win.orders
    assert {CancelReason.REDUCE_ONLY} == {event.cancel_reason for event in resting}


def test_each_order_cancelled_by_a_deleveraging_is_one_step() -> None:
    """This holds for orders cancelled before the counterparty is closed and with it."""
    steps = []
    for count, others in ((0, 0), (3, 0), (7, 0), (3, 2)):
        venue = open_venue(checked=False, lou={"BTC": "0.06"}, win={"BTC": "1"})
        venue.trade("lou", "win", BTC, "100000", "50000")
        for _ in range(count):
            venue.buy("win", BTC, "5000", "49300", reduce_only=True)
        for _ in range(others):
            venue.buy("win", BTC, "10", "40000")
        venue.tick(btc_usd="47000")
        win = venue.number("win")
        # A further candidate remains, for which the account is checked once more.
        ranking = [(1, -999), (2, -win)]
        phase = Deleverage(venue.number("lou"), BTC, ranking=ranking, scanned=True)
        steps.append(phase.advance(venue.exchange.state, 100))
        assert phase.done
    assert [steps[0], steps[0] + 3, steps[0] + 7, steps[0] + 3] == steps


@pytest.mark.parametrize(
    ("size", "expected"), [(10, (-14, 13)), (-10, (-30, -3)), (0, (-20, 3)), (1, (-23, 4))]
)
def test_reduce_only_orders_extend_only_the_side_that_they_reduce(
    size: int, expected: tuple[int, int]
) -> None:
    """The orders are 3 to buy, 20 to sell and 4 reduce-only."""
    held = Position(Wallet(101, "BTC"), open_venue().market(BTC), size=size)
    held.buys, held.sells, held.reduced = 3, 20, 4
    assert expected == held.worst_case_sizes()


def test_the_smallest_losses_and_fees() -> None:
    """A loss below a unit is none, a rate of zero is no fee, the smallest rate costs a unit."""
    market = copy(open_venue().market(BTC))
    for side, beyond in ((Side.BUY, 1), (Side.SELL, -1)):
        assert 0 == loss_at_mark(market, side, 1, market.mark + beyond)
        assert 0 == loss_at_mark(market, side, amount("10"), market.mark)
        assert 0 == loss_at_mark(market, side, amount("10"), market.mark - 1000 * beyond)
        assert 0 < loss_at_mark(market, side, amount("10"), market.mark + 10**8 * beyond)
    assert 0 == fee(market, amount("10"), market.mark, 0)
    assert 1 == fee(market, amount("10"), market.mark, 1)
    resting = limit_order(1, 101, Side.BUY, market.mark - 10**8, amount("10"))
    for rate, reserved in ((0, 0), (1, 1), (-1, 0), (-RATE // 1000, 0)):
        market.maker_rate = rate
        assert reserved == reserve(market, resting)


def deliver_in_slices(
    slice_: int, instrument: str = WEEKLY
) -> tuple[Venue, list[PositionSettled], list[Booked]]:
    """Deliver a future in slices of a few accounts, with a check after each entry."""
    venue = open_venue(
        parameters={"slice": slice_}, ann={"BTC": "1"}, bob={"BTC": "1"}, cid={"BTC": "1"}
    )
    venue.trade("ann", "bob", instrument, "10000", "50000")
    venue.trade("cid", "bob", instrument, "7770", "50000")
    expiry = venue.market(instrument).instrument.expiry
    assert expiry is not None
    events = []
    for before in (31 * 60, 20 * 60, 60, 0):
        events += venue.tick(after=expiry - before * SECOND - venue.time, btc_usd="51234.5")
    events += venue.finish()
    assert instrument not in venue.exchange.state.markets
    return venue, of_type(events, PositionSettled), of_type(events, Booked)


@pytest.mark.parametrize("instrument", [WEEKLY, MONTHLY])
def test_a_delivery_in_slices_is_consistent_after_each_slice(instrument: str) -> None:
    """Every identity holds between two accounts, and the final result is the same."""
    results = []
    for slice_ in (1, 2, 1_000):
        venue, settled, _ = deliver_in_slices(slice_, instrument)
        results.append(
            (
                [event for event in settled if event.instrument == instrument],
                [venue.wallet(name, "BTC").balance for name in ("ann", "bob", "cid")],
            )
        )
        assert 0 == venue.exchange.state.rounding("BTC").session_profit
        assert all(not held.positions for held in (venue.wallet(ROUNDING, "BTC"),))
    assert results[0] == results[1] == results[2]
    delivered = {
        (event.account, event.size, event.price)
        for event in results[0][0]
        if event.kind is DELIVERY
    }
    assert {0} == {event.funding for event in results[0][0] if event.kind is DELIVERY}
    assert {
        (101, amount("10000"), amount("51234.5")),
        (102, -amount("17770"), amount("51234.5")),
        (103, amount("7770"), amount("51234.5")),
    } == delivered


def test_a_delivery_fee_is_paid_once_by_each_side_and_weeklies_are_free() -> None:
    """It is rounded up, booked with time and instrument, and credited to `fees`."""
    _, _, booked = deliver_in_slices(2, WEEKLY)
    assert [] == [event for event in booked if event.kind is BookingKind.DELIVERY_FEE]
    _, settled, booked = deliver_in_slices(2, MONTHLY)
    fees = [e for e in booked if e.kind is BookingKind.DELIVERY_FEE and e.account > 100]
    assert [101, 102, 103] == [event.account for event in fees]
    (time,) = {event.time for event in settled if event.kind is DELIVERY}
    assert all((MONTHLY, time) == (event.instrument, event.reference) for event in fees)
    # 10,000 USD at 51,234.5 are 0.195181 BTC, of which the rate is taken.
    catalogue = open_venue().market(MONTHLY)
    value = catalogue.instrument.value(amount("10000"), amount("51234.5"))
    assert -fee_on(value, catalogue.terms.delivery_rate) == fees[0].amount < 0
    house = sum(e.amount for e in booked if e.kind is BookingKind.DELIVERY_FEE and e.account <= 100)
    assert house == -sum(event.amount for event in fees)


def due(instrument: str, fee_rate: int | None = None) -> tuple[Venue, Delivery]:
    """Return a venue where ann and bob hold a future, and its delivery at the current mark."""
    venue = open_venue(checked=False, ann={"BTC": "1"}, bob={"BTC": "1"})
    venue.trade("ann", "bob", instrument, "10000", "50000")
    market = venue.market(instrument)
    market.delivery_price = market.mark
    time = venue.exchange.state.time
    return venue, Delivery(instrument, time, market.mark, market.open_interest, fee_rate=fee_rate)


def test_each_order_and_each_position_of_a_delivery_is_a_step() -> None:
    """A delivery uses at most its budget, and the last step removes the market."""
    venue, phase = due(WEEKLY)
    for limit in ("49000", "49100"):
        venue.buy("ann", WEEKLY, "10", limit)
    state = venue.exchange.state
    assert 1 == phase.advance(state, 1)
    assert 1 == len(venue.orders("ann"))
    assert 2 == phase.advance(state, 2)
    assert [] == venue.orders("ann")
    assert [ROUNDING, venue.number("bob")] == list(venue.market(WEEKLY).positions)
    assert 1 == phase.advance(state, 1)
    assert [ROUNDING] == list(venue.market(WEEKLY).positions)
    done = [phase.done]
    assert 1 == phase.advance(state, 5)
    assert [False, True] == [*done, phase.done]
    assert WEEKLY not in state.markets


def test_a_delivered_position_is_empty() -> None:
    """Code that still refers to the position reads zero."""
    venue, phase = due(WEEKLY)
    held = [position_of(venue, name, WEEKLY) for name in ("ann", "bob")]
    phase.advance(venue.exchange.state, 10)
    assert phase.done
    for position in held:
        assert (0, 0, 0) == (position.size, position.carry, position.cost)


@pytest.mark.parametrize("rate", [None, 0, 777])
def test_a_delivery_charges_the_fee_rate_it_started_with(rate: int | None) -> None:
    """A delivery without a rate of its own uses the rate of the terms."""
    venue, phase = due(MONTHLY, rate)
    market, state = venue.market(MONTHLY), venue.exchange.state
    state.events = []
    charged = market.terms.delivery_rate if rate is None else rate
    event = fee(market, amount("10000"), market.delivery_price, charged)
    phase.advance(state, 2)
    booked = of_type(state.events, Booked)
    fees = [-e.amount for e in booked if e.kind is BookingKind.DELIVERY_FEE and e.account > 100]
    assert [event, event] == fees if event else not fees


@pytest.mark.parametrize(("balance", "paid"), [(-5, 0), (0, 0), (1, 1)])
def test_a_delivery_fee_is_no_more_than_the_balance(balance: int, paid: int) -> None:
    """An account without a positive balance pays no fee."""
    venue, phase = due(MONTHLY)
    state, wallet = venue.exchange.state, venue.wallet("ann", "BTC")
    margin_cache.refresh(state, wallet)
    wallet.balance += balance - margin.balance(state, wallet)
    before = wallet.balance
    phase._charge(state, venue.market(MONTHLY), wallet, amount("10000"))
    assert paid == before - wallet.balance
