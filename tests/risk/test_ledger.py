"""Each change of a balance is an event, and an account's events sum to its balance."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from random import Random

import pytest
from attrs import define, field

from book.units import DAY, HOUR
from risk import ledger, snapshot
from risk.commands import Deposit, Entry, Withdraw
from risk.events import (
    Booked,
    BookingKind,
    Event,
    LossShared,
    PositionSettled,
    SettlementKind,
    Traded,
    Transferred,
)
from risk.exchange import Exchange
from risk.state import FEES, FIRST_CLIENT, FUNDING_POOL, INSURANCE, ROUNDING, State
from tests.hypothesis_settings import EFFORT
from tests.risk.random_commands import RandomCommands, small_venue
from tests.risk.venue import BTC, MONTHLY, WEEKLY, Venue, money, of_type, open_venue

Place = tuple[int, str]
"""(account, instrument)."""


@define
class Statement:
    """Balances, positions and results computed from events alone."""

    balances: dict[tuple[int, str], int] = field(factory=dict)
    totals: dict[tuple[int, str], Counter[BookingKind]] = field(
        factory=lambda: defaultdict(Counter)
    )
    sizes: Counter[Place] = field(factory=Counter)
    realised: Counter[Place] = field(factory=Counter)
    funding: Counter[Place] = field(factory=Counter)

    def add(self, event: Event) -> None:
        """Add one event."""
        match event:
            case Booked():
                assert event.amount, "what changes nothing is no event"
                key = event.account, event.currency
                assert self.balances.get(key, 0) + event.amount == event.balance
                self.balances[key] = event.balance
                self.totals[key][event.kind] += event.amount
            case Traded():
                for side in (event.maker, event.taker):
                    place = side.account, event.instrument
                    self._fill(place, side.side.sign * event.amount, side.profit, side.funding)
                    assert side.position == self.sizes[place]
            case Transferred():
                signed = event.side.sign * event.amount
                place = event.account, event.instrument
                self._fill(place, signed, event.profit, event.funding)
                assert event.position == self.sizes[place]
                place = event.counterparty, event.instrument
                self._fill(place, -signed, event.counterparty_profit, event.counterparty_funding)
                assert event.counterparty_position == self.sizes[place]
            case PositionSettled():
                place = event.account, event.instrument
                assert self.sizes[place] == event.size
                self.realised[place] = self.funding[place] = 0
                if event.kind is SettlementKind.DELIVERY:
                    self.sizes[place] = 0

    def _fill(self, place: Place, signed: int, profit: int, funding: int) -> None:
        self.sizes[place] += signed
        self.realised[place] += profit + funding
        self.funding[place] += funding

    def check(self, state: State) -> None:
        """Check that the state has exactly these balances, sizes and results."""
        for account in state.accounts.values():
            for currency, wallet in account.wallets.items():
                key = account.number, currency
                assert self.balances.get(key, 0) == wallet.balance
                assert self.totals[key] == Counter(wallet.booked)
                held = {(account.number, name) for name in wallet.positions}
                assert sum(self.realised[place] for place in held) == wallet.session_profit
        for market in state.markets.values():
            for position in market.positions.values():
                place = position.account, market.name
                assert self.realised[place] == position.realised
                assert self.funding[place] == position.funding
                # `rounding` takes over delivered positions without a trade.
                if position.account != ROUNDING:
                    assert self.sizes[place] == position.size
        held = {(p.account, m.name) for m in state.markets.values() for p in m.positions.values()}
        for place in (self.sizes + self.realised + self.funding).keys() - held:
            assert (0, 0, 0) == (self.sizes[place], self.realised[place], self.funding[place])


def random_day(seed: int) -> RandomCommands:
    """Odd days begin before a month's end, since weekly futures have no delivery fee."""
    venue = small_venue()
    venue.checked = False
    if seed % 2:
        expiry = venue.market(MONTHLY).instrument.expiry
        assert expiry is not None
        venue.tick(expiry - DAY - venue.time)
        venue.finish()
        venue.trade("ann", "ben", MONTHLY, "1000", "50000")
    return RandomCommands(venue, Random(seed))


@pytest.fixture(scope="module", params=range(40, 40 + 6 * EFFORT))
def day(request: pytest.FixtureRequest) -> Venue:
    """Return a random day, whose events were checked against the state after every step."""
    random_commands, statement, seen = random_day(request.param), Statement(), 0
    venue = random_commands.venue
    for _ in range(500):
        random_commands.step()
        for events in venue.events[seen:]:
            for event in events:
                statement.add(event)
        seen = len(venue.events)
        statement.check(venue.exchange.state)
    return venue


def test_events_alone_give_balances_positions_and_results(day: Venue) -> None:
    """`day` checks this; here, payments between accounts sum to zero by kind."""
    state = day.exchange.state
    for currency in state.currencies():
        sums = Counter[BookingKind]()
        for wallet in state.wallets[currency].values():
            sums.update(wallet.booked)
        deposits = sums.pop(BookingKind.DEPOSIT, 0) + sums.pop(BookingKind.WITHDRAWAL, 0)
        assert state.deposited.get(currency, 0) == deposits
        # Session results are neither deposited nor paid by one account to another.
        for kind in (BookingKind.SETTLEMENT, BookingKind.DELIVERY, BookingKind.FUNDING):
            sums.pop(kind, 0)
        assert all(not total for total in sums.values()), sums


