"""A venue where a price fall has used up an account's margin, for tests of liquidations."""

from __future__ import annotations

from risk import ledger, margin_cache
from risk.events import (
    BookingKind,
    SettlementKind,
)
from risk.position import Position
from tests.risk.venue import (
    BTC,
    Venue,
    open_venue,
)

DELIVERY = SettlementKind.DELIVERY


def position_of(venue: Venue, account: str | int, instrument: str = BTC) -> Position:
    """Return an existing position, refreshed to the present marks."""
    held = venue.position(account, instrument)
    assert held is not None
    margin_cache.refresh(venue.exchange.state, held.wallet)
    return held


def venue_after_fall(at: str = "47000", fund: str = "0", **parameters: object) -> Venue:
    """Return a venue where Lou is long 100,000 USD on little money, after a fall of the index."""
    venue = open_venue(
        parameters=dict(parameters),
        insurance={"BTC": fund} if fund != "0" else {},
        lou={"BTC": "0.06"},
        win={"BTC": "1"},
    )
    venue.trade("lou", "win", BTC, "100000", "50000")
    venue.tick(btc_usd=at)
    return venue


def credit(venue: Venue, account: int, units: int) -> None:
    """Credit an account from the deficit, so that money is conserved."""
    state = venue.exchange.state
    for wallet, sum_in in ((state.wallet(account, "BTC"), units), (state.deficit("BTC"), -units)):
        ledger.book(state, wallet, sum_in, BookingKind.INSURANCE, state.sequence)
