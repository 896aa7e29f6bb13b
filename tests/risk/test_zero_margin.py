"""Positions that need no margin, as bought options: proportional computations still work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from risk import insurance, margin_cache, views
from risk.contract_specs import LEGACY_2025
from risk.risk_terms import LossPolicy
from risk.state import FIRST_CLIENT
from tests.hypothesis_settings import thorough
from tests.risk.venue import BTC, WEEKLY, Venue, open_venue

FREE = {"maintenance_base": 0, "maintenance_slope": 0}
WITHOUT = [(contract, replace(terms, **FREE)) for contract, terms in LEGACY_2025]
WITHOUT_AT_ALL = [
    (contract, replace(terms, **FREE, initial_base=0, initial_slope=0))
    for contract, terms in LEGACY_2025
]
PARTLY = [
    (contract, replace(terms, **FREE) if contract.dated else terms)
    for contract, terms in LEGACY_2025
]


@pytest.mark.parametrize("policy", list(LossPolicy))
@pytest.mark.parametrize("catalogue", [WITHOUT, WITHOUT_AT_ALL, PARTLY])
@pytest.mark.parametrize("insurance_fund", ["0", "10"])
def test_an_account_below_zero_without_margin_is_liquidated(
    catalogue: list[tuple[object, object]], policy: LossPolicy, insurance_fund: str
) -> None:
    """Takeover, deleveraging and socialised loss complete, and leave no account below zero."""
    venue = open_venue(
        catalogue=catalogue,  # type: ignore[arg-type]
        parameters={"loss_policy": policy},
        insurance={"BTC": insurance_fund} if insurance_fund != "0" else {},
        ann={"BTC": "0.08"},
        mia={"BTC": "10"},
    )
    venue.trade("ann", "mia", BTC, "50000", "50000")
    venue.trade("ann", "mia", WEEKLY, "50000", "50000")
    state, ann = venue.exchange.state, venue.number("ann")
    assert views.summary(state, ann, "BTC").maintenance >= 0
    for name in (BTC, WEEKLY):
        shown = views.position(state, ann, venue.market(name))
        assert (shown.leverage > 0) == (venue.market(name).terms.initial_base > 0)
    venue.tick(btc_usd="45000")
    for _ in range(60):
        venue.finish()
        venue.liquidate()
        venue.tick()
    venue.finish()
    state = venue.exchange.state
    for account, wallet in state.wallets["BTC"].items():
        margin_cache.refresh(state, wallet)
        assert account < FIRST_CLIENT or wallet.margin_balance >= 0
    assert 0 == venue.size("ann", BTC)


def holder(catalogue: list[tuple[object, object]], sizes: tuple[int, int], lost: int) -> Venue:
    venue = open_venue(
        catalogue=catalogue,  # type: ignore[arg-type]
        checked=False,
        ann={"BTC": "10"},
        mia={"BTC": "1000"},
    )
    for name, size in zip((BTC, WEEKLY), sizes, strict=True):
        if size:
            buyer, seller = ("ann", "mia") if size > 0 else ("mia", "ann")
            venue.trade(buyer, seller, name, str(abs(size) * 10), "50000")
    venue.wallet("ann", "BTC").balance -= lost
    return venue


@given(
    st.sampled_from([LEGACY_2025, WITHOUT, PARTLY]),
    st.tuples(st.integers(-900, 900), st.integers(-900, 900)),
    st.integers(0, 11 * 10**12),
)
@thorough(40)
def test_the_shares_of_positions_add_up(
    catalogue: list[tuple[object, object]], sizes: tuple[int, int], lost: int
) -> None:
    """They sum to the margin balance, for any requirements and any balance or debt."""
    venue = holder(catalogue, sizes, lost)
    wallet = venue.wallet("ann", "BTC")
    margin_cache.refresh(venue.exchange.state, wallet)
    shares = insurance.bankruptcy_shares(wallet)
    held = {name for name, position in wallet.positions.items() if position.size}
    assert held == set(shares)
    if held:
        assert wallet.margin_balance == sum(shares.values())