def test_a_booking_precedes_its_event_and_refers_to_it(day: Venue) -> None:
    """This holds for clients; bookings of system accounts come last."""
    for entry, events in zip(day.entries, day.events, strict=True):
        booked = [event for event in events if isinstance(event, Booked)]
        house = [event for event in booked if event.account < FIRST_CLIENT]
        assert house == events[len(events) - len(house) :]
        assert all((0, "") == (event.reference, event.instrument) for event in house)
        kinds = [(event.account, event.currency, event.kind) for event in house]
        assert len(kinds) == len(set(kinds))
        pending = [event for event in booked if event.account >= FIRST_CLIENT]
        for event in events:
            for booking in _bookings(event):
                if booking[2]:
                    found = next(b for b in pending if booking == _line(b))
                    assert events.index(found) < events.index(event)
                    pending.remove(found)
        for left in pending:
            assert _stands_alone(left, entry, events)


def _line(event: Booked) -> tuple[int, BookingKind, int, int, str]:
    return event.account, event.kind, event.amount, event.reference, event.instrument


def _bookings(event: Event) -> Iterator[tuple[int, BookingKind, int, int, str]]:
    """Return the bookings of clients that an event requires."""
    match event:
        case Traded():
            for side in (event.maker, event.taker):
                if side.account >= FIRST_CLIENT:
                    fee = BookingKind.TRADE_FEE if side.fee > 0 else BookingKind.MAKER_REBATE
                    kind = BookingKind.LIQUIDATION_FEE if side.liquidation else fee
                    yield side.account, kind, -side.fee, event.trade_id, ""
        case PositionSettled() if event.account >= FIRST_CLIENT:
            kind = BookingKind(event.kind.value)
            yield event.account, kind, event.profit, event.time, event.instrument


def _stands_alone(booked: Booked, entry: Entry, events: list[Event]) -> bool:
    """Return whether the booking has no other event of its account."""
    match booked.kind:
        case BookingKind.DEPOSIT | BookingKind.WITHDRAWAL:
            assert isinstance(entry.command, Deposit | Withdraw)
            assert (entry.sequence, "") == (booked.reference, booked.instrument)
            return abs(booked.amount) == entry.command.amount
        case BookingKind.INSURANCE:
            assert (entry.sequence, "") == (booked.reference, booked.instrument)
            return booked.amount > 0
        case BookingKind.DELIVERY_FEE:
            return any(
                isinstance(event, PositionSettled)
                and (event.account, event.instrument) == (booked.account, booked.instrument)
                for event in events
            )
        case BookingKind.SOCIALISED_LOSS:
            return booked.amount < 0
    return False


def test_random_days_have_bookings_of_every_kind() -> None:
    """The exception is the kind for old snapshots. Shared losses equal the amounts taxed.

    Some kinds are rare: runs are added until all have occurred.
    """
    expected = set(BookingKind) - {BookingKind.BROUGHT_FORWARD}
    kinds: set[BookingKind] = set()
    for seed in range(60, 180):
        if seed >= 84 and expected == kinds:
            break
        random_commands = random_day(seed)
        for _ in range(400):
            random_commands.step()
        events = [event for events in random_commands.venue.events for event in events]
        kinds |= {event.kind for event in of_type(events, Booked)}
        losses = of_type(events, LossShared)
        taxed = {loss.time: loss.taxed for loss in losses}
        shared = Counter[int]()
        for event in of_type(events, Booked):
            if event.kind is BookingKind.SOCIALISED_LOSS and event.account >= FIRST_CLIENT:
                shared[event.reference] -= event.amount
        for time, total in taxed.items():
            assert total <= shared[time]
    assert expected == kinds


def test_a_fill_is_booked_on_both_sides() -> None:
    """The taker's fee has the trade's id; the credit to `fees` is of the whole order."""
    venue = open_venue(ann={"BTC": "1"}, ben={"BTC": "1"}, cat={"BTC": "1"})
    venue.sell("ann", BTC, "10000", "50000")
    venue.sell("ben", BTC, "10000", "50000")
    events = venue.buy("cat", BTC, "20000", "50000")
    cat = venue.number("cat")
    first, second = of_type(events, Traded)
    fee = money("0.0001")
    assert [
        Booked(cat, "BTC", BookingKind.TRADE_FEE, -fee, money("0.9999"), first.trade_id),
        Booked(cat, "BTC", BookingKind.TRADE_FEE, -fee, money("0.9998"), second.trade_id),
        Booked(FEES, "BTC", BookingKind.TRADE_FEE, 2 * fee, 2 * fee),
    ] == of_type(events, Booked)
    names = [type(event).__name__ for event in events]
    assert ["Booked", "Traded", "Booked", "Traded", "Ordered"] == names[:5]
    assert "Booked" == names[-1]


