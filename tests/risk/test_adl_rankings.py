"""A cached ranking equals a new one after any change of money or positions."""

from __future__ import annotations

from random import Random

import pytest

from risk import insurance, margin_cache
from risk.adl_rankings import AdlRanking
from risk.commands import Liquidate
from risk.state import INSURANCE, State
from tests.risk.random_commands import ORDINARY, STORM, RandomCommands, small_venue
from tests.risk.venue import BTC, open_venue


def differing_rankings(state: State) -> list[tuple[str, int]]:
    """Return the cached rankings at the present marks that differ from a new scan."""
    differing = []
    for (name, sign), cached in list(state.watch.rankings.by_side.items()):
        if cached.marks != state.marks or not cached.complete:
            continue
        cached.next(state, None, 1)
        fresh = AdlRanking(state.markets[name], sign, state.marks)
        fresh.advance(state, len(fresh.market.positions) + 1)
        if list(fresh.ranked) != list(cached.ranked):
            differing.append((name, sign))
    return differing


@pytest.mark.parametrize("seed", range(10))
def test_a_cached_ranking_equals_a_new_one(seed: int) -> None:
    """It does after every entry of runs with fees, losses, funding and shared deficits."""
    venue = small_venue()
    venue.checked = False
    looks = 0
    random = Random(seed)
    random_commands = RandomCommands(venue, Random(seed), STORM if seed % 2 else ORDINARY)

    def look(*_: object) -> None:
        nonlocal looks
        state = venue.exchange.state
        assert [] == differing_rankings(state)
        looks += len(state.watch.rankings.by_side)
        if random.random() < 0.3:
            for market in state.markets.values():
                for sign in (1, -1):
                    ranking = state.watch.rankings.of(state, market, sign)
                    ranking.advance(state, len(market.positions) + 1)

    venue.followers.append(look)
    for _ in range(130):
        random_commands.step()
    assert looks


def test_a_liquidation_fee_changes_the_score_of_the_fund() -> None:
    """The fund is short of the instrument in which Lou is liquidated, and receives the fee."""
    venue = open_venue(
        insurance={"BTC": "0.3"},
        lou={"BTC": "0.06"},
        sho={"BTC": "1"},
        mia={"BTC": "50"},
        zed={"BTC": "0.25"},
        checked=False,
    )
    state = venue.exchange.state
    venue.trade("mia", "zed", BTC, "100000", "50000")
    held = venue.position("zed", BTC)
    assert held is not None
    margin_cache.refresh(state, held.wallet)
    insurance.take_over(state, held, 0)
    venue.trade("lou", "sho", BTC, "100000", "50000")
    venue.tick(btc_usd="48950")
    ranking = state.watch.rankings.of(state, venue.market(BTC), -1)
    ranking.advance(state, 1000)
    venue.buy("mia", BTC, "50000", "48950")
    before = venue.wallet(INSURANCE, "BTC").balance
    venue.do(Liquidate(account=venue.number("lou"), currency="BTC"))
    assert before < venue.wallet(INSURANCE, "BTC").balance
    assert [] == differing_rankings(state)
