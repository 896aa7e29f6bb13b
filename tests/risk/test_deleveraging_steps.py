"""Single steps of a deleveraging: the accounts that it ranks, skips and closes against."""

from __future__ import annotations

import pytest

from risk import deleveraging
from risk.deleveraging import Deleverage
from risk.events import Transferred
from risk.state import INSURANCE
from tests.risk.bankruptcy import credit, position_of, venue_after_fall
from tests.risk.venue import BTC, of_type, open_venue


@pytest.mark.parametrize("long", [True, False])
def test_a_deleveraging_ranks_the_opposite_side(long: bool) -> None:
    """It asks for the ranking of that side, and marks its pass as successful."""
    venue = open_venue(checked=False, lou={"BTC": "0.06"}, win={"BTC": "1"})
    venue.trade(*(("lou", "win") if long else ("win", "lou")), BTC, "100000", "50000")
    venue.tick(btc_usd="47000" if long else "53200")
    state = venue.exchange.state
    phase = Deleverage(venue.number("lou"), BTC)
    while not phase.done:
        phase.advance(state, 5)
    assert [(BTC, -1 if long else 1)] == list(state.watch.rankings.by_side)
    assert phase.closed
    assert 0 == venue.size("lou", BTC) == venue.size("win", BTC)


@pytest.mark.parametrize(
    ("left", "closed", "cursor", "again"),
    [(0, False, 64, True), (0, False, 63, False), (0, True, 64, False), (1, False, 64, False)],
)
def test_a_full_ranking_without_any_trade_continues_below_its_last_account(
    left: int, closed: bool, cursor: int, again: bool
) -> None:
    """A ranking that was not full, that led to a trade, or that has accounts left does not."""
    venue = venue_after_fall()
    state, lou = venue.exchange.state, position_of(venue, "lou")
    rest = [(1, -998)] * left
    ranking = [*rest, (2, -999)]
    phase = Deleverage(
        lou.account, BTC, cursor=cursor, ranking=ranking, scanned=True, closed=closed
    )
    phase._close_next(state, venue.market(BTC), lou, 5)
    expected = ([(2, -999)], 0, False) if again else (rest, cursor, True)
    assert expected == (phase.ranking, phase.cursor, phase.scanned)


def test_starting_a_new_ranking_is_one_step() -> None:
    """It uses no more of the budget."""
    venue = venue_after_fall()
    phase = Deleverage(venue.number("lou"), BTC, scanned=True, closed=True)
    assert 1 == phase.advance(venue.exchange.state, 1)
    assert not phase.scanned


def test_the_insurance_fund_is_never_deleveraged() -> None:
    """Even if its balance would bear the loss."""
    venue = venue_after_fall()
    state, lou = venue.exchange.state, position_of(venue, "lou")
    fund = state.position(INSURANCE, venue.market(BTC))
    fund.size = -lou.size
    credit(venue, INSURANCE, 10**15)
    assert not deleveraging._is_eligible(state, lou, fund, 0)


def test_a_counterparty_that_has_closed_its_position_is_skipped() -> None:
    """No transfer of nothing is reported."""
    venue = venue_after_fall()
    venue.checked = False
    venue.open("idle", BTC="1")
    venue.buy("idle", BTC, "10", "40000")
    state, win, idle = venue.exchange.state, venue.number("win"), venue.number("idle")
    ranking = [(1, -win), (2, -idle)]
    phase = Deleverage(venue.number("lou"), BTC, ranking=ranking, scanned=True)
    state.events = []
    phase.advance(state, 100)
    assert [win] == [event.counterparty for event in of_type(state.events, Transferred)]


@pytest.mark.parametrize(("ranked", "stays"), [(1, True), (2, False), (64, False)])
def test_the_last_account_of_a_full_ranking_stays_even_if_it_cannot_bear_the_loss(
    ranked: int, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next ranking starts below it. With fewer candidates there is no next ranking."""
    monkeypatch.setattr("risk.deleveraging.RANKED", ranked)
    venue = venue_after_fall()
    venue.checked = False
    state, lou, win = venue.exchange.state, position_of(venue, "lou"), position_of(venue, "win")
    credit(venue, win.account, -win.wallet.margin_balance)
    phase = Deleverage(lou.account, BTC)
    while not phase.scanned:
        phase._rank_next(state, venue.market(BTC), lou)
    assert [-win.account] * stays == [account for _, account in phase.ranking]
    assert 1 == phase.cursor
