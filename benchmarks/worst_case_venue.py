"""The venue in which worst cases are built, and the clock that measures their entries."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import process_time
from typing import Any

from attrs import define, field

from book.order import Side
from book.units import MONEY, SCALE, SECOND
from risk.commands import (
    Command,
    Continue,
    Deposit,
    Entry,
    OpenAccount,
    Origin,
    Place,
    SetParameters,
    SetProduct,
    Tick,
)
from risk.contract_specs import LEGACY_2025
from risk.events import Event, Refused
from risk.exchange import Exchange
from risk.market import Market
from risk.risk_terms import Parameters
from risk.state import INSURANCE

START = 1_780_401_600_000
BTC = "BTC-PERPETUAL"
PRICES = {"btc_usd": 50_000, "eth_usd": 2_500, "btc_usdc": 50_000, "eth_usdc": 2_500}
ORDERS = 9_990
"""Open orders of one account: slightly fewer than the house rules allow."""

TAKER, MAKER, FIRST = 101, 102, 103

RULES: dict[str, Any] = {}
"""House rules that differ from the defaults: tests set small slices."""


@define(eq=False)
class Venue:
    """An exchange with two rich accounts, and the time of its next entry."""

    exchange: Exchange = field(factory=Exchange)
    time: int = START
    prices: dict[str, int] = field(factory=lambda: dict(PRICES) | {"sol_usdc": 150})
    parameters: dict[str, Any] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.do(SetParameters(parameters=Parameters(**(RULES | self.parameters))))
        for contract, terms in LEGACY_2025:
            self.do(SetProduct(contract=contract, terms=terms))
        self.do(Deposit(account=INSURANCE, currency="BTC", amount=MONEY // 1_000))
        for number in (TAKER, MAKER):
            self.open(number, 100_000)
        self.tick()

    @property
    def market(self) -> Market:
        """The market of all cases that need only one."""
        return self.exchange.state.markets[BTC]

    def do(self, command: Command, session: int = 0) -> list[Event]:
        """Apply one command; AssertionError if it is refused, for then the case is not built."""
        sequence = self.exchange.state.sequence + 1
        origin = Origin(1, 1, session, sequence)
        events = self.exchange.apply(Entry(sequence, self.time, origin, command))
        refused = [event for event in events if isinstance(event, Refused)]
        assert not refused, (command, refused)
        return events

    def open(self, number: int, coins: float) -> None:
        """Open an account and deposit BTC."""
        self.do(OpenAccount(account=number, name=str(number)))
        amount = int(coins * 10_000) * (MONEY // 10_000)
        self.do(Deposit(account=number, currency="BTC", amount=amount))

    def crowd(self, count: int, coins: float = 1) -> range:
        """Open `count` accounts and return their numbers."""
        numbers = range(FIRST, FIRST + count)
        for number in numbers:
            self.open(number, coins)
        return numbers

    def tick(self, **prices: int) -> None:
        """Let a second pass and apply a Tick, with new prices where given."""
        self.time += SECOND
        self.do(self.heartbeat(**prices))

    def heartbeat(self, **prices: int) -> Tick:
        """Return a Tick with all index prices."""
        self.prices.update(prices)
        return Tick(prices=tuple((name, price * SCALE) for name, price in self.prices.items()))

    def order(
        self,
        account: int,
        side: Side,
        contracts: int,
        price: int,
        market: str = BTC,
        session: int = 0,
        **terms: Any,
    ) -> None:
        """Place an order of a number of contracts."""
        self.do(place(account, side, contracts, price, market, **terms), session)

    def trade(self, buyer: int, seller: int, contracts: int, market: str = BTC) -> None:
        """Let two accounts trade at the mark."""
        found = self.exchange.state.markets[market]
        price = found.instrument.floor_to_tick(found.mark)
        for account, side in ((buyer, Side.BUY), (seller, Side.SELL)):
            amount = found.instrument.contract.contract_size * contracts
            order = Place(account=account, instrument=market, side=side, amount=amount, price=price)
            self.do(order)

    def hold(self, accounts: range, contracts: int, market: str = BTC) -> None:
        """Let the maker sell contracts to each account."""
        for account in accounts:
            self.trade(account, MAKER, contracts, market)

    def finish(self) -> None:
        """Apply Continue entries until no work is left."""
        while self.exchange.busy:
            self.do(Continue())

    def measure(self, step: Callable[[], object]) -> float:
        """Return the seconds of processor that a step takes."""
        return measured(step)

    def longest(self, command: Command, session: int = 0) -> float:
        """Return the seconds of the longest entry of a command and the Continues after it."""
        gc.collect()
        gc.freeze()
        longest = measured(lambda: self.do(command, session))
        while self.exchange.busy:
            longest = max(longest, measured(lambda: self.do(Continue())))
        gc.unfreeze()
        return longest


def measured(step: Callable[[], object]) -> float:
    """Return the seconds of processor time that a step takes."""
    start = process_time()
    step()
    return process_time() - start


def place(
    account: int, side: Side, contracts: int, price: int, market: str = BTC, **terms: Any
) -> Place:
    """Return the command for an order; market orders have price 0."""
    return Place(
        account=account,
        instrument=market,
        side=side,
        amount=10 * contracts * SCALE,
        price=price * SCALE,
        **terms,
    )
