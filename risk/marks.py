"""Marks: mark prices and price bands, computed from index and order book.

mark = term + running average of (fair - term). The fair price is the middle of the impact bid
and ask, the prices at which a small notional would trade. Once per whole second the average
moves towards the present sample by 1/30 of the difference. Sample and mark stay within the
instrument's band around the term. The term is the index price. In the last half hour of a dated
future it is the delivery price that results if the index does not change any more, which is then
the value of the future.
"""

from __future__ import annotations

from book.depth import impact_price
from book.order import Side
from book.units import RATE, SECOND, round_half_even
from risk.market import Market

HORIZON = 30
_SETTLED_SECONDS = 40 * HORIZON
"""Seconds after which the average equals its sample to the last digit."""


def update(market: Market, time: int) -> None:
    """Update the mark and price band of a market, unless it has expired."""
    if not market.index.price or market.ended(time):
        return
    term = estimated_delivery(market, time)
    reach = term * market.terms.mark_band_rate // RATE
    second = time // SECOND
    elapsed = min(second - market.premium_second, _SETTLED_SECONDS)
    if elapsed > 0:
        market.premium_second = second
        sample = _clamp(fair_price(market, term) - term, reach)
        distance = market.premium - sample
        remaining = round_half_even(distance * (HORIZON - 1) ** elapsed, HORIZON**elapsed)
        market.premium = sample + remaining
    step = market.terms.mark_step
    steps = _clamp(round_half_even(market.premium, step), reach // step)
    market.mark = max(term + steps * step, market.instrument.contract.tick)
    market.low, market.high = market.instrument.band(market.mark)


def fair_price(market: Market, term: int | None = None) -> int:
    """Return the middle of impact bid and ask.

    Where one side lacks the impact amount, return the other side's price, limited by the term;
    where both do, the term. The default term is the index price.
    """
    if term is None:
        term = market.index.price
    amount = market.terms.impact_amount
    bid = impact_price(market.book, market.instrument, Side.BUY, amount)
    ask = impact_price(market.book, market.instrument, Side.SELL, amount)
    if bid is None and ask is None:
        return term
    if ask is None:
        return max(term, bid or 0)
    if bid is None:
        return min(term, ask)
    return round_half_even(bid + ask, 2)


def delivery_price(market: Market, time: int) -> int:
    """Return the time-weighted index from the start of the averaging window to `time`, in 1e-8."""
    window, index = market.averaging, market.index
    if window is None or not index.since:
        return index.price
    since = max(window.since, index.since)
    if time <= since:
        return index.price
    return round_half_even(index.integral_at(time) - window.integral, time - since)


def estimated_delivery(market: Market, time: int) -> int:
    """Return the delivery price for an index that stays constant; before the window, the index."""
    window, index, expiry = market.averaging, market.index, market.instrument.expiry
    if window is None or expiry is None or time >= expiry:
        return index.price
    since = max(window.since, index.since)
    total = expiry - since
    return round_half_even(index.integral_at(expiry) - window.integral, total)


def _clamp(value: int, reach: int) -> int:
    return max(-reach, min(reach, value))