def test_a_fill_reports_position_profit_and_funding() -> None:
    """A client can keep its accounts without requesting positions."""
    venue = open_venue(ann={"BTC": "10"}, ben={"BTC": "10"})
    venue.trade("ann", "ben", BTC, "50000", "50000")
    venue.market(BTC).premium = venue.market(BTC).mark // 500
    for _ in range(30):
        venue.tick(1000)
    index = venue.market(BTC).funding_index
    assert index
    position = venue.position("ann", BTC)
    assert position is not None
    accrued = position.accrued_funding(index)
    assert accrued < 0
    events = venue.trade("ben", "ann", BTC, "80000", "50000")
    (trade,) = of_type(events, Traded)
    taker, maker = trade.taker, trade.maker
    assert (-30_000 * 10**8, 30_000 * 10**8) == (taker.position, maker.position)
    assert (accrued, -accrued) == (taker.funding, maker.funding)
    wallet = venue.wallet("ann", "BTC")
    assert taker.profit + taker.funding == wallet.session_profit


def test_funding_is_booked_on_the_pool_only_when_it_is_realised() -> None:
    """The pool pays one side when it realises funding, until the other side realises its own."""
    venue = open_venue(ann={"BTC": "10"}, ben={"BTC": "10"}, cat={"BTC": "10"})
    venue.trade("ann", "ben", BTC, "50000", "50000")
    venue.market(BTC).premium = venue.market(BTC).mark // 500
    for _ in range(30):
        venue.tick(1000)
    events = venue.trade("cat", "ann", BTC, "50000", "50000")
    (trade,) = of_type(events, Traded)
    pool = [event for event in of_type(events, Booked) if event.account == FUNDING_POOL]
    assert [(BookingKind.FUNDING, -trade.taker.funding)] == [(e.kind, e.amount) for e in pool]


def test_a_flat_account_has_a_delivery_event_for_its_result() -> None:
    """An account that closed before the expiry has a session result too."""
    venue = open_venue(ann={"BTC": "10"}, ben={"BTC": "10"}, cat={"BTC": "10"})
    expiry = venue.market(WEEKLY).instrument.expiry
    assert expiry is not None
    venue.do(venue.entries[-1].command, at=expiry - HOUR)
    venue.finish()
    venue.trade("ann", "ben", WEEKLY, "50000", "50000")
    venue.trade("cat", "ann", WEEKLY, "50000", "50100")
    assert 0 == venue.size("ann", WEEKLY)
    events = venue.do(venue.entries[1].command, at=expiry) + venue.finish()
    ann = venue.number("ann")
    (settled,) = [e for e in of_type(events, PositionSettled) if e.account == ann]
    (booked,) = [e for e in of_type(events, Booked) if e.account == ann]
    assert settled.profit == booked.amount != 0
    assert (SettlementKind.DELIVERY, 0) == (settled.kind, settled.size)


def test_a_liquidation_fee_makes_the_fund_unwatched() -> None:
    """Its margin changes with its balance, as that of an account that is charged."""
    venue = open_venue(ann={"BTC": "0.1"}, ben={"BTC": "10"}, insurance={"BTC": "1"})
    venue.trade("ann", "ben", BTC, "200000", "50000")
    venue.buy("ben", BTC, "200000", "49200")
    venue.tick(btc_usd="49000")
    state = venue.exchange.state
    state.watch.unwatched.clear()
    events = venue.liquidate()
    fund = [e for e in of_type(events, Booked) if e.account == INSURANCE]
    assert [BookingKind.LIQUIDATION_FEE] == [event.kind for event in fund]
    assert (INSURANCE, "BTC") in state.watch.unwatched


def test_a_snapshot_without_bookings_brings_its_balances_forward() -> None:
    """Balances and paid fees are unchanged, and later bookings add to them."""
    venue = open_venue(ann={"BTC": "1"}, ben={"BTC": "1"})
    venue.trade("ann", "ben", BTC, "10000", "50000")
    wallet = venue.wallet("ben", "BTC")
    balance, fees = wallet.balance, ledger.fees_paid(wallet)
    assert fees > 0
    written = json.loads(snapshot.dump(venue.exchange.state))
    for account in written["accounts"]:
        for facts in account["wallets"]:
            del facts["booked"]
            facts["fees"] = fees if account["number"] == wallet.account else 0
    old = Exchange(snapshot.load(json.dumps(written).encode()))
    restored = old.state.wallet(wallet.account, "BTC")
    assert {BookingKind.BROUGHT_FORWARD: balance} == restored.booked
    assert fees == ledger.fees_paid(restored)
    venue.exchange, venue.checked = old, True
    venue.trade("ann", "ben", BTC, "10000", "50000")
    again = snapshot.load(snapshot.dump(old.state)).wallet(wallet.account, "BTC")
    assert (restored.booked, 2 * fees) == (again.booked, ledger.fees_paid(again))
