"""Rebates never bring the fee account or the insurance fund below zero."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from book.units import RATE, text
from risk import insurance, margin_cache
from risk.commands import Withdraw
from risk.contract_specs import LEGACY_2025
from risk.events import Traded
from risk.risk_terms import LossPolicy
from risk.state import FEES, INSURANCE
from tests.hypothesis_settings import thorough
from tests.risk.random_commands import STORM, RandomCommands, small_venue
from tests.risk.venue import WEEKLY, Venue, money, of_type, open_venue

FAMILY = [each for each in LEGACY_2025 if each[0].family == "BTC"]


def venue_with_empty_fees(
    fund: str, policy: LossPolicy, weekly_maker_rate: int | None = None
) -> Venue:
    """Return a venue with Lou long 2 BTC of a weekly on 0.05 BTC, and an empty fee account."""
    catalogue = FAMILY
    if weekly_maker_rate is not None:
        catalogue = [
            (replace(contract, weekly_maker_rate=weekly_maker_rate), terms)
            if contract.dated
            else (contract, terms)
            for contract, terms in FAMILY
        ]
    venue = open_venue(
        catalogue=catalogue,
        parameters={"loss_policy": policy},
        insurance={"BTC": fund} if fund != "0" else {},
        lou={"BTC": "0.05"},
        win={"BTC": "10"},
        mia={"BTC": "10"},
    )
    venue.trade("win", "mia", WEEKLY, "10", "50000")
    venue.trade("lou", "win", WEEKLY, "100000", "50000")
    withdraw_fees(venue)
    return venue


def withdraw_fees(venue: Venue) -> None:
    fees = venue.wallet(FEES, "BTC").balance
    assert fees >= 0
    if fees:
        venue.do(Withdraw(account=FEES, currency="BTC", amount=fees))


def solvent(venue: Venue) -> bool:
    """Return whether the fee account and the fund's cash are at least zero."""
    return all(venue.wallet(account, "BTC").balance >= 0 for account in (FEES, INSURANCE))


def test_the_liquidation_fee_pays_the_makers_rebate() -> None:
    """An eighth of 100,000 at 49,200: 0.01 % to the maker, 0.75 % from Lou, the rest to the fund.

    12,500
    49,200 are 0.254065040650 BTC.
    """
    venue = venue_with_empty_fees("10", LossPolicy.DELEVERAGE)
    venue.buy("mia", WEEKLY, "100000", "49200")
    venue.tick(btc_usd="49200")
    venue.tick(after=40_000)
    [trade] = of_type(venue.liquidate(), Traded)
    assert (-25_406_504, 1_905_487_805) == (trade.maker.fee, trade.taker.fee)
    assert 0 == venue.wallet(FEES, "BTC").balance
    assert money("10") + 1_905_487_805 - 25_406_504 == venue.wallet(INSURANCE, "BTC").balance


@pytest.mark.parametrize("policy", list(LossPolicy))
@pytest.mark.parametrize("fund", ["0", "0.00001", "1"])
@given(
    st.integers(-4, 60),
    st.sampled_from(["48700", "48900", "49200"]),
    st.sampled_from([None, -RATE // 1000, -RATE // 50]),
)
@thorough(12)
def test_no_liquidation_brings_fees_or_fund_below_zero(
    fund: str, policy: LossPolicy, above: int, index: str, rate: int | None
) -> None:
    """Prices are at, above and far above the bankruptcy price, with and without a fund."""
    venue = venue_with_empty_fees(fund, policy, rate)
    mark = int(index)
    venue.tick(btc_usd=index)
    for step in range(6):
        # At 48,780 Lou's margin balance is zero.
        venue.buy("mia", WEEKLY, "20000", str(48_780 + 5 * above + 10 * step))
    for _ in range(12):
        venue.tick(btc_usd=str(mark))
        venue.liquidate()
        withdraw_fees(venue)
        assert solvent(venue)


def test_a_rebate_above_the_takers_fee_is_limited_by_the_fee_account() -> None:
    """The maker gets 0.1 % where the taker pays 0.05 %: the fee account pays the difference."""
    venue = venue_with_empty_fees("0", LossPolicy.DELEVERAGE, weekly_maker_rate=-RATE // 1000)
    venue.sell("mia", WEEKLY, "1000", "50000")
    [trade] = of_type(venue.buy("win", WEEKLY, "1000", "50000"), Traded)
    # 1,000 / 50,000 BTC x 0.05 %: the fee is passed on, and no more.
    assert (-10_000_000, 10_000_000) == (trade.maker.fee, trade.taker.fee)
    assert 0 == venue.wallet(FEES, "BTC").balance


@pytest.mark.parametrize("seed", range(8))
def test_random_days_keep_fees_and_fund_above_zero(seed: int) -> None:
    """The fee account is emptied again and again."""
    venue = small_venue()
    venue.checked = False
    random_commands = RandomCommands(venue, Random(seed), STORM)
    for _ in range(150):
        random_commands.step()
        for currency in ("BTC", "USDC"):
            fees = venue.wallet(FEES, currency).balance
            assert fees >= 0
            if fees:
                venue.do(Withdraw(account=FEES, currency=currency, amount=fees))


def test_a_fill_at_the_bankruptcy_price_brings_the_maker_no_rebate() -> None:
    """No fee is left above it, and the fund and the fee account are empty."""
    venue = venue_with_empty_fees("0", LossPolicy.DELEVERAGE)
    venue.tick(btc_usd="48900")
    venue.tick(after=40_000)
    state, lou = venue.exchange.state, venue.wallet("lou", "BTC")
    margin_cache.refresh(state, lou)
    bound = insurance.bankruptcy_price(
        venue.market(WEEKLY), venue.size("lou", WEEKLY), lou.margin_balance
    )
    assert bound is not None
    venue.buy("mia", WEEKLY, "100000", text(bound))
    [trade] = of_type(venue.liquidate(), Traded)
    assert (bound, 0, 0) == (trade.price, trade.maker.fee, trade.taker.fee)
    assert solvent(venue)
