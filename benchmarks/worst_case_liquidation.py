"""Worst cases of liquidation and auto-deleveraging."""

from __future__ import annotations

from msgspec.structs import replace

from benchmarks.worst_case_venue import FIRST, MAKER, Venue
from book.calendar import next_settlement
from book.order import Side
from book.units import SECOND
from risk.commands import (
    Continue,
    Liquidate,
    SetProduct,
)
from risk.contract_specs import LEGACY_2025
from risk.liquidation import pending


def liquidate(size: int) -> float:
    """Run a liquidation round for an account with many open orders."""
    venue = Venue()
    venue.open(FIRST, 0.35)
    venue.trade(FIRST, MAKER, 20_000)
    for _ in range(size):
        venue.order(FIRST, Side.BUY, 1, 49_500)
    venue.tick(btc_usd=46_000)
    venue.finish()
    return venue.longest(Liquidate(account=FIRST, currency="BTC"))


def deleverage(size: int, *, ready: bool = True, reduce_only: int = 0) -> float:
    """Close a bankrupt position against the highest-ranked of many winners.

    With `ready` the ranking is complete before the round, as the supervisor ensures.
    """
    venue = Venue()
    winners, contracts = venue.crowd(size, 1), max(10, reduce_only)
    loser = winners.stop
    venue.open(loser, 0.06 * size * contracts * 10 / 50_000)
    for account in winners:
        venue.trade(loser, account, contracts)
        for _ in range(reduce_only):
            venue.order(account, Side.BUY, 1, 49_500, reduce_only=True)
    venue.tick(btc_usd=45_000)
    venue.finish()
    if ready:
        ranked(venue)
    return venue.longest(Liquidate(account=loser, currency="BTC"))


def deleverage_cutting(size: int) -> float:
    """Deleverage against winners with many reduce-only orders each."""
    return deleverage(3, reduce_only=size)


def crash(size: int, orders: int = 0) -> tuple[Venue, int]:
    """Build a venue with many winners, with open orders each, and one bankrupt loser."""
    venue = Venue()
    winners = venue.crowd(size, 10)
    loser = winners.stop
    venue.open(loser, 0.06 * size * 10 * 10 / 50_000)
    for account in winners:
        venue.trade(loser, account, 10)
    venue.tick(btc_usd=45_000)
    venue.finish()
    for account in winners:
        for _ in range(orders):
            venue.order(account, Side.SELL, 1, 44_700)
    return venue, loser


def ranked(venue: Venue) -> float:
    """Return the seconds of the longest step until all rankings for liquidation are complete."""
    longest, found = 0.0, False

    def ask() -> None:
        nonlocal found
        found = bool(pending(venue.exchange.state))

    for _ in range(10_000):
        longest = max(longest, venue.measure(ask))
        if found:
            return longest
        longest = max(longest, venue.measure(lambda: venue.do(Continue())))
    raise AssertionError("liquidation is never proposed")


def deleverage_everywhere(size: int) -> float:
    """Deleverage an account that is bankrupt in many markets, with several winners in each."""
    venue = Venue()
    contract, terms = LEGACY_2025[0]
    for number in range(size // 5):
        # Each adds a perpetual and four dated futures.
        family = replace(contract, family=f"B{number}", dated=True)
        venue.do(SetProduct(contract=family, terms=terms))
    venue.tick()
    markets = [m.name for m in venue.exchange.state.markets.values() if m.currency == "BTC"]
    winners = venue.crowd(20, 1_000)
    loser = winners.stop
    venue.open(loser, 0.06 * len(winners) * len(markets) * 100 / 50_000)
    for account in winners:
        for name in markets:
            venue.trade(loser, account, 10, name)
    venue.tick(btc_usd=45_000)
    venue.finish()
    longest = ranked(venue)
    return max(longest, venue.longest(Liquidate(account=loser, currency="BTC")))


def choose_next(size: int) -> float:
    """Return the seconds that choosing the next liquidations takes, with many open orders."""
    venue = Venue()
    accounts = venue.crowd(40, 0.05)
    venue.hold(accounts, 4_000)
    for account in accounts:
        for _ in range(size):
            venue.order(account, Side.SELL, 1, 50_700, reduce_only=True)
    venue.tick(btc_usd=45_100)
    venue.finish()
    venue.tick(btc_usd=45_101)
    return venue.measure(lambda: pending(venue.exchange.state))


def deleverage_with_orders(size: int) -> float:
    """Deleverage against winners with many open orders each, whose reserves a Tick changed."""
    venue, loser = crash(20, size)
    venue.time += SECOND
    longest = venue.longest(venue.heartbeat(btc_usd=45_001))
    longest = max(longest, ranked(venue))
    return max(longest, venue.longest(Liquidate(account=loser, currency="BTC")))


def deleverage_after_settlement(size: int) -> float:
    """Deleverage against winners who were settled after they had been ranked."""
    venue, loser = crash(size)
    ranked(venue)
    for standing in venue.exchange.state.watch.rankings.by_side.values():
        standing.used = True
    venue.time = next_settlement(venue.time)
    longest = venue.longest(venue.heartbeat())
    longest = max(longest, ranked(venue))
    return max(longest, venue.longest(Liquidate(account=loser, currency="BTC")))
