"""Events: the results of applying an entry. A refusal is an event too.

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
"""Events of an entry that only rests, changes or removes one order: the answer, and the changes of
order, book and wallet. Trades and scheduled events add more."""


class Event(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="event"):
    """One result of an entry. The order of a list of events is significant."""


class Answer(Event, frozen=True):
    """The answer to the request of `origin`. Every request gets exactly one."""

    origin: Origin


class Refused(Answer, frozen=True):
    """The request was refused. `detail` is a number or text that complements the reason."""

    reason: Reason
    detail: str = ""


class Ordered(Answer, frozen=True):
    """The order after its request, and the trades that the request caused."""

    order: OrderRecord
    trades: tuple[Traded, ...]


class Cancelled(Answer, frozen=True):
    """One order was cancelled by request."""

    order: OrderRecord


class CancelledAll(Answer, frozen=True):
    """Orders were cancelled by request; `orders` lists them if the request was `detailed`."""

    count: int
    orders: tuple[OrderRecord, ...]


class Done(Answer, frozen=True):
    """The request took effect."""


class OrderChanged(Event, frozen=True):
    """An order was placed, changed or ended."""

    order: OrderRecord


class TradeSide(msgspec.Struct, frozen=True, gc=False):
    """One party to a trade, with its order as it stood after the trade.

    `fee` is positive when paid. `profit` is the profit that the trade realised, 0 when it
    increased the position. `funding` is the accrued funding booked with it. `position` is the
    signed size after the trade.
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
    """The funding pool's side of a funding payment. The other side is part of the position's
    session result, which a settlement books to the balance."""
    SETTLEMENT = "settlement"
    DELIVERY = "delivery"
    INSURANCE = "insurance"
    """The insurance fund, or else the deficit, pays the negative balance of a bankrupt account."""
    SOCIALISED_LOSS = "socialised loss"
    BROUGHT_FORWARD = "brought forward"
    """A balance from a snapshot without bookings. It has no event."""


class Booked(Event, frozen=True, omit_defaults=True):
    """A balance changed by `amount` to `balance`.

    The booking of a client precedes the event that caused it. `reference` is the trade id for
    trading fees; the sequence number of the entry for deposits, withdrawals and insurance;
    otherwise the time of the settlement. `instrument` is the settled or delivered instrument.
    All bookings of one kind on a system account in one entry are one event, without reference and
    instrument, after all other events of the entry.
    """

    account: int
    currency: str
    kind: BookingKind
    amount: int
    balance: int
    reference: int = 0
    instrument: str = ""


class BookChanged(Event, frozen=True):
    """The net changes of an entry to an order book, by price level."""

    instrument: str
    changes: tuple[LevelChange, ...]


class PositionChanged(Event, frozen=True):
    """Size, carry or session result of a position changed. The values are read from the state."""

    account: int
    instrument: str


class WalletChanged(Event, frozen=True):
    """Balance, margin or profit of a wallet changed. The values are read from the state."""

    account: int
    currency: str


class MarksChanged(Event, frozen=True):
    """Index and mark prices changed, and with them every ticker."""


class MarketState(Enum):
    """The state of a market, with the values of the API."""

    OPEN = "open"
    SETTLEMENT = "settlement"
    DELIVERED = "delivered"


class MarketChanged(Event, frozen=True):
    """An instrument was listed, or the state of its market changed."""

    instrument: str
    state: MarketState


class SettlementKind(Enum):
    """The kind of a settlement, with the values of the API."""

    SETTLEMENT = "settlement"
    DELIVERY = "delivery"
    BANKRUPTCY = "bankruptcy"


class PositionSettled(Event, frozen=True):
    """A position's session result was booked to the balance. `size` is the size before that."""

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
    """A market was settled at `price`. `open_interest` is the open interest before that."""

    kind: SettlementKind
    instrument: str
    price: int
    index: int
    open_interest: int
    time: int


class LossShared(Event, frozen=True):
    """A deficit was shared among clients with a profit: `taxed` of `profits` was collected."""

    currency: str
    deficit: int
    profits: int
    taxed: int
    time: int


class LiquidationStep(Enum):
    """A step of the liquidation procedure (see risk.liquidation)."""

    CANCELLED = "orders cancelled"
    REDUCED = "reduced"
    UNFILLED = "no fill"
    TAKEN_OVER = "taken over"
    DELEVERAGED = "deleveraged"


class Liquidated(Event, frozen=True):
    """One step of a liquidation, with the amount reduced or transferred and its limit or price."""

    account: int
    currency: str
    step: LiquidationStep
    instrument: str
    amount: int
    price: int


class Transferred(Event, frozen=True):
    """A position was transferred outside the book, at the bankruptcy price.

    The counterparty is the insurance fund or a deleveraged account. `side` is the account's.
    `profit` and `counterparty_profit` are the realised profits, `funding` and
    `counterparty_funding` the accrued funding booked with the transfer, `position` and
    `counterparty_position` the signed sizes after it.
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
    """A session ended."""

    session: int
