"""A desk at a small venue: people and house by name, and what the venue last told them.

Behind it is the real exchange with the catalogue's contracts. After every entry the exchange
proves its identities, and the desk that a liquidation touched nobody above maintenance margin.
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
    """A decimal number as a whole number of units; more digits than the scale holds are a slip."""
    scaled = Decimal(number) * scale
    assert scaled == int(scaled), f"{number} has more digits than 1/{scale}"
    return int(scaled)


def money(number: str) -> int:
    """A sum of money in 1e-12."""
    return units(number, MONEY)


def percent(number: str) -> int:
    """A rate in 1e-12, written in percent."""
    return units(number, RATE // 100)


def moment(day: str) -> int:
    """A UTC time, `2026-11-20 08:00:00`, in milliseconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * SECOND


START = "2026-11-18 12:00:00"
"""A Wednesday. The weekly future ends on Friday, 20 November, the monthly a week later."""


def _open_venue() -> Venue:
    venue = Venue(time=moment(START))
    for contract, terms in LEGACY_2025:
        venue.do(SetProduct(contract=contract, terms=terms))
    return venue


@define(eq=False)
class Desk:
    """The venue, who is who, and the events that no table has asked for yet.

    `outcome` is what the last command was answered with, in a word or two.
    """

    venue: Venue = field(factory=_open_venue)
    people: dict[str, int] = field(factory=lambda: _HOUSE | {"fund": INSURANCE})
    unread: list[Event] = field(factory=list)
    outcome: str = ""
    requests: count[int] = field(factory=lambda: count(1))

    @property
    def state(self) -> State:
        """What the exchange knows."""
        return self.venue.exchange.state

    def name(self, account: int) -> str:
        """Who has this account number."""
        names = {number: name for name, number in self.people.items()}
        return names[account]

    def market(self, name: str) -> Market:
        """A listed instrument's market."""
        return self.venue.market(name)

    def do(self, command: Command, session: int = 0) -> None:
        """Put one command into the log at the present time."""
        safe = isinstance(command, Liquidate) and self._is_safe(command)
        request = next(self.requests)
        events = self.venue.do(command, session=session, request=request)
        assert not (safe and of_type(events, Liquidated)), "nobody sound is liquidated"
        self.unread += events
        mine = Origin(1, 1, session, request)
        self.outcome = describe([e for e in of_type(events, Answer) if e.origin == mine])

    def _is_safe(self, command: Liquidate) -> bool:
        """Whether a client is at or above maintenance margin, counted afresh."""
        wallet = self.state.wallet(command.account, command.currency)
        wallet.marks = -1
        return command.account >= FIRST_CLIENT and not margin.is_locked(self.state, wallet)

    def endow(self, who: str, amount: str, currency: str) -> None:
        """Give somebody money, and a new client an account first."""
        if who not in self.people:
            number = max(FIRST_CLIENT, 1 + max(self.people.values()))
            self.do(OpenAccount(account=number, name=who))
            self.people[who] = number
        self.do(Deposit(account=self.people[who], currency=currency, amount=money(amount)))

    def tick(self) -> None:
        """The supervisor's heartbeat with all index prices so far."""
        self.do(Tick(prices=tuple(sorted(self.venue.prices.items()))))

    def work(self) -> None:
        """Carry on with what is in progress until nothing is left of it."""
        while self.venue.exchange.busy:
            self.do(Continue())

    def liquidate(self) -> None:
        """What the supervisor does after a Tick: one round for everybody who is due."""
        self.work()
        for account, currency in liquidation.pending(self.state):
            self.do(Liquidate(account=account, currency=currency))
        self.work()

    def order(
        self, who: str, side: Side, amount: str, instrument: str, price: str, terms: str = ""
    ) -> None:
        """Place an order at a price or at "market".

        `terms` are words: `reduce-only`, `post-only`, `day`, and `session-7` for where it came
        from.
        """
        words = set(terms.split())
        sessions = {word for word in words if word.startswith("session-")}
        unknown = words - sessions - {"reduce-only", "post-only", "day"}
        assert not unknown, f"unknown terms of an order: {unknown}"
        market = price == "market"
        command = Place(
            account=self.people[who],
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

    def rules(self, **changes: object) -> None:
        """Change some of the house rules."""
        self.do(SetParameters(parameters=Parameters(**asdict(self.state.parameters) | changes)))

    def check_house(self) -> None:
        """Nothing is in progress, and clients and fund stand on their own money.

        A full look at every account: none below zero, and no client in liquidation.
        """
        assert not self.venue.exchange.busy, "work is left"
        for currency in self.state.currencies():
            for account, wallet in self.state.wallets[currency].items():
                wallet.marks = -1
                locked = margin.is_locked(self.state, wallet)
                assert account < FIRST_CLIENT or not locked, f"{account} is in liquidation"
                if account >= FIRST_CLIENT or account == INSURANCE:
                    assert wallet.margin_balance >= 0, f"{account} is below zero"

    def check_replay(self) -> None:
        """The same entries give the same state, from nothing."""
        again = Exchange()
        for entry in self.venue.entries:
            again.apply(entry)
        assert self.venue.exchange.digest() == again.digest()


def describe(answers: list[Answer]) -> str:
    """What the sender was told; "" for no answer."""
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
