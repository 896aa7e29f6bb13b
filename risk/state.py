"""The state of the venue: plain data, changed only by the functions of this package."""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Protocol

from attrs import define, field
from sortedcontainers import SortedDict

from book.order import Order, SelfTrading
from risk.commands import Origin, SetProduct
from risk.entry_report import EntryReport
from risk.events import Event, Refused
from risk.idempotency import Outcomes
from risk.margin_watch import MarginWatch
from risk.market import Index, Market
from risk.position import Position, Wallet
from risk.reasons import Reason
from risk.risk_terms import Parameters

FEES, INSURANCE, FUNDING_POOL, ROUNDING, DEFICIT = 1, 2, 3, 4, 5
SYSTEM_ACCOUNTS = {
    FEES: "fees",
    INSURANCE: "insurance fund",
    FUNDING_POOL: "funding pool",
    ROUNDING: "rounding",
    DEFICIT: "deficit",
}
FIRST_CLIENT = 101
"""The lowest number of a client account. Lower numbers are system accounts."""


@define(eq=False)
class Account:
    """A participant. `orders` are its open orders in every market, oldest first."""

    number: int
    name: str
    created: int
    wallets: dict[str, Wallet] = field(factory=dict)
    orders: dict[int, Order] = field(factory=dict)
    self_trading: SelfTrading = SelfTrading.REJECT_TAKER
    cancel_on_disconnect: bool = False


@define(eq=False)
class Session:
    """A live session of an account; `orders` are the open orders that it placed."""

    number: int
    account: int
    cancel_on_disconnect: bool = False
    last_request: int = 0
    orders: dict[int, Order] = field(factory=dict)


class Due(IntEnum):
    """The kinds of scheduled events, in the order in which they are handled at one time."""

    EXPIRY = 0
    SETTLEMENT = 1
    LISTING = 2
    AVERAGING = 3


class Phase(Protocol):
    """Work in progress: an attrs class of plain values, so that a snapshot can hold it."""

    done: bool

    def advance(self, state: State, budget: int) -> int:
        """Do at most `budget` steps, at least one if work is left, and return how many."""
        ...

    def withheld(self, state: State, wallet: Wallet, /) -> int:
        """Return the part of a wallet's money that this work may claim: it cannot be withdrawn."""
        ...


@define(eq=False)
class State:
    """Everything that `apply` may change. It may be read at any time between two entries.

    `marks` counts the changes of mark prices and funding indices; `ticks` counts Ticks.
    `due` is a heap of scheduled (time, kind, name). `phases` is the work in progress, in order.
    `overtaken` holds the sessions that ended last, whether they had started or not. `outcomes`
    holds the first answers to keyed requests and `undecided` the keyed requests in progress, both
    by account (see risk.idempotency). `deposited` is deposits minus withdrawals per currency.
    `watch` is a cache derived from the rest.
    `origin`, `events` and `report` belong to the present entry, or to the last one.
    """

    time: int = 0
    sequence: int = 0
    ticks: int = 0
    marks: int = 0
    heartbeat: int = 0
    parameters: Parameters = field(factory=Parameters)
    products: dict[tuple[str, bool], SetProduct] = field(factory=dict)
    indices: dict[str, Index] = field(factory=dict)
    markets: dict[str, Market] = field(factory=dict)
    expired: deque[Market] = field(factory=lambda: deque(maxlen=100))
    accounts: dict[int, Account] = field(factory=dict)
    wallets: dict[str, SortedDict[int, Wallet]] = field(factory=dict)
    sessions: dict[int, Session] = field(factory=dict)
    first_session: int = 0
    overtaken: dict[int, None] = field(factory=dict)
    outcomes: dict[str, Outcomes] = field(factory=dict)
    undecided: dict[str, dict[str, Origin]] = field(factory=dict)
    deposited: dict[str, int] = field(factory=dict)
    due: list[tuple[int, Due, str]] = field(factory=list)
    phases: deque[Phase] = field(factory=deque)
    instruments: int = 0
    orders: int = 0
    trades: int = 0
    watch: MarginWatch = field(factory=MarginWatch)
    origin: Origin = field(factory=Origin)
    events: list[Event] = field(factory=list)
    report: EntryReport = field(factory=EntryReport)

    def currencies(self) -> list[str]:
        """Return all settlement currencies, in the order in which products added them."""
        return list(self.wallets)

    def add_currency(self, currency: str) -> None:
        """Add a settlement currency, unless it exists."""
        self.wallets.setdefault(currency, SortedDict())

    def emit(self, event: Event) -> None:
        """Add an event to those of the present entry."""
        self.events.append(event)

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """Answer the present command with a refusal."""
        self.emit(Refused(self.origin, reason, detail))

    def wallet(self, account: int, currency: str) -> Wallet:
        """Return an account's wallet, created when first needed. The account must exist."""
        wallets = self.accounts[account].wallets
        wallet = wallets.get(currency)
        if wallet is None:
            wallet = wallets[currency] = Wallet(account, currency)
            self.add_currency(currency)
            self.wallets[currency][account] = wallet
        return wallet

    def position(self, account: int, market: Market) -> Position:
        """Return an account's position in a market, created when first needed."""
        position: Position | None = market.positions.get(account)
        if position is None:
            wallet = self.wallet(account, market.currency)
            position = Position(wallet, market, funding_index=market.funding_index)
            market.positions[account] = wallet.positions[market.name] = position
        return position

    def fee_account(self, currency: str) -> Wallet:
        """Return the wallet that receives trading fees."""
        return self.wallet(FEES, currency)

    def insurance(self, currency: str) -> Wallet:
        """Return the wallet of the insurance fund."""
        return self.wallet(INSURANCE, currency)

    def funding_pool(self, currency: str) -> Wallet:
        """Return the counterparty of every funding payment; it keeps rounding differences."""
        return self.wallet(FUNDING_POOL, currency)

    def rounding(self, currency: str) -> Wallet:
        """Return the counterparty of every settlement; it keeps rounding differences."""
        return self.wallet(ROUNDING, currency)

    def deficit(self, currency: str) -> Wallet:
        """Return the wallet of losses that are not covered yet; its balance is at most zero."""
        return self.wallet(DEFICIT, currency)
