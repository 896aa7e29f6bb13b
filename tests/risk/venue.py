"""A venue for the tests of the clearing house: an Exchange, its clock and its log.

    venue = open_venue(alice={"BTC": "1"}, bob={"BTC": "1"})
    venue.buy("alice", BTC, "100", "50000")
    trades = venue.sell("bob", BTC, "100", "50000")
    venue.tick(btc_usd="45000")

Amounts, prices and money are decimal strings; `price`, `amount` and `money` convert them to
integer units. Every entry is checked with `Exchange.check`, unless that is switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from attrs import define, field

from book.calendar import expiry_on
from book.instrument import Contract
from book.order import Order, OrderRecord, OrderType, Side
from book.units import HOUR, MONEY, SCALE, SECOND
from risk import liquidation
from risk.commands import (
    Command,
    Continue,
    Deposit,
    Entry,
    Liquidate,
    OpenAccount,
    Origin,
    Place,
    SetParameters,
    SetProduct,
    StartSession,
    Tick,
)
from risk.contract_specs import LEGACY_2025
from risk.events import Event, Ordered, Refused, Traded
from risk.exchange import Exchange
from risk.market import Market
from risk.position import Position, Wallet
from risk.reasons import Reason
from risk.risk_terms import Parameters, Terms
from risk.state import INSURANCE

START = expiry_on(date(2026, 6, 2)) + 4 * HOUR
"""A Tuesday, 12:00 UTC."""

BTC = "BTC-PERPETUAL"
ETH = "ETH-PERPETUAL"
BTC_USDC = "BTC_USDC-PERPETUAL"
ETH_USDC = "ETH_USDC-PERPETUAL"
SOL_USDC = "SOL_USDC-PERPETUAL"
WEEKLY = "BTC-5JUN26"
MONTHLY = "BTC-26JUN26"
QUARTERLY = "BTC-25SEP26"
"""Dated futures as they are listed at START. June's month end is also its quarter end; until it
has expired, September is not listed, see `Exchange.state.markets` for what is."""

PRICES = {
    "btc_usd": "50000",
    "eth_usd": "2500",
    "btc_usdc": "50000",
    "eth_usdc": "2500",
    "sol_usdc": "150",
}

E = TypeVar("E", bound=Event)


def price(number: str | int) -> int:
    """Convert a price or an amount to 1e-8."""
    return int(Decimal(number) * SCALE)


amount = price


def money(number: str | int) -> int:
    """Convert money to 1e-12."""
    return int(Decimal(number) * MONEY)


def of_type(events: Iterable[Event], kind: type[E]) -> list[E]:
    """Return the events of one type, in order."""
    return [event for event in events if isinstance(event, kind)]


def reason(events: Iterable[Event]) -> Reason | None:
    """Return the reason of a refusal, or None."""
    refusals = of_type(events, Refused)
    return refusals[0].reason if refusals else None


def order(events: Iterable[Event]) -> OrderRecord:
    """Return the order of the answer; raise AssertionError if it was refused."""
    answers = of_type(events, Ordered)
    assert answers, f"no order: {reason(events)}"
    return answers[0].order


def trades(events: Iterable[Event]) -> list[tuple[int, int]]:
    """Return (price, amount) of each trade, in order."""
    return [(trade.price, trade.amount) for trade in of_type(events, Traded)]


def parse_trades(*pairs: tuple[str, str]) -> list[tuple[int, int]]:
    """Parse (price, amount) of trades from text."""
    return [(price(limit), amount(size)) for limit, size in pairs]


@define
class Venue:
    """An exchange and its log; each of `followers` is called with every entry and its events."""

    exchange: Exchange = field(factory=Exchange)
    time: int = START
    checked: bool = True
    accounts: dict[str, int] = field(factory=dict)
    entries: list[Entry] = field(factory=list)
    events: list[list[Event]] = field(factory=list)
    prices: dict[str, int] = field(factory=dict)
    followers: list[Callable[[Entry, list[Event]], None]] = field(factory=list)

    def do(
        self,
        command: Command,
        *,
        after: int = 0,
        at: int | None = None,
        session: int = 0,
        request: int = 0,
        key: str = "",
        check: bool | None = None,
    ) -> list[Event]:
        """Apply one command, `after` milliseconds later or `at` a time."""
        self.time = self.time + after if at is None else at
        origin = Origin(1, 1, session, request, key)
        entry = Entry(len(self.entries) + 1, self.time, origin, command)
        self.entries.append(entry)
        events = self.exchange.apply(entry)
        self.events.append(events)
        for follow in self.followers:
            follow(entry, events)
        if self.checked if check is None else check:
            self.exchange.check()
        return events

    def number(self, account: str | int) -> int:
        """Return an account's number."""
        return self.accounts[account] if isinstance(account, str) else account

    def open(self, name: str, **deposits: str) -> int:
        """Open an account with some money."""
        number = 101 + len(self.accounts)
        self.accounts[name] = number
        self.do(OpenAccount(account=number, name=name))
        for currency, sum_in in deposits.items():
            self.deposit(number, currency, sum_in)
        return number

    def deposit(self, account: str | int, currency: str, sum_in: str) -> list[Event]:
        """Deposit money to an account."""
        number = self.number(account)
        return self.do(Deposit(account=number, currency=currency, amount=money(sum_in)))

    def tick(self, after: int = SECOND, **prices: str) -> list[Event]:
        """Send a heartbeat with all prices, of which the given ones are new."""
        self.prices |= {name: price(number) for name, number in prices.items()}
        return self.do(Tick(prices=tuple(self.prices.items())), after=after)

    def place(
        self,
        account: str | int,
        instrument: str,
        side: Side,
        quantity: str | int,
        limit: str | int | None = None,
        **terms: Any,
    ) -> list[Event]:
        """Place a limit order, or without a limit a market order. `after` etc. go to `do`."""
        doing = {key: terms.pop(key) for key in _DOING if key in terms}
        terms.setdefault("type", OrderType.MARKET if limit is None else OrderType.LIMIT)
        command = Place(
            account=self.number(account),
            instrument=instrument,
            side=side,
            amount=amount(quantity),
            price=price(limit or 0),
            **terms,
        )
        return self.do(command, **doing)

    def buy(self, account: str | int, instrument: str, *args: Any, **terms: Any) -> list[Event]:
        """Place a bid; see `place`."""
        return self.place(account, instrument, Side.BUY, *args, **terms)

    def sell(self, account: str | int, instrument: str, *args: Any, **terms: Any) -> list[Event]:
        """Place an offer; see `place`."""
        return self.place(account, instrument, Side.SELL, *args, **terms)

    def trade(self, buyer: str, seller: str, instrument: str, *args: Any) -> list[Event]:
        """Let two accounts trade with each other at a price; the buyer is the maker."""
        self.buy(buyer, instrument, *args)
        return self.sell(seller, instrument, *args)

    def login(self, account: str | int, session: int, **doing: Any) -> list[Event]:
        """Start a session of an account."""
        return self.do(StartSession(session=session, account=self.number(account)), **doing)

    def liquidate(self) -> list[Event]:
        """Run one round for every account that is due, worst first, and finish all work."""
        events: list[Event] = []
        for account, currency in liquidation.pending(self.exchange.state):
            events += self.do(Liquidate(account=account, currency=currency))
        return events + self.finish()

    def finish(self) -> list[Event]:
        """Send Continue entries until no work is in progress."""
        events: list[Event] = []
        for _ in range(100_000):
            if not self.exchange.busy:
                return events
            events += self.do(Continue())
        raise AssertionError("work in progress never ends")

    def set_parameters(self, **parameters: Any) -> list[Event]:
        """Set parameters; the others have their defaults."""
        return self.do(SetParameters(parameters=Parameters(**parameters)))

    def market(self, instrument: str) -> Market:
        """Return a market."""
        return self.exchange.state.markets[instrument]

    def wallet(self, account: str | int, currency: str) -> Wallet:
        """Return a wallet. Its cached sums may be stale: see `risk.margin_cache`."""
        return self.exchange.state.wallet(self.number(account), currency)

    def position(self, account: str | int, instrument: str) -> Position | None:
        """Return a position, or None."""
        held: Position | None = self.market(instrument).positions.get(self.number(account))
        return held

    def size(self, account: str | int, instrument: str) -> int:
        """Return the size of an account's position, in 1e-8."""
        position = self.position(account, instrument)
        return position.size if position is not None else 0

    def orders(self, account: str | int) -> list[Order]:
        """Return an account's open orders, oldest first."""
        return list(self.exchange.state.accounts[self.number(account)].orders.values())


_DOING = ("after", "at", "session", "request", "check")


def open_venue(
    *,
    catalogue: Iterable[tuple[Contract, Terms]] = LEGACY_2025,
    insurance: dict[str, str] | None = None,
    prices: dict[str, str] | None = None,
    time: int = START,
    checked: bool = True,
    parameters: dict[str, Any] | None = None,
    **accounts: dict[str, str],
) -> Venue:
    """Return a venue with products, accounts (name to deposits), insurance fund and first Tick."""
    venue = Venue(time=time, checked=checked)
    if parameters:
        venue.set_parameters(**parameters)
    for contract, terms in catalogue:
        venue.do(SetProduct(contract=contract, terms=terms))
    for currency, sum_in in (insurance or {}).items():
        venue.deposit(INSURANCE, currency, sum_in)
    for name, deposits in accounts.items():
        venue.open(name, **deposits)
    venue.tick(after=0, **(PRICES | (prices or {})))
    return venue
