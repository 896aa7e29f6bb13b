"""The whole state of the venue: plain data, changed only by the functions beside it."""

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
"""Client accounts are numbered from here; what is below belongs to the venue itself."""


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
    """A live connection of an account; `orders` are the open orders it placed."""

    number: int
    account: int
    cancel_on_disconnect: bool = False
    last_request: int = 0
    orders: dict[int, Order] = field(factory=dict)


class Due(IntEnum):
    """What time brings by itself, in the order in which it happens at one moment."""

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
    """Everything that `apply` may change. Read it freely between two entries.

    `marks` counts the changes of any mark price or funding index; `ticks` counts Ticks.
    `due` is a heap of (time, kind, name). `phases` is work in progress, first in line first.
    `overtaken` are the sessions that ended last, whether they had started or not. `outcomes` are
    the first answers to keyed requests and `undecided` those without one yet, both by account (see
    risk.idempotency). `deposited` is deposits minus withdrawals per currency. `watch` is derived
    from the rest.
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
        """All settlement currencies, in the order in which products brought them."""
        return list(self.wallets)

    def add_currency(self, currency: str) -> None:
        """Make a settlement currency known."""
        self.wallets.setdefault(currency, SortedDict())

    def emit(self, event: Event) -> None:
        """Report something that happened; it leaves when the entry is done."""
        self.events.append(event)

    def refuse(self, reason: Reason, detail: str = "") -> None:
        """Answer the present command: nothing changed, and why."""
        self.emit(Refused(self.origin, reason, detail))

    def wallet(self, account: int, currency: str) -> Wallet:
        """An account's wallet, made when first needed. The account must exist."""
        wallets = self.accounts[account].wallets
        wallet = wallets.get(currency)
        if wallet is None:
            wallet = wallets[currency] = Wallet(account, currency)
            self.add_currency(currency)
            self.wallets[currency][account] = wallet
        return wallet

    def position(self, account: int, market: Market) -> Position:
        """An account's position in a market, made when first needed."""
        position: Position | None = market.positions.get(account)
        if position is None:
            wallet = self.wallet(account, market.currency)
            position = Position(wallet, market, funding_index=market.funding_index)
            market.positions[account] = wallet.positions[market.name] = position
        return position

    def fee_account(self, currency: str) -> Wallet:
        """Where trading fees go."""
        return self.wallet(FEES, currency)

    def insurance(self, currency: str) -> Wallet:
        """The insurance fund."""
        return self.wallet(INSURANCE, currency)

    def funding_pool(self, currency: str) -> Wallet:
        """The other side of every funding payment; it holds what rounding leaves."""
        return self.wallet(FUNDING_POOL, currency)

    def rounding(self, currency: str) -> Wallet:
        """What settlements leave when values of many positions are rounded one by one."""
        return self.wallet(ROUNDING, currency)

    def deficit(self, currency: str) -> Wallet:
        """Losses that nobody has borne yet; never above zero."""
        return self.wallet(DEFICIT, currency)
