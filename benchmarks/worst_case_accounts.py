"""Worst cases of work on all accounts: settlement, expiry, Ticks and new products."""

from __future__ import annotations

from benchmarks.worst_case_venue import MAKER, START, TAKER, Venue
from book.calendar import Period, next_settlement
from book.order import Side, TimeInForce
from book.units import DAY, HOUR, MONEY, SECOND
from risk.commands import (
    Continue,
    Deposit,
    Liquidate,
    Place,
    SetProduct,
)
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from risk.market import Market
from risk.risk_terms import LossPolicy


def held_everywhere(size: int) -> Venue:
    """Build accounts with a position and a good-til-day order in every market of a currency."""
    venue = Venue()
    markets = [m.name for m in venue.exchange.state.markets.values() if m.currency == "BTC"]
    for account in venue.crowd(size):
        for name in markets:
            venue.trade(account, MAKER, 1, name)
            venue.order(account, Side.BUY, 1, 49_000, name, time_in_force=TimeInForce.GOOD_TIL_DAY)
    return venue


def settlement(size: int) -> float:
    """Run the daily settlement."""
    venue = held_everywhere(size)
    venue.time = next_settlement(venue.time)
    return venue.longest(venue.heartbeat())


def expiry(size: int) -> float:
    """Deliver a future that all accounts hold, with the settlement of all other markets."""
    venue = held_everywhere(size)
    ends = [m.instrument.expiry for m in venue.exchange.state.markets.values()]
    venue.time = min(end for end in ends if end is not None)
    return venue.longest(venue.heartbeat())


def expiry_with_orders(size: int) -> float:
    """Deliver a future held by accounts with many orders in other markets."""
    # An hour before a month's end: no fee is taken of weeklies.
    venue = Venue(time=START + 23 * DAY + 19 * HOUR)
    market = next(
        market
        for market in venue.exchange.state.markets.values()
        if market.currency == "BTC" and market.instrument.period is Period.MONTH
    )
    for account in venue.crowd(40):
        venue.trade(account, MAKER, 1, market.name)
        for number in range(size):
            venue.order(account, Side.BUY, 1, 49_300 + number % 600)
    assert market.instrument.expiry is not None
    venue.tick(btc_usd=50_001)
    venue.finish()
    venue.time = market.instrument.expiry
    # Without a Tick these accounts are not measured before the delivery.
    venue.do(Continue())
    return venue.longest(Continue())


def jump(size: int) -> float:
    """Let the clock jump by a number of days."""
    venue = held_everywhere(100)
    venue.time += size * DAY
    return venue.longest(venue.heartbeat())


def shared_loss(size: int) -> float:
    """Share a loss among many winners at the settlement."""
    venue = Venue(parameters={"loss_policy": LossPolicy.SOCIALISE})
    winners = venue.crowd(size)
    loser = winners.stop
    venue.open(loser, 0.01 * size)
    for account in winners:
        venue.trade(loser, account, 400)
    venue.tick(btc_usd=35_000)
    venue.finish()
    venue.do(Liquidate(account=loser, currency="BTC"))
    venue.finish()
    assert venue.exchange.state.deficit("BTC").balance < 0
    venue.time = next_settlement(venue.time)
    return venue.longest(venue.heartbeat())


def endangered(size: int, *, deep: bool = False) -> float:
    """Apply a Tick that endangers all accounts, or (`deep`) one with books of small orders."""
    venue = Venue()
    venue.hold(venue.crowd(size, 0.005), 400)
    if deep:
        for market in venue.exchange.state.markets.values():
            fill_thinly(venue, market)
    venue.tick()
    venue.finish()
    venue.time += SECOND
    return venue.longest(venue.heartbeat(btc_usd=47_500 if not deep else 50_001))


def fill_thinly(venue: Venue, market: Market) -> None:
    """Add levels of one contract until both sides have enough liquidity for a fair price."""
    contract, tick = market.instrument.contract, market.instrument.contract.tick
    levels = market.terms.impact_amount // contract.contract_size
    best = market.instrument.floor_to_tick(market.mark)
    currency = contract.currency
    for account in (TAKER, MAKER):
        venue.do(Deposit(account=account, currency=currency, amount=10**9 * MONEY))
    for number in range(1, min(levels, 2_000) + 1):
        for account, side in ((TAKER, Side.BUY), (MAKER, Side.SELL)):
            price = best - side.sign * number * tick
            if market.low <= price <= market.high:
                command = Place(
                    account=account,
                    instrument=market.name,
                    side=side,
                    amount=contract.contract_size,
                    price=price,
                )
                venue.do(command)


def set_product(size: int) -> float:
    """Set new terms for a product that all accounts hold."""
    venue = Venue()
    venue.hold(venue.crowd(size), 1)
    contract, terms = LEGACY_2025[0]
    return venue.longest(SetProduct(contract=contract, terms=terms))


def add_currency(size: int) -> float:
    """Add the first product in a currency at a venue with many accounts."""
    venue = Venue(exchange=Exchange())
    venue.crowd(size)
    contract, terms = LEGACY_2025[0]
    new = {"family": "XRP", "base": "XRP", "currency": "XRP", "index": "xrp_usd"}
    fields = {name: getattr(contract, name) for name in contract.__struct_fields__} | new
    return venue.longest(SetProduct(contract=type(contract)(**fields), terms=terms))
