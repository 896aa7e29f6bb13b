"""The ladder of a market maker."""

from itertools import pairwise
from random import Random

import pytest

from gateway.demo.bots import MARKETS, Market
from gateway.demo.makers import HEAVY_POSITION, LEVELS, Quote, ladder

CENTRES = {"BTC-PERPETUAL": 65_000.0, "ETH-PERPETUAL": 3_500.0}


def quotes(market: Market, *, position: float = 0, heat: float = 0) -> dict[str, list[Quote]]:
    """Both sides of a ladder, best first."""
    made = ladder(
        market, CENTRES[market.name], position=position, heat=heat, random=Random("a test")
    )
    return {side: [quote for quote in made if quote.side == side] for side in ("buy", "sell")}


@pytest.mark.parametrize("market", MARKETS, ids=lambda market: market.name)
def test_both_sides_step_away_from_the_centre_without_crossing(market: Market) -> None:
    """Bids fall, asks rise, and between the best of both there is a gap around the index."""
    sides = quotes(market)
    assert [LEVELS, LEVELS] == [len(side) for side in sides.values()]
    assert all(near.price > far.price for near, far in pairwise(sides["buy"]))
    assert all(near.price < far.price for near, far in pairwise(sides["sell"]))
    assert sides["buy"][0].price < CENTRES[market.name] < sides["sell"][0].price


@pytest.mark.parametrize("market", MARKETS, ids=lambda market: market.name)
def test_prices_lie_on_the_tick_and_amounts_on_the_contract(market: Market) -> None:
    """Nothing that a maker sends is refused for its form."""
    for quote in (*quotes(market)["buy"], *quotes(market)["sell"]):
        assert pytest.approx(0, abs=1e-9) == quote.price / market.tick - round(
            quote.price / market.tick
        )
        assert 0 == quote.amount % market.step


def test_a_maker_who_is_long_quotes_lower_on_both_sides() -> None:
    """Its own position is what it would rather sell."""
    flat, long = (quotes(MARKETS[0], position=size) for size in (0, HEAVY_POSITION))
    for side in ("buy", "sell"):
        assert long[side][0].price < flat[side][0].price


def test_a_moving_market_is_quoted_wider_and_thinner() -> None:
    """Who is run over once steps back."""
    calm, hot = (quotes(MARKETS[0], heat=heat) for heat in (0, 0.01))
    assert hot["buy"][0].price < calm["buy"][0].price
    assert hot["sell"][0].price > calm["sell"][0].price
    for side in ("buy", "sell"):
        assert sum(q.amount for q in hot[side]) < sum(q.amount for q in calm[side])
