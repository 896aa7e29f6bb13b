"""A position loses no more than its share anywhere within its intervals."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.calendar import Period
from book.instrument import dated, perpetual
from book.orderbook import OrderBook
from book.units import FUNDING, MONEY, SCALE
from risk import standard_margin
from risk.contract_specs import LEGACY_2025
from risk.market import Index, Market
from risk.position import Position, Wallet
from risk.standard_margin import intervals

FAR = {"mark": (1, 10**12 * SCALE), "index": (1, 10**12 * SCALE), "funding": (-(10**28), 10**28)}
"""The substitute for the end of an unbounded interval."""

PRICES = st.integers(1, 10**6) | st.integers(SCALE, 10**7 * SCALE)
SHARES = st.integers(0, 100) | st.integers(0, 10**6) | st.integers(0, 10**9 * MONEY)


def new_market(family: int) -> Market:
    """Return a market of a family of the parameter set, without any price."""
    contract, terms = LEGACY_2025[family]
    if contract.dated:
        instrument = dated(contract, 1, 0, 2_000_000_000_000, Period.WEEK)
    else:
        instrument = perpetual(contract, 1, 0)
    return Market(instrument, terms, Index(contract.index), OrderBook(instrument.name))


@st.composite
def positions(draw: st.DrawFn) -> Position:
    """Return positions of one contract up to more than any limit allows, at any price."""
    market = new_market(draw(st.integers(0, len(LEGACY_2025) - 1)))
    market.mark = draw(PRICES)
    market.index.price = max(1, market.mark * draw(st.integers(995, 1005)) // 1000)
    market.funding_index = draw(st.integers(-FUNDING, FUNDING))
    contracts = draw(st.integers(1, 100) | st.integers(1, 10**8))
    size = draw(st.sampled_from([-1, 1])) * contracts * market.instrument.contract.contract_size
    carry = market.instrument.value(size, market.mark)
    return Position(
        Wallet(200, market.currency),
        market,
        size=size,
        carry=carry,
        funding_index=market.funding_index,
    )


def worth(position: Position) -> int:
    """Return profit less maintenance margin at the market's present values, in Money."""
    market = position.market
    profit = position.carry - market.instrument.value(position.size, market.mark)
    accrued = position.accrued_funding(market.funding_index)
    return profit + accrued - standard_margin.maintenance(market, position.size)


def coordinates(market: Market) -> dict[str, int]:
    """Return the present coordinates of the market."""
    return {
        "mark": market.mark,
        "index": market.index.price,
        "funding": market.funding_index,
    }


def set_coordinate(market: Market, kind: str, value: int) -> None:
    """Set one coordinate to another value."""
    if kind == "mark":
        market.mark = value
    elif kind == "index":
        market.index.price = value
    else:
        market.funding_index = value


@settings(max_examples=500, deadline=None)
@given(positions(), SHARES, st.data())
def test_a_position_loses_at_most_its_share_within_its_intervals(
    position: Position, share: int, data: st.DataObject
) -> None:
    """The exact loss is checked at all ends, at the present values and in between."""
    market = position.market
    now, before = coordinates(market), worth(position)
    held = list(intervals(position, share))
    places = []
    for kind, low, high in held:
        lowest = FAR[kind][0] if low is None else max(low, FAR[kind][0])
        highest = FAR[kind][1] if high is None else high
        assert lowest <= now[kind] <= highest
        near = [max(lowest, now[kind] - 1), min(highest, now[kind] + 1)]
        places.append([lowest, *near, highest, data.draw(st.integers(lowest, highest))])
    for point in product(*places):
        for (kind, _, _), value in zip(held, point, strict=True):
            set_coordinate(market, kind, value)
        assert before - worth(position) <= share


def test_a_short_without_slack_is_measured_when_the_mark_falls() -> None:
    """Its profit may round to zero while its maintenance margin rounds up."""
    market = new_market(0)
    market.mark = market.index.price = 10_000 * SCALE
    size = -market.instrument.contract.contract_size
    carry = market.instrument.value(size, market.mark)
    position = Position(Wallet(200, market.currency), market, size=size, carry=carry)
    ends = {kind: (low, high) for kind, low, high in intervals(position, 0)}
    assert (market.mark, market.mark) == ends["mark"]
    before = worth(position)
    market.mark -= 100
    assert -1 == worth(position) - before


@pytest.mark.parametrize("family", range(len(LEGACY_2025)))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mark_interval_uses_at_least_two_thirds_of_the_share(family: int, sign: int) -> None:
    """This is the loss at the end of the interval."""
    market = new_market(family)
    market.mark = market.index.price = 100 * SCALE
    size = sign * 1000 * market.instrument.contract.contract_size
    carry = market.instrument.value(size, market.mark)
    position = Position(Wallet(200, market.currency), market, size=size, carry=carry)
    share = market.instrument.notional(size, market.mark) // 10
    before = worth(position)
    ends = {kind: (low, high) for kind, low, high in intervals(position, share)}
    end = ends["mark"][0 if sign > 0 else 1]
    assert end is not None
    market.mark = end
    assert 3 * (before - worth(position)) >= 2 * share
