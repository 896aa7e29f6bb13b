"""Everything that can be asked of the venue. A command is a request; its outcome is an event."""

from __future__ import annotations

import msgspec

from book.instrument import Contract
from book.order import OrderType, SelfTrading, Side, TimeInForce
from risk.risk_terms import Parameters, Terms


class Command(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag=True, tag_field="command"):
    """One request. Prices and amounts in 1e-8, money in 1e-12, times in milliseconds."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Where a command came from: node, its start number, session, request number in it.

    The venue copies it to its answer and decides nothing by it, except that a request number
    does nothing twice in one session. Session 0 is nobody's: HTTP requests, timers. A `key` that
    is not empty names the request for all time, whoever sends it again (see risk.idempotency).
    """

    node: int = 0
    start: int = 0
    session: int = 0
    request: int = 0
    key: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A command in its place: sequence number, the time it was stamped with, its origin."""

    sequence: int
    time: int
    origin: Origin
    command: Command


class Place(Command, frozen=True, kw_only=True):
    """A new order. `price` is 0 for market types; `valid_until` 0 is for ever."""

    account: int
    instrument: str
    side: Side
    amount: int
    type: OrderType = OrderType.LIMIT
    price: int = 0
    time_in_force: TimeInForce = TimeInForce.GOOD_TIL_CANCELLED
    label: str = ""
    post_only: bool = False
    reject_post_only: bool = False
    reduce_only: bool = False
    valid_until: int = 0


class Edit(Command, frozen=True, kw_only=True):
    """A change of a resting order; None keeps what is. `amount` is the new total, with fills."""

    account: int
    order_id: int
    amount: int | None = None
    price: int | None = None
    post_only: bool | None = None
    reject_post_only: bool | None = None
    reduce_only: bool | None = None
    valid_until: int = 0


class ClosePosition(Command, frozen=True, kw_only=True):
    """A reduce-only order for the whole position; `price` 0 is a market order."""

    account: int
    instrument: str
    price: int = 0


class Cancel(Command, frozen=True, kw_only=True):
    """The end of one order."""

    account: int
    order_id: int


class CancelAll(Command, frozen=True, kw_only=True):
    """The end of every order that fits; an empty filter fits all. `detailed` wants the orders."""

    account: int
    currencies: tuple[str, ...] = ()
    instrument: str = ""
    type: OrderType | None = None
    label: str = ""
    detailed: bool = False


class StartSession(Command, frozen=True, kw_only=True):
    """A connection has logged in; its orders may now come. Idempotent."""

    session: int
    account: int


class EndSession(Command, frozen=True, kw_only=True):
    """A connection is gone. `quietly` is a log-out, which spares its orders."""

    session: int
    quietly: bool = False


class EndSessions(Command, frozen=True, kw_only=True):
    """All sessions below a number are gone: a process has started anew."""

    before: int


class SetCancelOnDisconnect(Command, frozen=True, kw_only=True):
    """Whether orders end with their connection: this session's, or (session 0) the default."""

    account: int
    session: int
    enabled: bool


class OpenAccount(Command, frozen=True, kw_only=True):
    """A new client account; client numbers start above the system's (see risk.accounts)."""

    account: int
    name: str


class Deposit(Command, frozen=True, kw_only=True):
    """Money comes in."""

    account: int
    currency: str
    amount: int


class Withdraw(Command, frozen=True, kw_only=True):
    """Money goes out, if it is free."""

    account: int
    currency: str
    amount: int


class SetSelfTrading(Command, frozen=True, kw_only=True):
    """What happens when the account meets its own orders."""

    account: int
    mode: SelfTrading


class SetProduct(Command, frozen=True, kw_only=True):
    """A contract family is offered, or its risk terms change; instruments follow the calendar."""

    contract: Contract
    terms: Terms


class SetParameters(Command, frozen=True, kw_only=True):
    """New house rules."""

    parameters: Parameters


class Tick(Command, frozen=True, kw_only=True):
    """The supervisor's heartbeat with all index prices that it has, by name."""

    prices: tuple[tuple[str, int], ...]


class Liquidate(Command, frozen=True, kw_only=True):
    """One round of liquidation, if the account is still below maintenance margin."""

    account: int
    currency: str


class Continue(Command, frozen=True, kw_only=True):
    """Go on with work that is too large for one entry."""


class Checkpoint(Command, frozen=True, kw_only=True):
    """The trail of events up to an entry, as the live venue had it, for every replay to compare.

    Changes nothing but time. `digest` is hexadecimal.
    """

    sequence: int
    digest: str


class Skip(Command, frozen=True, kw_only=True):
    """An earlier entry, which no replay can apply either, is to be left out by all of them.

    Changes nothing but time itself: who reads the log has looked ahead for it.
    """

    sequence: int
    reason: str
