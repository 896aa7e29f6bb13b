"""Parameter set `legacy-2025`: contracts, ticks, fees, bands and margins of Deribit in 2025.

Rates are written in percent; `_rate` converts them to 1e-12.
Margin slopes are per base coin: 0.005 % per BTC, 0.0004 % per ETH, 0.0005 % per SOL.
"""

from decimal import Decimal
from typing import NamedTuple

from book.instrument import Contract
from book.units import RATE, SCALE
from risk.risk_terms import Terms


def _rate(percent: str) -> int:
    return int(Decimal(percent) * (RATE // 100))


def _units(number: str) -> int:
    return int(Decimal(number) * SCALE)


def _contract(
    family: str, *, size: str, tick: str, index: str = "", dated: bool = False
) -> Contract:
    base, _, quote = family.partition("_")
    return Contract(
        family=family,
        base=base,
        quote=quote or "USD",
        currency=quote or base,
        index=index or f"{base}_{quote or 'USD'}".lower(),
        inverse=not quote,
        dated=dated,
        contract_size=_units(size),
        minimum=_units(size),
        tick=_units(tick),
        maker_rate=_rate("0"),
        weekly_maker_rate=_rate("-0.01") if dated else _rate("0"),
        taker_rate=_rate("0.05"),
        band_rate=_rate("3") if dated else _rate("1.5"),
    )


class _Margins(NamedTuple):
    """Margin rates of a base coin in percent, slopes per coin; `mark_step` in quote currency."""

    initial: str
    maintenance: str
    slope: str
    liquidation: str
    mark_step: str


_MARGINS = {
    "BTC": _Margins("2", "1", "0.005", "0.75", "0.01"),
    "ETH": _Margins("2", "1", "0.0004", "0.9", "0.01"),
    "SOL": _Margins("4", "2", "0.0005", "0.9", "0.0001"),
}


def _product(contract: Contract, *, impact: str, limit: str) -> tuple[Contract, Terms]:
    """Combine a contract with the terms of its base coin, its impact amount and position limit."""
    margins = _MARGINS[contract.base]
    terms = Terms(
        initial_base=_rate(margins.initial),
        initial_slope=_rate(margins.slope),
        maintenance_base=_rate(margins.maintenance),
        maintenance_slope=_rate(margins.slope),
        liquidation_rate=_rate(margins.liquidation),
        delivery_rate=_rate("0.025"),
        mark_band_rate=_rate("3") if contract.dated else _rate("0.5"),
        mark_step=_units(margins.mark_step),
        impact_amount=_units(impact),
        funding_dampener=_rate("0.025"),
        funding_cap=_rate("0.5"),
        position_limit=_units(limit),
    )
    return contract, terms


LEGACY_2025: tuple[tuple[Contract, Terms], ...] = (
    _product(_contract("BTC", size="10", tick="0.5"), impact="10000", limit="50000000"),
    _product(_contract("BTC", size="10", tick="2.5", dated=True), impact="10000", limit="50000000"),
    _product(_contract("ETH", size="1", tick="0.05"), impact="5000", limit="25000000"),
    _product(_contract("ETH", size="1", tick="0.25", dated=True), impact="5000", limit="25000000"),
    _product(_contract("BTC_USDC", size="0.0001", tick="0.5"), impact="0.1", limit="500"),
    _product(_contract("ETH_USDC", size="0.001", tick="0.05"), impact="2", limit="10000"),
    _product(_contract("SOL_USDC", size="0.1", tick="0.01"), impact="30", limit="200000"),
)
