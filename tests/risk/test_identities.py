"""Account views are consistent and agree with the figures of the API reference."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from random import Random

import pytest

from book.calendar import expiry_on
from book.order import Side
from book.units import HOUR, MONEY, text
from risk import views
from risk.reasons import Reason
from risk.state import State
from tests.hypothesis_settings import EFFORT
from tests.risk.random_commands import CURRENCIES, RandomCommands, small_venue
from tests.risk.venue import BTC, PRICES, amount, open_venue, price, reason


@pytest.fixture(scope="module", params=range(20, 20 + 5 * EFFORT))
def state(request: pytest.FixtureRequest) -> State:
    """Return the venue at some point of a random day."""
    venue = small_venue()
    venue.checked = False
    random_commands = RandomCommands(venue, Random(request.param))
    for _ in range(300):
        random_commands.step()
    venue.tick()
    return venue.exchange.state


def summaries(state: State) -> list[tuple[int, views.Summary]]:
    found = [
        (account, views.summary(state, account, currency))
        for account in state.accounts
        for currency in CURRENCIES
    ]
    assert found
    return found


def test_summaries_keep_the_identities(state: State) -> None:
    """These are margin_balance, available and withdrawable funds, for every account."""
    for _, shown in summaries(state):
        assert shown.balance + shown.realised + shown.unrealised == shown.margin_balance
        assert shown.margin_balance - shown.initial == shown.available
        cash = min(shown.balance, shown.margin_balance) - shown.initial
        assert max(0, cash) == shown.withdrawable
        assert shown.delta == sum(delta for _, delta in shown.deltas)


def test_summaries_are_sums_of_positions(state: State) -> None:
    """Each total is the sum over the positions."""
    for account, shown in summaries(state):
        held = [
            views.position(state, account, market)
            for market in state.markets.values()
            if market.currency == shown.currency
        ]
        assert shown.unrealised == sum(each.floating for each in held)
        assert shown.realised == sum(each.realised for each in held)
        assert shown.maintenance == sum(each.maintenance for each in held)
        assert shown.initial == sum(each.initial + each.open_orders_margin for each in held)
        assert shown.profit == sum(each.total for each in held)
        assert shown.delta == sum(each.delta for each in held)


def test_projected_margins_leave_out_the_nearest_expiry(state: State) -> None:
    """They equal the margins after the next future has expired."""
    for account, shown in summaries(state):
        wallet = state.wallet(account, shown.currency)
        markets = [position.market for position in wallet.positions.values()]
        dates = [m.instrument.expiry for m in markets if m.instrument.expiry is not None]
        later = [
            market for market in markets if not dates or market.instrument.expiry != min(dates)
        ]
        held = [views.position(state, account, market) for market in later]
        assert shown.projected_maintenance == sum(each.maintenance for each in held)
        assert shown.projected_initial == sum(
            each.initial + each.open_orders_margin for each in held
        )


def test_margin_balances_sum_to_the_deposits(state: State) -> None:
    """The difference is at most half a unit per open position."""
    for currency in CURRENCIES:
        shown = [each for _, each in summaries(state) if each.currency == currency]
        positions = [
            position
            for wallet in state.wallets[currency].values()
            for position in wallet.positions.values()
        ]
        # No margin balance includes the carry of flat system positions and the funding pool's
        # side of accrued funding.
        carried = sum(each.carry for each in positions if not each.size)
        accrued = sum(each.accrued_funding(each.market.funding_index) for each in positions)
        total = sum(each.margin_balance for each in shown) + carried - accrued
        assert 2 * abs(total - state.deposited[currency]) <= len(positions)


def test_a_position_view_across_a_settlement_matches_the_reference() -> None:
    """Floating profit is against the settlement price, total profit against the average."""
    venue = open_venue(
        time=expiry_on(date(2026, 6, 3)) - HOUR,
        prices={"btc_usd": "15000"},
        ann={"BTC": "50"},
        ben={"BTC": "50"},
    )
    venue.trade("ann", "ben", BTC, "185160", "15000")
    venue.tick(HOUR - 1, btc_usd="16025.83")
    venue.tick(1)
    venue.finish()
    assert price("16025.83") == venue.market(BTC).settlement_price
    venue.tick(btc_usd="17391")
    shown = views.position(venue.exchange.state, venue.number("ann"), venue.market(BTC))
    assert "0.906961" == six_decimals(shown.floating)
    assert "1.697114" == six_decimals(shown.total)
    assert "10.646886" == six_decimals(shown.delta)
    assert (price("15000"), price("16025.83")) == (shown.average_price, shown.settlement_price)
    other = views.position(venue.exchange.state, venue.number("ben"), venue.market(BTC))
    assert (-shown.size, -shown.floating, -shown.total) == (
        other.size,
        other.floating,
        other.total,
    )


def test_the_view_of_a_position_without_size_is_zero() -> None:
    """It still has the values of the market."""
    venue = open_venue(ann={"BTC": "1"})
    shown = views.position(venue.exchange.state, venue.number("ann"), venue.market(BTC))
    assert (0, 0, 0, 0, 0, 0, None) == (
        shown.size,
        shown.floating,
        shown.total,
        shown.initial,
        shown.maintenance,
        shown.open_orders_margin,
        shown.liquidation_price,
    )
    assert (price(PRICES["btc_usd"]), 50) == (shown.mark, shown.leverage)


def test_the_quoted_order_margin_is_the_margin_required() -> None:
    """The two agree except for the rounding of fills."""
    venue = open_venue(ann={"BTC": "1"})
    size, limit = amount("10000"), price("50250")
    ann, market = venue.number("ann"), venue.market(BTC)
    quoted = views.order_margin(venue.exchange.state, ann, market, Side.BUY, size, limit)
    # 0.2 BTC at 2.001 %, the fee of 0.05 % at 50,250, and the loss at 50,250 against the mark.
    assert "0.005097" == six_decimals(quoted)
    venue.open("dan", BTC=text(quoted - 1, MONEY))
    assert Reason.NOT_ENOUGH_FUNDS is reason(venue.buy("dan", BTC, "10000", "50250"))
    venue.open("eve", BTC=text(quoted + 2 * 1000 + 2, MONEY))
    assert reason(venue.buy("eve", BTC, "10000", "50250")) is None


def six_decimals(sum_of_money: int) -> str:
    """Format money with six decimals, as in the example of the reference."""
    return f"{Decimal(sum_of_money) / MONEY:.6f}"
