"""`Exchange.check` detects any manual change of an index, total, cache or schedule."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import attrs
import msgspec
import pytest
from sortedcontainers import SortedDict

from book.order import CancelReason, Order, OrderState, OrderType, Side, TimeInForce
from book.orderbook import OrderBook
from book.units import MONEY, SECOND
from risk import invariants, snapshot
from risk.background_work import CancelOrders
from risk.commands import Origin, SetCancelOnDisconnect
from risk.entry_report import EntryReport
from risk.events import BookingKind, MarketState
from risk.idempotency import Outcomes
from risk.market import Averaging, Index, Market
from risk.position import Position, Wallet
from risk.settlement import Settlement
from risk.state import Account, Due, Session, State
from tests.risk.random_commands import RandomCommands, small_venue
from tests.risk.restored_venue import weights_of
from tests.risk.test_snapshot_fields import DERIVED
from tests.risk.venue import BTC, WEEKLY, Venue, open_venue, price


def trading() -> Venue:
    """Return a venue with positions, accrued funding, a session and orders in every index."""
    venue = open_venue(
        checked=False, ann={"BTC": "1"}, ben={"BTC": "1"}, mia={"BTC": "10"}, cat={"BTC": "1"}
    )
    command = SetCancelOnDisconnect(account=venue.number("ann"), session=0, enabled=True)
    venue.do(command)
    venue.login("ann", 7)
    venue.trade("ann", "ben", BTC, "10000", "50000")
    venue.trade("ann", "ben", WEEKLY, "1000", "50000")
    venue.buy("mia", BTC, "100000", "50200")
    venue.sell("mia", BTC, "100000", "50300")
    venue.tick(after=600 * SECOND)
    venue.trade("cat", "ben", BTC, "10", "50250")
    venue.tick(after=600 * SECOND)
    for number in ("49000", "48900"):
        terms = {"session": 7, "time_in_force": TimeInForce.GOOD_TIL_DAY}
        venue.buy("ann", BTC, "10", number, **terms)
    venue.buy("ben", BTC, "10", "49000")
    for number in ("50400", "50500"):
        venue.sell("ann", BTC, "1000", number, reduce_only=True)
    venue.tick()
    venue.finish()
    venue.exchange.check()
    return venue


def change_pool(venue: Venue) -> None:
    """Change a balance and its bookings alike, so that their sums agree."""
    for wallet, amount in (
        (venue.exchange.state.funding_pool("BTC"), -MONEY),
        (venue.wallet("ann", "BTC"), MONEY),
    ):
        wallet.balance += amount
        booked = wallet.booked.get(BookingKind.SETTLEMENT, 0)
        wallet.booked[BookingKind.SETTLEMENT] = booked + amount


def below_zero(venue: Venue) -> None:
    for name, amount in (("ann", -5 * MONEY), ("ben", 5 * MONEY)):
        wallet = venue.wallet(name, "BTC")
        wallet.balance += amount
        wallet.booked[BookingKind.DEPOSIT] = wallet.booked.get(BookingKind.DEPOSIT, 0) + amount


def out_of_turn(venue: Venue) -> None:
    book = venue.market(BTC).book
    head = book.bids.levels[price("49000")].head
    assert head is not None
    book.remove(head)
    book.add(head)
    book.take_changes()


def reversed_index(orders: dict[int, Order]) -> None:
    for number in list(orders)[:-1]:
        orders[number] = orders.pop(number)


def held(venue: Venue) -> Position:
    position = venue.position("ann", BTC)
    assert position is not None
    return position


def first_order(venue: Venue) -> Order:
    return venue.orders("ann")[0]


CORRUPTIONS: dict[str, Callable[[Venue, State], object]] = {
    "good-til-day index emptied": lambda v, _: v.market(BTC).good_til_day.popitem(),
    "good-til-day index reordered": lambda v, _: reversed_index(v.market(BTC).good_til_day),
    "session index emptied": lambda _, s: s.sessions[7].orders.clear(),
    "session index of another order": lambda v, s: s.sessions[7].orders.update(
        {o.order_id: o for o in v.orders("ann")}
    ),
    "funding accrued by one position": lambda v, _: setattr(
        held(v), "funding_index", held(v).funding_index - 10**16
    ),
    "funding pool moved to an account": lambda v, _: change_pool(v),
    "what was booked of funding": lambda v, _: setattr(
        v.market(BTC), "funded", v.market(BTC).funded + 1
    ),
    "schedule emptied": lambda _, s: s.due.clear(),
    "schedule without one item": lambda _, s: s.due.pop(),
    "schedule with one item more": lambda _, s: s.due.append((2**60, Due.LISTING, "")),
    "schedule in disorder": lambda _, s: s.due.sort(reverse=True),
    "reduce-only orders reordered": lambda v, _: setattr(
        held(v), "reducing", OrderedDict(reversed(held(v).reducing.items()))
    ),
    "reduce-only orders forgotten": lambda v, _: held(v).reducing.clear(),
    "cost of a position": lambda v, _: setattr(held(v), "cost", held(v).cost * 2),
    "average price of an order": lambda v, _: setattr(first_order(v), "average_price", 1),
    "cost of an order": lambda v, _: setattr(first_order(v), "cost", 1),
    "watch emptied": lambda _, s: [each.clear() for each in (s.watch.ends, s.watch.unwatched)],
    "watch without a wallet": lambda _, s: s.watch.versions.__setitem__(0, 99),
    "a client below zero": lambda v, _: below_zero(v),
    "settlement without a phase": lambda v, _: setattr(
        v.market(BTC), "state", MarketState.SETTLEMENT
    ),
    "a phase without settlement": lambda _, s: s.phases.append(Settlement("BTC", 0, {}, 0)),
    "a queue out of turn": lambda v, _: out_of_turn(v),
    "orders of an account reordered": lambda v, s: reversed_index(s.accounts[101].orders),
    "orders of a position reordered": lambda v, _: reversed_index(held(v).orders),
    "open interest": lambda v, _: setattr(v.market(BTC), "open_interest", 0),
    "a balance": lambda v, _: setattr(v.wallet("ann", "BTC"), "balance", 0),
    "session profit": lambda v, _: setattr(v.wallet("ann", "BTC"), "session_profit", 1),
    "carry": lambda v, _: setattr(held(v), "carry", held(v).carry + 1),
    "size": lambda v, _: setattr(held(v), "size", held(v).size + 10),
    "realised profit": lambda v, _: setattr(held(v), "realised", held(v).realised + 1),
    "deposits": lambda _, s: s.deposited.__setitem__("BTC", 0),
    "a market under another name": lambda _, s: s.markets.__setitem__("X", s.markets.pop(BTC)),
    "a wallet out of its index": lambda _, s: s.wallets["BTC"].pop(101),
    "a level with unreported changes": lambda v, _: v.market(BTC).book.bids.touched.update({1: 1}),
    "an order of another side": lambda v, _: setattr(first_order(v), "side", Side.SELL),
    "an order that is over": lambda v, _: setattr(first_order(v), "state", OrderState.FILLED),
    "price band": lambda v, _: setattr(v.market(BTC), "low", 1),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_manual_corruption_is_detected(name: str) -> None:
    """Each corruption is applied to a sound venue, which passes the check without it."""
    venue = trading()
    CORRUPTIONS[name](venue, venue.exchange.state)
    with pytest.raises(AssertionError):
        venue.exchange.check()


UNPROVABLE = {
    State: {
        "marks": "a version; another makes caches be worked out anew",
        "origin": "of the last entry",
        "events": "of the last entry",
        "watch": "see the corruptions above, and tests/risk/test_margin_watch.py",
    },
    Wallet: {
        "marks": "a version",
        "profit": "stale after a Tick until asked for",
        "initial": "stale after a Tick until asked for",
        "maintenance": "stale after a Tick until asked for",
        "model": "there is one",
        "stale": "see stale_positions",
    },
    Position: {
        "reserves_at": "a version",
        "profit": "stale after a Tick until asked for",
        "initial": "stale after a Tick until asked for",
        "maintenance": "stale after a Tick until asked for",
    },
    Market: {"initials": "of the standard margin model alone"},
}
"""Derived fields in which more than one value is valid, and the reason."""


@pytest.fixture(scope="module")
def states() -> list[bytes]:
    """Return states from random runs, some of them with work in progress of every kind."""
    snapshots = []
    for seed in range(1, 7):
        venue = small_venue(slice=2)
        venue.checked = False
        random_commands = RandomCommands(venue, random.Random(seed), weights_of(seed))
        for _ in range(120):
            random_commands.step()
        snapshots.append(snapshot.dump(venue.exchange.state))
    return snapshots


def objects(state: State, kind: type) -> Iterator[Any]:
    """Return all objects of a class in a state."""
    wallets = [wallet for by_account in state.wallets.values() for wallet in by_account.values()]
    by_class: dict[type, Any] = {
        State: [state],
        Account: state.accounts.values(),
        Session: state.sessions.values(),
        Market: state.markets.values(),
        Index: state.indices.values(),
        Wallet: wallets,
        Position: [position for wallet in wallets for position in wallet.positions.values()],
        Order: [order for market in state.markets.values() for order in market.book],
    }
    return iter(by_class[kind])


OTHER: dict[str, Callable[[State], Any]] = {
    "averaging": lambda _: Averaging(1, 1),
    "window": lambda _: Averaging(1, 1),
    "original_type": lambda _: OrderType.MARKET,
    "cancel_reason": lambda _: CancelReason.USER_REQUEST,
    "first": lambda _: (1, 2),
    "level": lambda _: None,
    "previous": lambda s: next(iter(next(iter(s.markets.values())).book), 1),
    "next": lambda s: next(iter(next(iter(s.markets.values())).book), 1),
    "book": lambda _: OrderBook("other"),
    "value": lambda _: lambda size, price: size,
    "key": lambda _: (1, "other"),
    "wallet": lambda _: Wallet(1, "other"),
    "index": lambda _: Index("other"),
    "reserves": lambda _: {10**9: 5},
    "phases": lambda _: deque([CancelOrders(101, [1], CancelReason.SETTLEMENT)]),
    "outcomes": lambda _: {"101": Outcomes(OrderedDict({"101:key": b"{}"}))},
    "undecided": lambda _: {"101": {"101:key": Origin(key="101:key")}},
    "expired": lambda s: deque(list(s.markets.values())[:1]),
    "report": lambda _: EntryReport(wallets={Wallet(1, "other"): None}),
    "orders": lambda s: {order.order_id: order for m in s.markets.values() for order in m.book},
}
"""A different value for a field that is neither a number nor text."""


def changed(state: State, kind: type, name: str, value: Any) -> Any:
    """Return a different value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, Enum):
        members = list(type(value))
        return members[(members.index(value) + 1) % len(members)]
    if isinstance(value, msgspec.Struct) and not isinstance(value, Order):
        field = next(f for f in value.__struct_fields__ if isinstance(getattr(value, f), int))
        return msgspec.structs.replace(value, **{field: getattr(value, field) + 1})
    if isinstance(value, dict | SortedDict) and value:
        fewer = value.copy()
        fewer.popitem()
        return fewer
    if isinstance(value, list):
        return value[:-1] if value else [0]
    other = OTHER.get(f"{kind.__name__}.{name}") or OTHER.get(name)
    return value if other is None else other(state)


