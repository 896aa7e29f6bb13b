"""A scenario at a small venue: accounts by name, and the last answer of the venue.

It uses the real exchange with the contracts of the parameter set. After every entry the exchange
checks its invariants, and the scenario checks that no account above maintenance margin is
liquidated.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count

from attrs import define, field
from msgspec.structs import asdict

from book.order import OrderType, Side, TimeInForce
from book.units import MONEY, RATE, SCALE, SECOND, text
from risk import liquidation, margin
from risk.commands import (
    Command,
    Continue,
    Deposit,
    Liquidate,
    OpenAccount,
    Origin,
    Place,
    SetParameters,
    SetProduct,
    Tick,
)
from risk.contract_specs import LEGACY_2025
from risk.events import (
    Answer,
    Cancelled,
    CancelledAll,
    Event,
    Liquidated,
    Ordered,
    Refused,
)
from risk.exchange import Exchange
from risk.market import Market
from risk.risk_terms import Parameters
from risk.state import FIRST_CLIENT, INSURANCE, SYSTEM_ACCOUNTS, State
from tests.risk.venue import Venue, of_type

_HOUSE = {name.replace(" ", "-"): number for number, name in SYSTEM_ACCOUNTS.items()}


def units(number: str, scale: int = SCALE) -> int:
    """Convert a decimal number to a whole number of units; fail for more digits than these."""
    scaled = Decimal(number) * scale
    assert scaled == int(scaled), f"{number} has more digits than 1/{scale}"
    return int(scaled)


def money(number: str) -> int:
    """Convert an amount of money to 1e-12."""
    return units(number, MONEY)


def percent(number: str) -> int:
    """Convert a rate in percent to 1e-12."""
    return units(number, RATE // 100)


def milliseconds(day: str) -> int:
    """Convert a UTC time such as `2026-11-20 08:00:00` to milliseconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * SECOND


START = "2026-11-18 12:00:00"
"""A Wednesday. The weekly future ends on Friday, 20 November, the monthly a week later."""


def _open_venue() -> Venue:
    venue = Venue(time=milliseconds(START))
    for contract, terms in LEGACY_2025:
        venue.do(SetProduct(contract=contract, terms=terms))
    return venue


@define(eq=False)
class Scenario:
    """A venue, its accounts by name, and the events that no table has shown yet.

    `outcome` is the answer to the last command, in short.
    """

    venue: Venue = field(factory=_open_venue)
    accounts: dict[str, int] = field(factory=lambda: _HOUSE | {"fund": INSURANCE})
    unread_events: list[Event] = field(factory=list)
    outcome: str = ""
    requests: count[int] = field(factory=lambda: count(1))

    @property
    def state(self) -> State:
        """The state of the exchange."""
        return self.venue.exchange.state

    def name(self, account: int) -> str:
        """Return the name of an account."""
        names = {number: name for name, number in self.accounts.items()}
        return names[account]

    def market(self, name: str) -> Market:
        """Return the market of a listed instrument."""
        return self.venue.market(name)

    def do(self, command: Command, session: int = 0) -> None:
        """Append one command to the log, at the present time."""
        safe = isinstance(command, Liquidate) and self._is_safe(command)
        request = next(self.requests)
        events = self.venue.do(command, session=session, request=request)
        assert not (safe and of_type(events, Liquidated)), "a sound account is liquidated"
        self.unread_events += events
        mine = Origin(1, 1, session, request)
        self.outcome = describe([e for e in of_type(events, Answer) if e.origin == mine])

    def _is_safe(self, command: Liquidate) -> bool:
        """Return whether a client is at or above maintenance margin, measured anew."""
        wallet = self.state.wallet(command.account, command.currency)
        wallet.marks = -1
        return command.account >= FIRST_CLIENT and not margin.is_locked(self.state, wallet)

    def deposit(self, account: str, amount: str, currency: str) -> None:
        """Deposit money, after opening an account for a new client."""
        if account not in self.accounts:
            number = max(FIRST_CLIENT, 1 + max(self.accounts.values()))
            self.do(OpenAccount(account=number, name=account))
            self.accounts[account] = number
        self.do(Deposit(account=self.accounts[account], currency=currency, amount=money(amount)))

    def tick(self) -> None:
        """Send the supervisor's heartbeat with all index prices so far."""
        self.do(Tick(prices=tuple(sorted(self.venue.prices.items()))))

    def finish_work(self) -> None:
        """Send Continue entries until no work is in progress."""
        while self.venue.exchange.busy:
            self.do(Continue())

    def liquidate(self) -> None:
        """Run one liquidation round for every account that is due, as the supervisor does."""
        self.finish_work()
        for account, currency in liquidation.pending(self.state):
            self.do(Liquidate(account=account, currency=currency))
        self.finish_work()

    def order(
        self, account: str, side: Side, amount: str, instrument: str, price: str, terms: str = ""
    ) -> None:
        """Place an order at a price or at "market".

        `terms` are words: `reduce-only`, `post-only`, `day`, and `session-7` for the
        session of its origin.
        """
        words = set(terms.split())
        sessions = {word for word in words if word.startswith("session-")}
        unknown = words - sessions - {"reduce-only", "post-only", "day"}
        assert not unknown, f"unknown terms of an order: {unknown}"
        market = price == "market"
        command = Place(
            account=self.accounts[account],
            instrument=instrument,
            side=side,
            amount=units(amount),
            type=OrderType.MARKET if market else OrderType.LIMIT,
            price=0 if market else units(price),
            time_in_force=TimeInForce("good_til_day" if "day" in words else "good_til_cancelled"),
            reduce_only="reduce-only" in words,
            post_only="post-only" in words,
        )
        self.do(command, *(int(word.removeprefix("session-")) for word in sessions))

    def set_parameters(self, **changes: object) -> None:
        """Change some of the venue's parameters."""
        self.do(SetParameters(parameters=Parameters(**asdict(self.state.parameters) | changes)))

    def check_solvency(self) -> None:
        """Check that no work is in progress and that all clients and the fund are sound.

        This measures every account: none is below zero, and no client is in liquidation.
        """
        assert not self.venue.exchange.busy, "work is in progress"
        for currency in self.state.currencies():
            for account, wallet in self.state.wallets[currency].items():
                wallet.marks = -1
                locked = margin.is_locked(self.state, wallet)
                assert account < FIRST_CLIENT or not locked, f"{account} is in liquidation"
                if account >= FIRST_CLIENT or account == INSURANCE:
                    assert wallet.margin_balance >= 0, f"{account} is below zero"

    def check_replay(self) -> None:
        """Check that replaying the entries gives the same state."""
        again = Exchange()
        for entry in self.venue.entries:
            again.apply(entry)
        assert self.venue.exchange.digest() == again.digest()


def describe(answers: list[Answer]) -> str:
    """Describe an answer in short; "" for none."""
    assert len(answers) <= 1, "a request gets one answer"
    if not answers:
        return ""
    (answer,) = answers
    if isinstance(answer, Refused):
        return f"refused: {answer.reason.value} {answer.detail}".rstrip()
    if isinstance(answer, Ordered):
        return f"{answer.order.state.value}, {text(answer.order.filled)} filled"
    if isinstance(answer, CancelledAll):
        return f"{answer.count} cancelled"
    return "cancelled" if isinstance(answer, Cancelled) else "done"
