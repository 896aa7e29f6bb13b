"""Commands: every request that can change the venue. Applying one yields events."""

from __future__ import annotations

import msgspec

from book.instrument import Contract
from book.order import OrderType, SelfTrading, Side, TimeInForce
from risk.risk_terms import Parameters, Terms


class Command(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag=True, tag_field="command"):
    """One request. Prices and amounts in 1e-8, money in 1e-12, times in milliseconds."""


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The origin of a command: node, start number of its process, session, request number.

    The venue copies it to the answer. It affects the result only in that a request number is
    applied at most once per session. Session 0 stands for HTTP requests and timers. A non-empty
    `key` identifies the request across sessions and restarts (see risk.idempotency).
    """

    node: int = 0
    start: int = 0
    session: int = 0
    request: int = 0
    key: str = ""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A command in the log, with its sequence number, time stamp and origin."""

    sequence: int
    time: int
    origin: Origin
    command: Command


class Place(Command, frozen=True, kw_only=True):
    """Place an order. `price` is 0 for market orders; `valid_until` 0 means no limit."""

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
    """Change a resting order; None keeps a value. `amount` is the new total, fills included."""

    account: int
    order_id: int
    amount: int | None = None
    price: int | None = None
    post_only: bool | None = None
    reject_post_only: bool | None = None
    reduce_only: bool | None = None
    valid_until: int = 0


class ClosePosition(Command, frozen=True, kw_only=True):
    """Place a reduce-only order for the whole position; `price` 0 means a market order."""

    account: int
    instrument: str
    price: int = 0


class Cancel(Command, frozen=True, kw_only=True):
    """Cancel one order."""

    account: int
    order_id: int


class CancelAll(Command, frozen=True, kw_only=True):
    """Cancel all orders that match the filters; an empty filter matches all.

    With `detailed`, the answer lists the cancelled orders.
    """

    account: int
    currencies: tuple[str, ...] = ()
    instrument: str = ""
    type: OrderType | None = None
    label: str = ""
    detailed: bool = False


class StartSession(Command, frozen=True, kw_only=True):
    """Start the session of a connection that has logged in, before its first order. Idempotent."""

    session: int
    account: int


class EndSession(Command, frozen=True, kw_only=True):
    """End the session of a closed connection. With `quietly`, a log-out, its orders remain."""

    session: int
    quietly: bool = False


class EndSessions(Command, frozen=True, kw_only=True):
    """End all sessions below a number, after a restart of the process."""

    before: int


class SetCancelOnDisconnect(Command, frozen=True, kw_only=True):
    """Set whether orders are cancelled with their connection; session 0 sets the default."""

    account: int
    session: int
    enabled: bool


class OpenAccount(Command, frozen=True, kw_only=True):
    """Open a client account. Its number is `risk.state.FIRST_CLIENT` or above."""

    account: int
    name: str


class Deposit(Command, frozen=True, kw_only=True):
    """Add money to an account."""

    account: int
    currency: str
    amount: int


class Withdraw(Command, frozen=True, kw_only=True):
    """Remove money from an account, if it is not needed as margin."""

    account: int
    currency: str
    amount: int


class SetSelfTrading(Command, frozen=True, kw_only=True):
    """Set what happens when an order would trade with an order of the same account."""

    account: int
    mode: SelfTrading


class SetProduct(Command, frozen=True, kw_only=True):
    """Add a contract family or change its risk terms. Instruments follow the calendar."""

    contract: Contract
    terms: Terms


class SetParameters(Command, frozen=True, kw_only=True):
    """Replace the venue's parameters."""

    parameters: Parameters


class Tick(Command, frozen=True, kw_only=True):
    """The supervisor's heartbeat, with all known index prices by name."""

    prices: tuple[tuple[str, int], ...]


class Liquidate(Command, frozen=True, kw_only=True):
    """Run one round of liquidation, if the account is still below maintenance margin."""

    account: int
    currency: str


class Continue(Command, frozen=True, kw_only=True):
    """Continue work that is too large for one entry."""


class Checkpoint(Command, frozen=True, kw_only=True):
    """The event hash of the live venue up to an entry, for replays to compare with their own.

    It changes nothing but the time. `digest` is hexadecimal.
    """

    sequence: int
    digest: str


class Skip(Command, frozen=True, kw_only=True):
    """Omit an earlier entry, which cannot be applied, from every replay.

    Readers of the log look ahead for it. Applied itself, it changes nothing but the time.
    """

    sequence: int
    reason: str


AnyCommand = (
    Place
    | Edit
    | Cancel
    | CancelAll
    | ClosePosition
    | StartSession
    | EndSession
    | EndSessions
    | SetCancelOnDisconnect
    | OpenAccount
    | Deposit
    | Withdraw
    | SetSelfTrading
    | SetProduct
    | SetParameters
    | Tick
    | Liquidate
    | Continue
    | Checkpoint
    | Skip
)
"""Every kind of command. The tag of its record names its class."""
