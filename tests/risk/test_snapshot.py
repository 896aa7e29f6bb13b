"""A state restored from a snapshot equals the original."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from risk import margin, snapshot
from risk.commands import Entry
from risk.events import Event
from risk.exchange import Exchange
from risk.state import FIRST_CLIENT
from tests.risk.random_commands import RandomCommands, small_venue

STEPS = 250
SEEDS = range(4)


def random_day(seed: int) -> tuple[list[Entry], list[list[Event]], str]:
    """Return the entries of a random day, their events and the final state."""
    venue = small_venue()
    venue.checked = False
    random_commands = RandomCommands(venue, Random(seed))
    for _ in range(STEPS):
        random_commands.step()
    return venue.entries, venue.events, venue.exchange.digest()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restored_venue_has_the_same_later_results(seed: int) -> None:
    """The restart is at any entry, also during background work."""
    entries, events, digest = random_day(seed)
    exchange = Exchange()
    when = Random(seed)
    for entry, expected in zip(entries, events, strict=True):
        if when.random() < 0.05:
            exchange = Exchange(snapshot.load(snapshot.dump(exchange.state)))
            exchange.check()
        assert expected == exchange.apply(entry)
    assert digest == exchange.digest()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restored_state_gives_the_same_snapshot(seed: int) -> None:
    """Dumping the loaded state gives the same bytes."""
    entries, _, _ = random_day(seed)
    exchange = Exchange()
    for entry in entries:
        exchange.apply(entry)
    dumped = snapshot.dump(exchange.state)
    assert dumped == snapshot.dump(snapshot.load(dumped))


def test_a_restored_venue_finds_the_endangered_accounts() -> None:
    """The watch is not in the snapshot: it measures every wallet and agrees with a scan."""
    endangered = 0
    exchange = Exchange()
    for number, entry in enumerate(entry for seed in (12, 18, 19) for entry in random_day(seed)[0]):
        if entry.sequence == 1:
            exchange = Exchange()
        exchange.apply(entry)
        if number % 5 and not exchange.state.watch.endangered:
            continue
        state = snapshot.load(snapshot.dump(exchange.state))
        while state.watch.incomplete:
            state.watch.advance(state, 1)
        expected = {
            (wallet.account, wallet.currency)
            for currency in state.currencies()
            for wallet in state.wallets[currency].values()
            if wallet.account >= FIRST_CLIENT and margin.is_locked(state, wallet)
        }
        watched = {key for key in state.watch.endangered if key[0] >= FIRST_CLIENT}
        assert expected == watched
        endangered += len(expected)
    assert endangered, "some accounts were endangered"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"time": 1}', b"\xff"])
def test_invalid_bytes_are_not_loaded(data: bytes) -> None:
    """They raise an error, and no partial state results."""
    with pytest.raises(msgspec.DecodeError):
        snapshot.load(data)
