"""Marks: from index to mark price and price bands.

mark = term + running average of (fair - term), where fair is the middle of what a small
notional would trade at on either side. The average moves once per whole second towards the
present sample, by 1/30. Sample and mark stay within the instrument's band around the term.
The term is the index; in a dated future's last half hour it is the delivery price that the
index gives if it stays where it is, for that is what the instrument is then worth.
"""

from __future__ import annotations

from book.depth import impact_price
from book.order import Side
from book.units import RATE, SECOND, round_half_even
from risk.market import Market

HORIZON = 30
_SETTLED_SECONDS = 40 * HORIZON
"""After so many seconds the average has reached its sample to the last digit."""


def update(market: Market, time: int) -> None:
    """Move a market's mark and band to the present index and book; one that ended stays."""
    if not market.index.price or market.ended(time):
        return
    term = estimated_delivery(market, time)
    reach = term * market.terms.mark_band_rate // RATE
    second = time // SECOND
    elapsed = min(second - market.premium_second, _SETTLED_SECONDS)
    if elapsed > 0:
        market.premium_second = second
        sample = _clamp(fair_price(market, term) - term, reach)
        away = market.premium - sample
        kept = round_half_even(away * (HORIZON - 1) ** elapsed, HORIZON**elapsed)
        market.premium = sample + kept
    step = market.terms.mark_step
    steps = _clamp(round_half_even(market.premium, step), reach // step)
    market.mark = max(term + steps * step, market.instrument.contract.tick)
    market.low, market.high = market.instrument.band(market.mark)


def fair_price(market: Market, term: int | None = None) -> int:
    """The middle of impact bid and ask; a side too thin to count is bounded by the term.

    Without a term it is the index.
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
