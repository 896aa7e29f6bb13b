"""The short path of the entry report reports the same events as its tables."""

from __future__ import annotations

from random import Random

import pytest
from attrs import define

from book.order import Order
from risk import snapshot
from risk.commands import Entry
from risk.entry_report import EntryReport
from risk.events import Event
from risk.exchange import Exchange
from risk.position import Position
from tests.risk.random_commands import ORDINARY, STORM, RandomCommands, small_venue


@define(eq=False)
class PlainReport(EntryReport):
    """A report that puts every order into the tables, also the first of an entry."""

    first_orders: int = 0

    def add_order(self, order: Order, position: Position) -> None:
        """Note an order and what depends on it."""
        self.first_orders += not (self.orders or self.markets or self.wallets)
        self.orders[order.order_id] = order
        self.markets[position.market.name] = position.market
        self.wallets[position.wallet] = None


@pytest.mark.parametrize("seed", range(6))
def test_an_entry_with_one_order_is_reported_as_by_the_tables(seed: int) -> None:
    """Entry by entry, two venues with the two kinds of report return equal events."""
    venue = small_venue()
    venue.checked = False
    plain = Exchange(snapshot.load(snapshot.dump(venue.exchange.state)))
    report = plain.state.report = PlainReport()

    def compare(entry: Entry, events: list[Event]) -> None:
        assert plain.apply(entry) == events

    venue.followers.append(compare)
    commands = RandomCommands(venue, Random(seed), STORM if seed % 2 else ORDINARY)
    for _ in range(400):
        commands.step()
    assert report.first_orders > 20, "many entries begin with an order"
    assert plain.digest() == venue.exchange.digest()
