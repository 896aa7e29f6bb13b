"""Payments, takeovers and transfers of the insurance fund, exact to the unit."""

from __future__ import annotations

from copy import copy

import pytest

from book.order import Side
from book.units import MONEY
from risk import insurance, margin, margin_cache, standard_margin
from risk.commands import Continue
from risk.events import (
    Booked,
    BookingKind,
    Liquidated,
    LiquidationStep,
    SettlementKind,
    Transferred,
)
from risk.state import INSURANCE
from tests.risk.bankruptcy import credit, position_of, venue_after_fall
from tests.risk.venue import (
    BTC,
    WEEKLY,
    Venue,
    amount,
    of_type,
    open_venue,
)

DELIVERY = SettlementKind.DELIVERY


def with_fund_position() -> Venue:
    """Return a venue whose fund has a position, and lou, who has a debt."""
    venue = venue_after_fall(at="47000", fund="1")
    venue.checked = False
    venue.open("gus", BTC="10")
    venue.trade("gus", "win", BTC, "1000", "47000")
    insurance.take_over(venue.exchange.state, position_of(venue, "gus"), 0)
    return venue


@pytest.mark.parametrize("missing", [0, 1, 100, 999, 1_000])
def test_the_fund_pays_down_to_its_initial_margin(missing: int) -> None:
    """The rest becomes the deficit; the bookings refer to the entry."""
    venue = with_fund_position()
    state = venue.exchange.state
    venue.open("owe", BTC="1")
    owe = venue.wallet("owe", "BTC")
    credit(venue, owe.account, -owe.balance - 1_000)
    fund = position_of(venue, INSURANCE).wallet
    deficit = state.deficit("BTC").balance
    credit(venue, INSURANCE, fund.initial - fund.margin_balance + 1_000 - missing)
    deficit = state.deficit("BTC").balance
    state.events = []
    insurance.cover(state, owe)
    assert 0 == owe.balance
    assert -missing == state.deficit("BTC").balance - deficit
    margin_cache.refresh(state, fund)
    assert fund.initial == fund.margin_balance
    (booked,) = [e for e in of_type(state.events, Booked) if e.account == owe.account]
    assert (BookingKind.INSURANCE, 1_000, 0) == (booked.kind, booked.amount, booked.balance)
    assert state.sequence == booked.reference


@pytest.mark.parametrize("owed", [0, 1, 2])
def test_the_smallest_debt_is_covered(owed: int) -> None:
    """A debt of one unit is paid, and an account without a debt gets no booking."""
    venue = with_fund_position()
    state = venue.exchange.state
    venue.open("owe", BTC="1")
    owe = venue.wallet("owe", "BTC")
    credit(venue, owe.account, -owe.balance - owed)
    state.events = []
    insurance.cover(state, owe)
    assert 0 == owe.balance
    assert [owed] * bool(owed) == [
        e.amount for e in of_type(state.events, Booked) if e.account == owe.account
    ]


def test_the_fund_repays_a_deficit_down_to_its_initial_margin() -> None:
    """It pays at most the deficit."""
    for deficit, spare, left in (
        (1, 1_000, 0),
        (500, 1_000, 0),
        (1_000, 1_000, 0),
        (1_000, 400, -600),
        (7, 0, -7),
    ):
        venue = with_fund_position()
        state = venue.exchange.state
        fund = position_of(venue, INSURANCE).wallet
        credit(venue, INSURANCE, fund.initial - fund.margin_balance + spare)
        state.deficit("BTC").balance = -deficit
        before = fund.balance
        insurance.repay(state, "BTC")
        assert left == state.deficit("BTC").balance
        assert before - fund.balance == deficit + left


def test_the_fund_pays_cash_only() -> None:
    """It cannot pay with unrealised profit."""
    venue = with_fund_position()
    state = venue.exchange.state
    venue.tick(btc_usd="60000")
    fund = position_of(venue, INSURANCE).wallet
    assert fund.profit > 0
    credit(venue, INSURANCE, 5 - fund.balance)
    assert 5 == max(0, margin.spare(state, fund)) or fund.initial > fund.profit
    credit(venue, INSURANCE, -10)
    assert 0 == max(0, margin.spare(state, fund))


def test_the_smallest_divisor_still_gives_a_bankruptcy_price() -> None:
    """A short has lost nearly all its coins at that price: one unit remains."""
    market = copy(open_venue().market(BTC))
    market.mark = 1
    size = amount("10")
    assert size * MONEY == insurance.bankruptcy_price(market, -size, size * MONEY - 1) or (
        insurance.bankruptcy_price(market, -size, size * MONEY - 1)
        == market.instrument.floor_to_tick(size * MONEY)
    )
    assert insurance.bankruptcy_price(market, -size, size * MONEY) is None


