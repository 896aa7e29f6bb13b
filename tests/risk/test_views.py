"""Views change nothing, and agree with recorded payloads of the API."""

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.units import MONEY, RATE, SCALE
from risk import standard_margin, views
from risk.commands import CancelAll, OpenAccount, SetProduct
from risk.contract_specs import LEGACY_2025
from risk.exchange import Exchange
from risk.reasons import Reason
from tests.risk.venue import (
    BTC,
    BTC_USDC,
    ETH_USDC,
    SOL_USDC,
    WEEKLY,
    Venue,
    open_venue,
    price,
    reason,
)


def test_a_summary_of_an_unused_currency_is_zero_and_adds_no_wallet() -> None:
    """No product settles in this currency."""
    venue = Venue()
    exchange: Exchange = venue.exchange
    venue.do(OpenAccount(account=901, name="looker"))
    before = exchange.digest()
    summary = views.summary(exchange.state, 901, "EURR")
    assert (summary.margin_balance, summary.initial) == (0, 0)
    assert "EURR" not in exchange.state.accounts[901].wallets
    assert before == exchange.digest()


@pytest.mark.parametrize(
    ("initial", "coins", "leverage"),
    [
        # 33.898, 33.297 and 49.78: recorded positions.
        ("0.000197283", "0.006687487", 34),
        ("0.319750953", "10.646886321", 33),
        ("0.0200884", "1", 50),
        ("0.0201", "1", 50),
        ("0.0203", "1", 49),
    ],
)
def test_leverage_is_rounded_to_the_nearest_whole_number(
    initial: str, coins: str, leverage: int
) -> None:
    """It agrees with recorded positions, by their initial margin and size in coins."""
    venue = open_venue(ann={"BTC": "1"}, ben={"BTC": "1"})
    contract, terms = LEGACY_2025[0]
    rate = int((Decimal(initial) / Decimal(coins) * RATE).to_integral_value(ROUND_HALF_EVEN))
    flat = msgspec.structs.replace(terms, initial_base=rate, initial_slope=0)
    venue.do(SetProduct(contract=contract, terms=flat))
    venue.trade("ann", "ben", BTC, "100", "50000")
    for name in ("ann", "ben"):
        shown = views.position(venue.exchange.state, venue.number(name), venue.market(BTC))
        assert leverage == shown.leverage


@given(st.integers(1, 30_000_000))
def test_leverage_agrees_with_the_initial_margin_of_the_view(contracts: int) -> None:
    """For any size it is 1 / (initial margin / size in coins), within half a unit."""
    venue = _BARE
    market = venue.market(BTC)
    size = contracts * 10 * SCALE
    coins, initial = standard_margin.base_size(market, size), standard_margin.initial(market, size)
    exact = Decimal(coins) / Decimal(initial)
    # Margin is rounded up in the last of twelve decimals.
    assert abs(views._leverage(market, size) - exact) <= Decimal("0.5001")


_BARE = open_venue()


@given(
    st.lists(
        st.tuples(st.sampled_from([BTC, WEEKLY]), st.integers(-200_000, 200_000)),
        min_size=1,
        max_size=4,
    )
)
def test_at_the_liquidation_ratio_inverse_margin_is_used_up(
    held: list[tuple[str, int]],
) -> None:
    """With all marks multiplied by it, margin balance and maintenance margin are equal."""
    _meet("BTC", held, scale=10)


@given(
    st.lists(
        st.tuples(st.sampled_from([BTC_USDC, ETH_USDC, SOL_USDC]), st.integers(-500, 500)),
        min_size=1,
        max_size=4,
    )
)
def test_at_the_liquidation_ratio_linear_margin_is_used_up(held: list[tuple[str, int]]) -> None:
    """Prices are in the settlement currency, with several indices."""
    _meet("USDC", held, scale=1)


def _meet(currency: str, held: list[tuple[str, int]], *, scale: int) -> None:
    venue = open_venue(
        checked=False,
        ann={currency: "20" if currency == "BTC" else "100000"},
        ben={currency: "1e9"},
    )
    for name, contracts in held:
        if contracts:
            market = venue.market(name)
            size = abs(contracts) * market.instrument.contract.contract_size // SCALE * scale
            limit = market.mark // market.instrument.contract.tick * market.instrument.contract.tick
            sides = ("ann", "ben") if contracts > 0 else ("ben", "ann")
            venue.trade(*sides, name, str(max(1, size)), str(Decimal(limit) / SCALE))
    state, number = venue.exchange.state, venue.number("ann")
    summary = views.summary(state, number, currency)
    if summary.ratio is None:
        return
    ratio = Decimal(summary.ratio) / RATE
    balance, maintenance = summary.margin_balance, 0
    for position in state.accounts[number].wallets[currency].positions.values():
        market = position.market
        if not position.size:
            continue
        moved = int(market.mark * ratio)
        value = market.instrument.value
        balance += value(position.size, market.mark) - value(position.size, moved)
        terms, coins = market.terms, standard_margin.base_size(market, position.size)
        if market.instrument.contract.inverse:
            coins = int(coins / ratio)
            rate = terms.maintenance_base + terms.maintenance_slope * coins // MONEY
            maintenance += coins * rate // RATE
        else:
            rate = terms.maintenance_base + terms.maintenance_slope * coins // MONEY
            maintenance += coins * moved // SCALE * rate // RATE
    worth = max(abs(balance), abs(maintenance), MONEY)
    assert abs(balance - maintenance) <= worth / 10**5
    assert {name for name, _ in summary.deltas} >= {name for name, _ in summary.ratios}


def test_the_ratio_of_one_position_is_its_liquidation_price_over_its_mark() -> None:
    """Long and short, inverse and linear; without a position there is no ratio."""
    for name, currency, quantity in ((BTC, "BTC", "20000"), (BTC_USDC, "USDC", "0.5")):
        venue = open_venue(
            ann={currency: "1" if currency == "BTC" else "5000"}, ben={currency: "1e9"}
        )
        number = venue.number("ann")
        assert None is views.summary(venue.exchange.state, number, currency).ratio
        venue.trade("ann", "ben", name, quantity, "50000")
        summary = views.summary(venue.exchange.state, number, currency)
        shown = views.position(venue.exchange.state, number, venue.market(name))
        assert summary.ratio is not None
        assert shown.liquidation_price is not None
        assert ((venue.market(name).index.name, summary.ratio),) == summary.ratios
        expected = shown.liquidation_price * RATE // price("50000")
        assert abs(expected - summary.ratio) <= 10**6


def test_every_account_can_use_a_currency_added_later() -> None:
    """An account has no wallet in it until it needs one."""
    inverse, linear = LEGACY_2025[0], LEGACY_2025[4]
    venue = open_venue(catalogue=[inverse], ann={"BTC": "1"}, ben={"BTC": "1"})
    contract, terms = linear
    venue.do(SetProduct(contract=contract, terms=terms))
    venue.tick()
    ann = venue.exchange.state.accounts[venue.number("ann")]
    assert ["BTC"] == list(ann.wallets)
    assert 0 == views.summary(venue.exchange.state, ann.number, "USDC").margin_balance
    assert Reason.NOT_ENOUGH_FUNDS is reason(venue.buy("ann", BTC_USDC, "0.01", "50000"))
    for name in ("ann", "ben"):
        venue.deposit(name, "USDC", "1000")
    venue.trade("ann", "ben", BTC_USDC, "0.01", "50000")
    assert views.summary(venue.exchange.state, ann.number, "USDC").maintenance > 0
    venue.do(CancelAll(account=ann.number, currencies=("USDC",)))
