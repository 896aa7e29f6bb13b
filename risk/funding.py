"""Funding: what one side of a perpetual pays the other while its mark strays from the index.

premium p = (mark - index) / index per 8 hours; rate = max(d, p) + min(-d, p), within the cap;
payment = rate x notional at the index x time / 8 h; longs pay when it is positive
(API reference, funding). It accrues in an index per market, and positions settle against
that index when they are touched.
"""

from __future__ import annotations

from book.units import FUNDING, HOUR, RATE, SCALE, round_half_even
from risk.market import Market

INTERVAL = 8 * HOUR


def rate(market: Market) -> int:
    """The 8-hour rate, in 1e-12, that the present mark and index give."""
    index = market.index.price
    if not market.instrument.perpetual or not index:
        return 0
    dampener, cap = market.terms.funding_dampener, market.terms.funding_cap
    premium = round_half_even((market.mark - index) * RATE, index)
    damped = max(dampener, premium) + min(-dampener, premium)
    return max(-cap, min(cap, damped))


def accrue(market: Market, time: int) -> None:
    """Carry the market's funding index forward to `time` at the rate in force."""
    elapsed = time - market.funding_time
    market.funding_time = time
    if not market.funding_rate or elapsed <= 0:
        return
    due = market.funding_rate * elapsed
    market.rate_integral += due
    index = market.index.price
    if market.instrument.contract.inverse:
        step = round_half_even(due * FUNDING * SCALE, RATE * INTERVAL * index)
    else:
        step = round_half_even(due * FUNDING * index, RATE * INTERVAL * SCALE)
    market.funding_index += step
