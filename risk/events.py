"""Everything that can happen. Events are facts, and a refusal is a fact too.

Prices and amounts are in 1e-8, money in 1e-12, times in milliseconds.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

import msgspec

from book.events import LevelChange
from book.order import OrderRecord, OrderState, OrderType, Side
from risk.commands import Origin
from risk.reasons import Reason

PLAIN_EVENTS: Final = 4
"""Of an order that rests, changes or leaves: the answer, and the change of order, book and wallet.
A trade makes more, and so does whatever time has brought with such an order."""


class Event(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="event"):
    """Something that happened, in the order of its list."""


class Answer(Event, frozen=True):
    """What the sender of `origin` is told. Every request gets exactly one."""

    origin: Origin


class Refused(Answer, frozen=True):
    """The request changed nothing. `detail` is the number or text that belongs to the reason."""

    reason: Reason
    detail: str = ""


class Ordered(Answer, frozen=True):
    """An order as it stands after its request, and the trades that it made at once."""

    order: OrderRecord
    trades: tuple[Traded, ...]


class Cancelled(Answer, frozen=True):
    """One order has ended by request."""

    order: OrderRecord


class CancelledAll(Answer, frozen=True):
    """Orders have ended by request; they are listed where that was asked for."""

    count: int
    orders: tuple[OrderRecord, ...]


class Done(Answer, frozen=True):
    """The request took effect."""


class OrderChanged(Event, frozen=True):
    """An order is new, or has changed, or has ended."""

    order: OrderRecord


class TradeSide(msgspec.Struct, frozen=True, gc=False):
    """One party to a trade, with its order as it stood after the trade.

    `fee` is positive when paid. `profit` is what the trade realised, 0 when it opened, and
    `funding` what the position had accrued and realised with it. `position` is the signed size
    after the trade.
    """

    account: int
    order_id: int
    type: OrderType
    state: OrderState
    side: Side
    label: str
    fee: int
    profit: int
    post_only: bool
    reduce_only: bool
    liquidation: bool
    position: int = 0
    funding: int = 0


class Traded(Event, frozen=True):
    """A trade at the maker's price. `sequence` counts per instrument, `tick` is 0 to 3."""

    trade_id: int
    sequence: int
    instrument: str
    time: int
    price: int
    amount: int
    tick: int
    index: int
    mark: int
    maker: TradeSide
    taker: TradeSide


class BookingKind(StrEnum):
    """Why a balance changed."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRADE_FEE = "trade fee"
    MAKER_REBATE = "maker rebate"
    LIQUIDATION_FEE = "liquidation fee"
    DELIVERY_FEE = "delivery fee"
    FUNDING = "funding"
    """The funding pool's side of it. The other is a position's session result, which reaches the
    balance with the settlement."""
    SETTLEMENT = "settlement"
    DELIVERY = "delivery"
    INSURANCE = "insurance"
    """The fund, and where it cannot the deficit, pays what a bankrupt account owes."""
    SOCIALISED_LOSS = "socialised loss"
    BROUGHT_FORWARD = "brought forward"
    """A balance from before bookings were kept. There is no event of it."""


class Booked(Event, frozen=True, omit_defaults=True):
    """A balance changed by `amount`, and is `balance` now.

    A client's booking comes before the event that it belongs to. `reference` is the trade for fees
    of trades; the entry for deposits, withdrawals and insurance; otherwise the time of the
    settlement. `instrument` is what was settled or delivered.
    Of a system account, all bookings of one kind in an entry are one event, without reference and
    instrument, after all others of the entry.
    """

    account: int
    currency: str
    kind: BookingKind
    amount: int
    balance: int
    reference: int = 0
    instrument: str = ""


class BookChanged(Event, frozen=True):
    """What an entry changed in a book, net, per price level."""

    instrument: str
    changes: tuple[LevelChange, ...]


class PositionChanged(Event, frozen=True):
    """Size, carry or session result of a position moved; read it from the state."""

    account: int
    instrument: str


class WalletChanged(Event, frozen=True):
    """Balance, margin or profit of an account in a currency moved; read it from the state."""

    account: int
    currency: str


class MarksChanged(Event, frozen=True):
    """Index and mark prices have moved: every ticker is new."""


class MarketState(Enum):
    """What a market is ready for; the values are the API's."""

    OPEN = "open"
    SETTLEMENT = "settlement"
    DELIVERED = "delivered"


class MarketChanged(Event, frozen=True):
    """An instrument was listed, or its market changed its state."""

    instrument: str
    state: MarketState


class SettlementKind(Enum):
    """Why money moved at a settlement; the values are the API's."""

    SETTLEMENT = "settlement"
    DELIVERY = "delivery"
    BANKRUPTCY = "bankruptcy"


class PositionSettled(Event, frozen=True):
    """A position's session result went to the balance. `size` is what was held before."""

    kind: SettlementKind
    account: int
    instrument: str
    size: int
    price: int
    index: int
    profit: int
    funding: int
    time: int


class MarketSettled(Event, frozen=True):
    """A market was settled at `price`; `open_interest` is what was held before."""

    kind: SettlementKind
    instrument: str
    price: int
    index: int
    open_interest: int
    time: int


class LossShared(Event, frozen=True):
    """A deficit was spread over the session's winners, `taxed` out of their `profits`."""

    currency: str
    deficit: int
    profits: int
    taxed: int
    time: int


class LiquidationStep(Enum):
    """How far up the ladder a liquidation round went."""

    CANCELLED = "orders cancelled"
    REDUCED = "reduced"
    UNFILLED = "no fill"
    TAKEN_OVER = "taken over"
    DELEVERAGED = "deleveraged"


class Liquidated(Event, frozen=True):
    """One step of a liquidation: what was reduced or handed over, and the bound or price."""

    account: int
    currency: str
    step: LiquidationStep
    instrument: str
    amount: int
    price: int


class Transferred(Event, frozen=True):
    """A position passed outside the book, at the bankruptcy price, to fund or counterparty.

    `side` is the account's. `profit` and `counterparty_profit` are what each realised by it,
    `funding` and `counterparty_funding` what their positions had accrued and realised with it.
    `position` and `counterparty_position` are the signed sizes after it.
    """

    trade_id: int
    account: int
    counterparty: int
    instrument: str
    side: Side
    amount: int
    price: int
    profit: int
    counterparty_profit: int
    time: int
    funding: int = 0
    counterparty_funding: int = 0
    position: int = 0
    counterparty_position: int = 0


class SessionEnded(Event, frozen=True):
    """A session is over."""

    session: int