def test_a_transfer_event_has_both_results() -> None:
    """It has ids, sides, remaining sizes and the transferred amount."""
    venue = venue_after_fall()
    venue.checked = False
    state = venue.exchange.state
    lou, win = position_of(venue, "lou"), position_of(venue, "win")
    trades, interest = state.trades, venue.market(BTC).open_interest
    state.events = []
    price = insurance.transfer_position(state, lou, win, amount("40000"), 7)
    (event,) = of_type(state.events, Transferred)
    assert trades + 1 == event.trade_id == state.trades
    assert (lou.account, win.account, BTC) == (event.account, event.counterparty, event.instrument)
    assert (Side.SELL, amount("40000"), price) == (event.side, event.amount, event.price)
    assert (lou.realised, win.realised) == (event.profit, event.counterparty_profit)
    assert state.time == event.time
    assert (amount("60000"), -amount("60000")) == (lou.size, win.size)
    assert interest - amount("40000") == venue.market(BTC).open_interest
    venue.do(Continue(), check=True)


def test_a_transfer_books_and_reports_the_funding_of_both_sides() -> None:
    """Each side books its accrued funding against the pool; the event has both sizes."""
    venue = venue_after_fall()
    venue.checked = False
    state, market = venue.exchange.state, venue.market(BTC)
    lou, win = position_of(venue, "lou"), position_of(venue, "win")
    market.funding_index += 10**19
    expected = [each.accrued_funding(market.funding_index) for each in (lou, win)]
    assert expected[0] == -expected[1] < 0
    before = [lou.funding, win.funding]
    state.events = []
    insurance.transfer_position(state, lou, win, amount("40000"), 7)
    (event,) = of_type(state.events, Transferred)
    assert expected == [event.funding, event.counterparty_funding]
    assert (lou.size, win.size) == (event.position, event.counterparty_position)
    assert [a + b for a, b in zip(before, expected, strict=True)] == [lou.funding, win.funding]
    assert market.funding_index == lou.funding_index == win.funding_index


def test_a_takeover_is_reported() -> None:
    """The event has account, market, amount and price."""
    venue = venue_after_fall(fund="10")
    venue.checked = False
    state = venue.exchange.state
    state.events = []
    insurance.take_over(state, position_of(venue, "lou"), 0)
    (event,) = of_type(state.events, Liquidated)
    (transfer,) = of_type(state.events, Transferred)
    assert (venue.number("lou"), "BTC", BTC) == (event.account, event.currency, event.instrument)
    assert LiquidationStep.TAKEN_OVER is event.step
    assert (amount("100000"), transfer.price) == (event.amount, event.price)


def test_the_fund_adds_a_takeover_to_its_own_position() -> None:
    """A position of the opposite side reduces its margin, so it is accepted."""
    venue = with_fund_position()
    state = venue.exchange.state
    fund = position_of(venue, INSURANCE)
    lou = position_of(venue, "lou")
    together = standard_margin.initial(venue.market(BTC), fund.size + lou.size)
    credit(venue, INSURANCE, together - fund.wallet.margin_balance)
    assert insurance.accepts(state, lou, 0)
    assert not insurance.accepts(state, lou, -1)
    credit(venue, INSURANCE, -1)
    assert not insurance.accepts(state, lou, 0)
    assert insurance.accepts(state, lou, 1)
    # Win's short is larger than the fund's long: the takeover would reduce the fund's size.
    credit(venue, INSURANCE, -fund.wallet.margin_balance)
    win = position_of(venue, "win")
    assert not insurance.accepts(state, win, 0)


def test_the_fund_needs_the_margin_of_its_other_positions_to_accept_one() -> None:
    """A position in another market still needs its own initial margin."""
    venue = with_fund_position()
    venue.trade("gus", "win", WEEKLY, "20000", "47000")
    state = venue.exchange.state
    insurance.take_over(state, position_of(venue, "gus", WEEKLY), 0)
    fund, lou = position_of(venue, INSURANCE), position_of(venue, "lou")
    elsewhere = position_of(venue, INSURANCE, WEEKLY).initial
    assert elsewhere > 0
    together = standard_margin.initial(venue.market(BTC), fund.size + lou.size)
    credit(venue, INSURANCE, elsewhere + together - fund.wallet.margin_balance)
    assert insurance.accepts(state, lou, 0)
    assert not insurance.accepts(state, lou, -1)
