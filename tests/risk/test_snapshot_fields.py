"""Every field of every class of the state is in its snapshot, or is listed here as derived."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import attrs
import msgspec
import pytest

from book.order import Order
from risk import snapshot
from risk.market import Averaging, Index, Market
from risk.position import Position, Wallet
from risk.snapshot import (
    AccountFacts,
    MarketFacts,
    OrderFacts,
    PositionFacts,
    SessionFacts,
    StateFacts,
    WalletFacts,
)
from risk.state import Account, Phase, Session, State
from tests.risk.random_commands import RandomCommands, small_venue

# By class: the class of its facts, its derived and temporary fields, and the renamed facts.
DERIVED: dict[type, tuple[type, set[str], set[str]]] = {
    State: (
        StateFacts,
        {"marks", "wallets", "watch"} | {"origin", "events", "report"},
        {"currencies"},
    ),
    Market: (
        MarketFacts,
        {"book", "initials", "positions", "cost"}
        | {"name", "currency", "maker_rate", "taker_rate", "contract_size", "value"},
        {"queue"},
    ),
    Wallet: (
        WalletFacts,
        {"account", "key", "model"}
        | {"marks", "profit", "initial", "maintenance", "stale_positions", "stale"},
        set(),
    ),
    Position: (
        PositionFacts,
        {"wallet", "buys", "sells", "reduced", "reducing", "initial_stale", "margin_stale"}
        | {"reserves", "reserved", "reserves_at", "profit", "initial", "maintenance"},
        set(),
    ),
    Account: (AccountFacts, set(), set()),
    Session: (SessionFacts, set(), set()),
    # Open orders: not cancelled, not liquidation orders, which never rest.
    Order: (
        OrderFacts,
        {"instrument", "state", "cancel_reason", "liquidation", "level", "previous", "next"},
        set(),
    ),
}


def names(kind: type) -> set[str]:
    """Return the fields of a class of the state."""
    if attrs.has(kind):
        return {each.name for each in attrs.fields(kind)}
    return set(kind.__struct_fields__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", DERIVED)
def test_every_field_is_in_the_snapshot_or_derived(kind: type) -> None:
    """A new field must be added to one of the two."""
    facts, derived, renamed = DERIVED[kind]
    written = names(facts)
    assert names(kind) - derived == written - renamed
    assert not derived & written
    assert derived <= names(kind)


def test_classes_written_by_msgspec_have_plain_fields() -> None:
    """Indices and phases are written whole by msgspec, which omits no field."""
    assert attrs.has(Index)
    assert attrs.has(Averaging) or issubclass(Averaging, msgspec.Struct | tuple)
    for phase in snapshot._PHASES.values():
        assert attrs.has(phase)
        assert set(Phase.__annotations__) <= names(phase)


def busy_state() -> dict[str, Any]:
    """Return the snapshot of a venue in the middle of a random day, as JSON."""
    venue = small_venue()
    venue.checked = False
    random_commands = RandomCommands(venue, Random(11))
    for _ in range(400):
        random_commands.step()
    written: dict[str, Any] = json.loads(snapshot.dump(venue.exchange.state))
    return written


def numbers(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the places of all numbers."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from numbers(value, (*path, key))
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from numbers(value, (*path, place))
    elif isinstance(node, int) and not isinstance(node, bool):
        yield path


REFERENCES = {
    "order_id",
    "overtaken",
    "number",
    "orders",
    "queue",
    "good_til_day",
    "due",
    "outcomes",
    "account",
}
"""Ids, which occur in several places and must not be changed in one of them."""


def test_every_number_that_is_written_is_read() -> None:
    """A snapshot with a changed number is a different state, which writes that number again."""
    whole = busy_state()
    tried: Counter[str] = Counter()
    for path in list(numbers(whole)):
        name = ".".join(part for part in path if isinstance(part, str))
        if set(name.split(".")) & REFERENCES or name.endswith("queue.price") or tried[name] == 2:
            continue
        *parents, last = path
        node: Any = whole
        for part in parents:
            node = node[part]
        if last == "balance" and not node["booked"]:
            # A balance without bookings is converted to a booking when it is loaded.
            continue
        before = node[last]
        node[last] = before + 1
        document = json.dumps(whole)
        node[last] = before
        assert json.loads(document) == json.loads(snapshot.dump(snapshot.load(document.encode())))
        tried[name] += 1
    for name in ("rate_integral", "settlement_price", "last_tick", "funding_index", "mark"):
        assert tried[f"markets.{name}"]
    for name in ("round", "balance", "positions.carry", "positions.cost", "positions.funding"):
        assert tried[f"accounts.wallets.{name}"]