def cases(derived: bool) -> list[tuple[type, str]]:
    """Return (class, field) of all derived fields, or of all fields in the snapshot."""
    result = []
    for kind, (facts, ours, _) in DERIVED.items():
        names = ours if derived else set(facts.__struct_fields__)  # type: ignore[attr-defined]
        skipped = UNPROVABLE.get(kind, {}) if derived else {"currencies", "queue", "market"}
        result += [(kind, name) for name in sorted(names) if name not in skipped]
    return result


@pytest.mark.parametrize(("kind", "name"), cases(derived=True), ids=str)
def test_a_wrong_derived_field_is_detected(states: list[bytes], kind: type, name: str) -> None:
    """Every field outside the snapshot follows from the others, so `check` can verify it."""
    tried = 0
    for data in states:
        for place in range(3):
            state = snapshot.load(data)
            every = list(objects(state, kind))
            target = every[place * len(every) // 3]
            original = getattr(target, name)
            value = changed(state, kind, name, original)
            if value is original:
                continue
            setattr(target, name, value)
            tried += 1
            with pytest.raises((AssertionError, KeyError, AttributeError, TypeError)):
                invariants.check(state)
    assert tried


@pytest.mark.parametrize(("kind", "name"), cases(derived=False), ids=str)
def test_every_field_of_the_snapshot_changes_the_digest(
    states: list[bytes], kind: type, name: str
) -> None:
    """Two states that differ in any fact have different digests."""
    tried = 0
    for data in states:
        state = snapshot.load(data)
        before = snapshot.digest(state)
        for target in list(objects(state, kind))[:20]:
            original = getattr(target, name)
            value = changed(state, kind, name, original)
            if value == original:
                continue
            setattr(target, name, value)
            assert before != snapshot.digest(state)
            setattr(target, name, original)
            tried += 1
            break
    assert tried


@pytest.mark.parametrize("name", [each.name for each in attrs.fields(EntryReport)])
def test_changes_left_unreported_are_detected(states: list[bytes], name: str) -> None:
    """Between two entries every table of the report is empty."""
    state = snapshot.load(states[0])
    setattr(state.report, name, {None: None})
    with pytest.raises(AssertionError):
        invariants.check(state)
