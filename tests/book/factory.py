"""Contracts, instruments and orders for the tests of the book."""

from typing import Any

from book.instrument import Contract, Instrument, perpetual
from book.order import Order, OrderType, Side, TimeInForce
from book.units import RATE, SCALE

BTC = Contract(
    family="BTC",
    base="BTC",
    quote="USD",
    currency="BTC",
    index="btc_usd",
    inverse=True,
    dated=True,
    contract_size=10 * SCALE,
    minimum=10 * SCALE,
    tick=SCALE // 2,
    maker_rate=0,
    weekly_maker_rate=-RATE // 10_000,
    taker_rate=RATE // 2_000,
    band_rate=15 * RATE // 1_000,
)

SOL_USDC = Contract(
    family="SOL_USDC",
    base="SOL",
    quote="USDC",
    currency="USDC",
    index="sol_usdc",
    inverse=False,
    dated=False,
    contract_size=SCALE // 10,
    minimum=SCALE // 10,
    tick=SCALE // 100,
    tick_steps=((10 * SCALE, SCALE // 20), (100 * SCALE, SCALE // 2)),
    maker_rate=0,
    weekly_maker_rate=0,
    taker_rate=RATE // 2_000,
    band_rate=15 * RATE // 1_000,
)

BTC_PERPETUAL: Instrument = perpetual(BTC, number=1, created=0)
SOL_PERPETUAL: Instrument = perpetual(SOL_USDC, number=2, created=0)


def limit_order(
    order_id: int, account: int, side: Side, price: int, amount: int, **terms: Any
) -> Order:
    """Return a good-til-cancelled limit order; `terms` are further fields of Order."""
    terms.setdefault("time_in_force", TimeInForce.GOOD_TIL_CANCELLED)
    return Order(
        order_id=order_id,
        account=account,
        instrument=BTC_PERPETUAL.name,
        side=side,
        type=OrderType.LIMIT,
        price=price,
        amount=amount,
        **terms,
    )
