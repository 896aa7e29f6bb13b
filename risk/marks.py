"""Marks: from index to mark price and price bands.

mark = index + running average of (fair - index), where fair is the middle of what a small
notional would trade at on either side. The average moves once per whole second towards the
present sample, by 1/30. Sample and mark stay within the instrument's band around the index.
In a dated future's last half hour the index term is the delivery price as it then stands.
"""

from __future__ import annotations

from book.depth import impact_price
from book.order import Side
from book.units import MINUTE, RATE, SECOND, round_half_even
from risk.market import Market

AVERAGING_WINDOW = 30 * MINUTE
HORIZON = 30
_SETTLED_SECONDS = 40 * HORIZON
"""After so many seconds the average has reached its sample to the last digit."""


def update(market: Market, time: int) -> None:
    """Move a market's mark and band to the present index and book; one that ended stays."""
    index = market.index.price
    if not index or market.ended(time):
        return
    reach = index * market.terms.mark_band_rate // RATE
    second = time // SECOND
    elapsed = min(second - market.premium_second, _SETTLED_SECONDS)
    if elapsed > 0:
        market.premium_second = second
        sample = _clamp(fair_price(market) - index, reach)
        away = market.premium - sample
        kept = round_half_even(away * (HORIZON - 1) ** elapsed, HORIZON**elapsed)
        market.premium = sample + kept
    step = market.terms.mark_step
    premium = round_half_even(_clamp(market.premium, reach), step) * step
    market.mark = max(estimated_delivery(market, time) + premium, market.instrument.contract.tick)
    market.low, market.high = market.instrument.band(market.mark)


def fair_price(market: Market) -> int:
    """The middle of impact bid and ask; a side too thin to count is bounded by the index."""
    index = market.index.price
    amount = market.terms.impact_amount
    bid = impact_price(market.book, market.instrument, Side.BUY, amount)
    ask = impact_price(market.book, market.instrument, Side.SELL, amount)
    if bid is None and ask is None:
        return index
    if ask is None:
        return max(index, bid or 0)
    if bid is None:
        return min(index, ask)
    return round_half_even(bid + ask, 2)


def delivery_price(market: Market, time: int) -> int:
    """Time-weighted index from the start of the averaging window to `time`, in 1e-8."""
    window, index = market.averaging, market.index
    if window is None or not index.since:
        return index.price
    since = max(window.since, index.since)
    if time <= since:
        return index.price
    return round_half_even(index.integral_at(time) - window.integral, time - since)


def estimated_delivery(market: Market, time: int) -> int:
    """The delivery price if the index stayed where it is; the index itself before the window."""
    window, index, expiry = market.averaging, market.index, market.instrument.expiry
    if window is None or expiry is None or time >= expiry:
        return index.price
    since = max(window.since, index.since)
    total = expiry - since
    return round_half_even(index.integral_at(expiry) - window.integral, total)


def _clamp(value: int, reach: int) -> int:
    return max(-reach, min(reach, value))
