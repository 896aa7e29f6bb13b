"""Funding: payments between the two sides of a perpetual while its mark differs from the index.

premium p = (mark - index) / index per 8 hours; rate = max(d, p) + min(-d, p), within the cap;
payment = rate x notional at the index x time / 8 h; longs pay when it is positive
(API reference, funding). Each market accrues funding in a funding index; a position books the
difference to that index when it changes.

Trades, transfers and settlements book funding up to their own time. Margin includes funding up
to the last Tick, as it uses the marks of that Tick. Without Ticks, `carry` accrues funding every
second. The amounts do not depend on how many entries lie between two points in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from book.units import FUNDING, HOUR, RATE, SCALE, SECOND, round_half_even
from risk.market import Market

if TYPE_CHECKING:
    from risk.state import State

INTERVAL = 8 * HOUR

LATE: Final = 2 * SECOND
"""Time without a Tick after which funding accrues to margin without one. Normally Ticks arrive
once a second and funding accrues only with them, since each accrual makes all cached margins
stale."""


def rate(market: Market) -> int:
    """Return the 8-hour rate at the present mark and index, in 1e-12."""
    index = market.index.price
    if not market.instrument.perpetual or not index:
        return 0
    dampener, cap = market.terms.funding_dampener, market.terms.funding_cap
    premium = round_half_even((market.mark - index) * RATE, index)
    damped = max(dampener, premium) + min(-dampener, premium)
    return max(-cap, min(cap, damped))


def accrue(market: Market, time: int) -> None:
    """Advance the market's funding index to `time` at the current rate."""
    elapsed = time - market.funding_time
    if elapsed <= 0:
        return
    market.funding_index = index_at(market, time)
    market.funding_time = time
    due = market.funding_rate * elapsed
    market.rate_integral += due
    market.funding_due += due


def fix(market: Market, time: int) -> None:
    """Accrue up to `time`, before a change of rate or index price."""
    accrue(market, time)
    market.funding_due = 0


def index_at(market: Market, time: int) -> int:
    """Return the market's funding index at `time`, or at its last accrual if that is later.

    All funding since the last change of rate or index price is rounded once, so the result does
    not depend on the number of accruals in between.
    """
    elapsed, due = time - market.funding_time, market.funding_due
    if not market.funding_rate or elapsed <= 0:
        return market.funding_index
    later = due + market.funding_rate * elapsed
    return market.funding_index - _per_unit(market, due) + _per_unit(market, later)


def carry(state: State) -> None:
    """Accrue funding without a Tick, up to a whole number of seconds after the last one."""
    time = state.time - (state.time - state.heartbeat) % SECOND
    changed = False
    for market in state.markets.values():
        if market.funding_rate and market.funding_time < time:
            accrue(market, time)
            changed = True
    if changed:
        state.marks += 1
        state.watch.on_marks_changed()


def _per_unit(market: Market, due: int) -> int:
    """Return the payment per unit of size for `due` (rate x milliseconds), in 1e-24."""
    index = market.index.price
    if market.instrument.contract.inverse:
        return round_half_even(due * FUNDING * SCALE, RATE * INTERVAL * index)
    return round_half_even(due * FUNDING * index, RATE * INTERVAL * SCALE)
