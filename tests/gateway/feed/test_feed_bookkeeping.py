"""Tests that the sum of private notifications equals the account, also after liquidations."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from book.order import SelfTrading, Side
from book.units import MONEY, SCALE
from risk.commands import Deposit, Liquidate, OpenAccount, Place, SetSelfTrading
from risk.events import Liquidated, LiquidationStep
from risk.liquidation import pending
from tests.gateway.feed_fixture import BTC, SOL, Desk, Reader

ACCOUNTS = range(201, 207)
TRADES = "user.trades.any.any.raw"
ORDERS = "user.orders.any.any.raw"
CHANGES = "user.changes.any.any.raw"


class ClientBookkeeping:
    """A client's bookkeeping, from its private channels alone."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.sizes: Counter[str] = Counter()
        self.positions: dict[str, float] = {}
        self.orders: dict[str, Any] = {}

    def read(self) -> None:
        """Process the notifications received since the last call."""
        for frame in self.reader.take():
            channel, data = frame["params"]["channel"], frame["params"]["data"]
            if channel == TRADES:
                for trade in data:
                    sign = 1 if trade["direction"] == "buy" else -1
                    self.sizes[trade["instrument_name"]] += sign * round(trade["amount"] * SCALE)
            elif channel == ORDERS:
                self.orders[data["order_id"]] = data
            else:
                for position in data["positions"]:
                    self.positions[data["instrument_name"]] = round(position["size"] * SCALE)

    def open_orders(self) -> set[str]:
        """The ids of the orders that are open by the notifications."""
        return {key for key, order in self.orders.items() if order["order_state"] == "open"}


def liquidate(desk: Desk) -> Counter[LiquidationStep]:
    """Run the liquidations that the supervisor would propose after a tick."""
    steps: Counter[LiquidationStep] = Counter()
    for account, currency in pending(desk.exchange.state):
        events = desk.apply(Liquidate(account=account, currency=currency))
        steps += Counter(event.step for event in events if isinstance(event, Liquidated))
        desk.settle()
    return steps


@pytest.mark.parametrize("seed", range(4))
def test_the_sum_of_own_trades_is_the_position(seed: int) -> None:
    """The sum of trades is the position, with fills, liquidations, takeovers and deleveraging."""
    rng = random.Random(seed)
    desk = Desk()
    clients = {}
    for account in ACCOUNTS:
        desk.apply(OpenAccount(account=account, name=f"client {account}"))
        desk.apply(SetSelfTrading(account=account, mode=SelfTrading.CANCEL_MAKER))
        desk.apply(Deposit(account=account, currency="BTC", amount=MONEY // 1_000))
        desk.apply(Deposit(account=account, currency="USDC", amount=50 * MONEY))
        clients[account] = ClientBookkeeping(
            desk.listen(account, TRADES, ORDERS, CHANGES, account=account)
        )
    scale = 1.0
    steps: Counter[LiquidationStep] = Counter()
    for _ in range(60):
        for _ in range(10):
            account, name = rng.choice(ACCOUNTS), rng.choice((BTC, SOL))
            mark = desk.market(name).mark
            price = mark + rng.randint(-8, 8) * desk.market(name).instrument.contract.tick
            amount = rng.randint(1, 100) * desk.market(name).instrument.contract.contract_size
            desk.apply(
                Place(
                    account=account,
                    instrument=name,
                    side=rng.choice(list(Side)),
                    amount=amount,
                    price=desk.market(name).instrument.floor_to_tick(price),
                )
            )
        scale *= rng.choice((0.985, 0.995, 1.0, 1.005, 1.015))
        desk.tick(btc_usd=50_000 * scale, sol_usdc=150 * scale)
        desk.settle()
        steps += liquidate(desk)
        for account, client in clients.items():
            client.read()
            check(desk, account, client)
    for step in (LiquidationStep.REDUCED, LiquidationStep.DELEVERAGED):
        assert steps[step], f"this seed shows nothing about {step.value}: choose another"


def check(desk: Desk, account: int, client: ClientBookkeeping) -> None:
    """Compare a client's bookkeeping with the state."""
    state = desk.exchange.state
    for name in (BTC, SOL):
        position = desk.market(name).positions.get(account)
        size = position.size if position is not None else 0
        assert size == client.sizes[name]
        assert size == client.positions.get(name, 0)
    live = {order.order_id: order.instrument for order in state.accounts[account].orders.values()}
    assert {
        str(number) if name == BTC else f"SOL_USDC-{number}" for number, name in live.items()
    } == client.open_orders()
