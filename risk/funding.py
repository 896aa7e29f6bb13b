"""Funding: what one side of a perpetual pays the other while its mark strays from the index.

premium p = (mark - index) / index per 8 hours; rate = max(d, p) + min(-d, p), within the cap;
payment = rate x notional at the index x time / 8 h; longs pay when it is positive
(API reference, funding). It accrues in an index per market, and positions settle against
that index when they are touched.

Trades and hand-overs book funding up to their own moment, settlements up to theirs. Margin is
as of the last Tick, like the marks it is measured at; when no Tick comes, `carry` brings funding
to it by the second. How many entries lie between two moments makes no difference to any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from book.units import FUNDING, HOUR, RATE, SCALE, SECOND, round_half_even
from risk.market import Market

if TYPE_CHECKING:
    from risk.state import State

INTERVAL = 8 * HOUR

LATE: Final = 2 * SECOND
"""After so long without a Tick, margin does not wait for it any longer. Ticks come once a second:
as long as they do, funding moves nobody's margin in between, which would cost every account's next
order a new look at its margin."""


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
    if elapsed <= 0:
        return
    market.funding_index = index_at(market, time)
    market.funding_time = time
    due = market.funding_rate * elapsed
    market.rate_integral += due
    market.funding_due += due


def fix(market: Market, time: int) -> None:
    """The same before rate or index price change: what has accrued is final."""
    accrue(market, time)
    market.funding_due = 0


def index_at(market: Market, time: int) -> int:
    """The market's funding index at `time`, not before it was last accrued.

    It is rounded once from all that is due since rate and index price last changed, so that any
    number of accruals in between gives the same.
    """
    elapsed, due = time - market.funding_time, market.funding_due
    if not market.funding_rate or elapsed <= 0:
        return market.funding_index
    later = due + market.funding_rate * elapsed
    return market.funding_index - _per_unit(market, due) + _per_unit(market, later)


def carry(state: State) -> None:
    """Bring funding to margin where no Tick has come, up to the last whole second after one."""
    time = state.time - (state.time - state.heartbeat) % SECOND
    moved = False
    for market in state.markets.values():
        if market.funding_rate and market.funding_time < time:
            accrue(market, time)
            moved = True
    if moved:
        state.marks += 1
        state.watch.on_marks_changed()


def _per_unit(market: Market, due: int) -> int:
    """What a size of one unit pays for `due` (rate x milliseconds), in 1e-24."""
    index = market.index.price
    if market.instrument.contract.inverse:
        return round_half_even(due * FUNDING * SCALE, RATE * INTERVAL * index)
    return round_half_even(due * FUNDING * index, RATE * INTERVAL * SCALE)
