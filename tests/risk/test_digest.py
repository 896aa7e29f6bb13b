"""The same entries give the same state and the same events, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from book.order import SelfTrading, Side, TimeInForce
from risk.commands import (
    Cancel,
    ClosePosition,
    Command,
    Continue,
    Deposit,
    Edit,
    EndSession,
    EndSessions,
    Entry,
    OpenAccount,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    SetSelfTrading,
    StartSession,
    Tick,
    Withdraw,
)
from risk.events import Event
from risk.exchange import Exchange
from risk.risk_terms import Parameters
from tests.risk.random_commands import RandomCommands, small_venue
from tests.risk.venue import BTC, amount, open_venue, price

ROOT = Path(__file__).parents[2]
SEEDS = range(3)
STEPS = 250


def random_day(seed: int) -> tuple[list[Entry], Exchange, list[list[Event]]]:
    venue = small_venue()
    venue.checked = False
    random_commands = RandomCommands(venue, Random(seed))
    for _ in range(STEPS):
        random_commands.step()
    return venue.entries, venue.exchange, venue.events


def run_hash(digest: str, events: list[list[Event]]) -> str:
    """Hash the state and events of a run. Structs print all their fields, in order."""
    return f"{digest} {blake2b(repr(events).encode(), digest_size=16).hexdigest()}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_entries_give_the_same_digest_and_events(seed: int) -> None:
    """A replay passes through the same states, entry by entry."""
    entries, exchange, events = random_day(seed)
    replayed = Exchange()
    assert events == [replayed.apply(entry) for entry in entries]
    assert exchange.digest() == replayed.digest()


def test_checks_and_views_change_nothing() -> None:
    """They may fill caches, but the digest equals that of a venue without them."""
    entries, exchange, events = random_day(7)
    replayed = Exchange()
    for entry, expected in zip(entries, events, strict=True):
        assert expected == replayed.apply(entry)
        replayed.check()
    assert exchange.digest() == replayed.digest()


def test_another_hash_seed_gives_the_same_digest() -> None:
    """PYTHONHASHSEED has no effect: no result depends on the order of a set or a hash."""
    expected = [
        run_hash(exchange.digest(), events) for _, exchange, events in map(random_day, SEEDS)
    ]
    for hash_seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.risk.test_digest"]
        result = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert expected == result.stdout.splitlines()


def test_every_effect_of_a_command_shows_in_the_digest() -> None:
    """Commands with equal number and time each give a different digest."""
    ann, ben = 101, 102
    bid = Place(
        account=ann, instrument=BTC, side=Side.BUY, amount=amount("10"), price=price("49999")
    )
    alternatives: list[Command] = [
        Continue(),
        bid,
        replace(bid, label="x"),
        replace(bid, price=price("49999.5")),
        replace(bid, amount=amount("20")),
        replace(bid, time_in_force=TimeInForce.GOOD_TIL_DAY),
        replace(bid, account=ben),
        replace(bid, post_only=True),
        Edit(account=ann, order_id=3, amount=amount("10")),
        Edit(account=ann, order_id=3, post_only=True),
        Cancel(account=ann, order_id=3),
        ClosePosition(account=ann, instrument=BTC, price=price("50100")),
        Deposit(account=ann, currency="BTC", amount=1),
        Withdraw(account=ann, currency="BTC", amount=1),
        OpenAccount(account=150, name="x"),
        OpenAccount(account=150, name="y"),
        StartSession(session=3, account=ann),
        StartSession(session=3, account=ben),
        EndSession(session=4),
        EndSessions(before=2),
        SetCancelOnDisconnect(account=ann, session=0, enabled=True),
        SetSelfTrading(account=ann, mode=SelfTrading.CANCEL_MAKER),
        SetParameters(parameters=Parameters(slice=7)),
        Tick(prices=()),
        Tick(prices=(("btc_usd", price("50001")),)),
    ]
    seen: dict[str, Command] = {}
    for command in alternatives:
        venue = open_venue(ann={"BTC": "1"}, ben={"BTC": "1"})
        venue.trade("ben", "ann", BTC, "30", "50000")
        venue.buy("ann", BTC, "20", "49000")
        venue.do(command)
        other = seen.setdefault(venue.exchange.digest(), command)
        assert other is command, (other, command)


if __name__ == "__main__":
    for _seed in SEEDS:
        _, _exchange, _events = random_day(_seed)
        sys.stdout.write(run_hash(_exchange.digest(), _events) + "\n")
