"""A fifth off every price in ten steps, among a hundred thousand accounts with positions.

This is the clearing house alone, in processor time: each step is a Tick with what it has to carry
on, then a maker who quotes at the new mark, then a round for every account that the watch calls
endangered, worst first, until none is left; another client places an order every so many
rounds, as it gets between them in a venue. In the end a scan of all accounts, which does not ask
the watch, looks for any that still is below its maintenance margin and had no round.

The insurance fund can bear every loss. What it costs when it cannot, and who is in profit has to
bear it, is measured with fewer accounts: each such loss looks at all of them.

    python benchmarks/storm.py [--quick]
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Final

# Python puts this file's own directory first, and there `book` would be another benchmark.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crowd import percentile
from benchmarks.figures import Figure, command
from benchmarks.margin import (
    CONTRACTS,
    CURRENCIES,
    INSTRUMENTS,
    MAKER,
    TRADER,
    Venue,
    taking_price,
    venue_with,
)
from book.order import Side
from book.units import MONEY
from risk import liquidation, margin
from risk.commands import Cancel, CancelAll, Deposit, Liquidate
from risk.state import INSURANCE

STEPS: Final = 10
BETWEEN: Final = 32
"""Liquidations in a batch of the log, which come before the orders of others."""

CALM_ORDERS: Final = 1_000


def order(venue: Venue) -> float:
    """Seconds of an order of another client that rests, and is cancelled afterwards."""
    name = INSTRUMENTS[0]
    market = venue.market(name)
    low = market.instrument.floor_to_tick(market.mark * 99 // 100)
    amount = market.instrument.contract.contract_size
    number = venue.place(TRADER, name, Side.BUY, amount, price=low)
    taken = venue.seconds
    venue.apply(Cancel(account=TRADER, order_id=number))
    return taken


def quote(venue: Venue, accounts: int) -> None:
    """Let the maker take what is liquidated, a tick off the mark."""
    venue.apply(CancelAll(account=MAKER))
    for name in INSTRUMENTS:
        market = venue.market(name)
        held = market.positions.get(MAKER)
        room = market.terms.position_limit - (abs(held.size) if held is not None else 0)
        amount = min(room, accounts * CONTRACTS * market.instrument.contract.contract_size)
        for side in Side if amount > 0 else ():
            venue.place(MAKER, name, side, amount, taking_price(venue, name, side.opposite))


def liquidate(venue: Venue, rounds: list[float], orders: list[float]) -> set[tuple[int, str]]:
    """Rounds for all that are due after a Tick, and orders between them; returns who was due."""
    state = venue.exchange.state
    tried: set[tuple[int, str]] = set()
    met: set[tuple[int, str]] = set()
    while (due := liquidation.pending(state, tried=tried)) or venue.exchange.busy:
        for number, (account, currency) in enumerate(due):
            if number % BETWEEN == 0:
                orders.append(order(venue))
            venue.apply(Liquidate(account=account, currency=currency))
            rounds.append(venue.seconds)
            tried.add((account, currency))
        met |= tried
        if venue.exchange.busy:
            rounds += venue.finish()
            # An account that could not have a round before may have one now, as in the supervisor.
            tried.clear()
    return met


def forgotten(venue: Venue) -> int:
    """Wallets below maintenance margin that hold a position and had no round since the Tick."""
    state = venue.exchange.state
    return sum(
        margin.is_locked(state, wallet) and wallet.round != state.ticks
        for currency in CURRENCIES
        for wallet in state.wallets[currency].values()
        if any(position.size for position in wallet.positions.values())
    )


def endow(venue: Venue) -> None:
    """Let the insurance fund bear every loss."""
    for currency in CURRENCIES:
        venue.apply(Deposit(account=INSURANCE, currency=currency, amount=10**9 * MONEY))


def storm(accounts: int, title: str, *, insured: bool) -> list[Figure]:
    """One storm, with an insurance fund or without."""
    gc.disable()
    venue = venue_with(accounts)
    if insured:
        endow(venue)
    gc.collect()
    gc.freeze()
    gc.enable()
    calm = [order(venue) for _ in range(CALM_ORDERS)]
    start = dict(venue.prices)
    ticks: list[float] = []
    rounds: list[float] = []
    orders: list[float] = []
    met: set[tuple[int, str]] = set()
    # One more Tick after the last: whom a hand-over endangered is looked at with the next.
    for step in [*range(1, STEPS + 1), STEPS]:
        venue.prices = {
            name: price * (100 - 20 * step // STEPS) // 100 for name, price in start.items()
        }
        venue.tick()
        ticks += [venue.seconds, *venue.finish()]
        quote(venue, accounts)
        met |= liquidate(venue, rounds, orders)
    missed = forgotten(venue)
    venue.exchange.check()
    gc.unfreeze()
    whole, times = sum(ticks) + sum(rounds), percentile(orders, 99) / percentile(calm, 99)
    longest = max(*ticks, *rounds)
    return [
        Figure(
            f"{title}: {accounts:,} accounts, -20 % in {STEPS} steps (core alone)",
            "all due accounts are liquidated",
            f"{len(met):,} were due, {missed} forgotten; all balances sum up",
            not missed,
        ),
        Figure(
            f"{title}: p99 of others' orders (core alone)",
            "≤ 5 x calm",
            f"{percentile(orders, 99) * 1e6:.0f} µs, {times:.1f} x calm",
            times <= 5,
        ),
        Figure(
            f"{title}: time and cost",
            "given",
            f"{whole:.1f} s of processor; {sum(rounds) / len(met) * 1e6:.0f} µs an account, "
            f"longest entry {longest * 1e3:.0f} ms",
        ),
    ]


def measure(quick: bool) -> list[Figure]:
    """Building the accounts takes longer than the first storm, though not than the second."""
    return [
        *storm(2_000 if quick else 100_000, "storm", insured=True),
        *storm(500 if quick else 2_000, "storm without an insurance fund", insured=False),
    ]


if __name__ == "__main__":
    command(__doc__, measure)
