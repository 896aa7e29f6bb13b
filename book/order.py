"""Orders, the values of their fields, and the price level in whose queue an order rests."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

import msgspec
from attrs import define


class Side(Enum):
    """The side of an order. `sign` is +1 for BUY, which raises the position, and -1 for SELL."""

    BUY = "buy"
    SELL = "sell"

    sign: int
    opposite: Side


Side.BUY.sign, Side.SELL.sign = 1, -1
Side.BUY.opposite, Side.SELL.opposite = Side.SELL, Side.BUY


# Members that every order is compared with have a module constant, here and below: Python 3.11
# takes 0.1 us to look up a member of an enumeration, and one order needed about twenty of them.
BUY: Final = Side.BUY
SELL: Final = Side.SELL


class OrderType(Enum):
    """How an order is priced."""

    LIMIT = "limit"
    MARKET = "market"
    MARKET_LIMIT = "market_limit"


LIMIT: Final = OrderType.LIMIT
MARKET: Final = OrderType.MARKET
MARKET_LIMIT: Final = OrderType.MARKET_LIMIT


class TimeInForce(Enum):
    """How long the part of an order that does not match at once may rest, if it may."""

    GOOD_TIL_CANCELLED = "good_til_cancelled"
    GOOD_TIL_DAY = "good_til_day"
    IMMEDIATE_OR_CANCEL = "immediate_or_cancel"
    FILL_OR_KILL = "fill_or_kill"

    rests: bool


for _time_in_force in TimeInForce:
    _time_in_force.rests = _time_in_force in (
        TimeInForce.GOOD_TIL_CANCELLED,
        TimeInForce.GOOD_TIL_DAY,
    )

GOOD_TIL_DAY: Final = TimeInForce.GOOD_TIL_DAY
IMMEDIATE_OR_CANCEL: Final = TimeInForce.IMMEDIATE_OR_CANCEL
FILL_OR_KILL: Final = TimeInForce.FILL_OR_KILL


class OrderState(Enum):
    """The state of an order; only an open one rests in the book."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"


FILLED: Final = OrderState.FILLED
CANCELLED: Final = OrderState.CANCELLED


class CancelReason(Enum):
    """Why the venue or the client cancelled an order; None where its own terms ended it."""

    USER_REQUEST = "user_request"
    AUTOLIQUIDATION = "autoliquidation"
    CANCEL_ON_DISCONNECT = "cancel_on_disconnect"
    EDIT_POST_ONLY_REJECT = "edit_post_only_reject"
    REDUCE_ONLY = "reduce_only"
    SELF_TRADE = "self_trade"
    SETTLEMENT = "settlement"
    FILL_LIMIT = "fill_limit"


class SelfTrading(Enum):
    """What happens when a taker meets an order of its own account."""

    REJECT_TAKER = "reject_taker"
    CANCEL_MAKER = "cancel_maker"


class OrderRecord(msgspec.Struct, frozen=True, gc=False):
    """An order as it stood at one moment. Prices and amounts in 1e-8, times in milliseconds.

    `price` of a market order is its bound; `average_price` is 0 before the first fill.
    """

    order_id: int
    account: int
    instrument: str
    side: Side
    type: OrderType
    original_type: OrderType | None
    time_in_force: TimeInForce
    price: int
    amount: int
    filled: int
    average_price: int
    label: str
    post_only: bool
    reject_post_only: bool
    reduce_only: bool
    risk_reducing: bool
    replaced: bool
    liquidation: bool
    state: OrderState
    cancel_reason: CancelReason | None
    created: int
    updated: int
    session: int


class Order(msgspec.Struct, eq=False, kw_only=True):
    """A live order. While it rests it is a node of the linked queue of its price level.

    `cost` accumulates the prices of its fills exactly (see `Instrument.cost`). `session` is 0
    where no connection placed the order.

    It is a Struct, unlike the other mutable classes, because it is created most often: setting its
    fields in Python took a tenth of the time of an order.
    """

    order_id: int
    account: int
    instrument: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    price: int
    amount: int
    label: str = ""
    original_type: OrderType | None = None
    post_only: bool = False
    reject_post_only: bool = False
    reduce_only: bool = False
    risk_reducing: bool = False
    replaced: bool = False
    liquidation: bool = False
    filled: int = 0
    cost: int = 0
    average_price: int = 0
    state: OrderState = OrderState.OPEN
    cancel_reason: CancelReason | None = None
    created: int = 0
    updated: int = 0
    session: int = 0
    level: Level | None = None
    previous: Order | None = None
    next: Order | None = None

    def __repr__(self) -> str:
        # Without its neighbours, which would print theirs, and so the whole queue.
        return f"Order({self.record()})"

    @property
    def remaining(self) -> int:
        """The amount that is still to be filled, in 1e-8."""
        return self.amount - self.filled

    def record(self) -> OrderRecord:
        """Return the present state of the order as an immutable value."""
        return OrderRecord(
            self.order_id,
            self.account,
            self.instrument,
            self.side,
            self.type,
            self.original_type,
            self.time_in_force,
            self.price,
            self.amount,
            self.filled,
            self.average_price,
            self.label,
            self.post_only,
            self.reject_post_only,
            self.reduce_only,
            self.risk_reducing,
            self.replaced,
            self.liquidation,
            self.state,
            self.cancel_reason,
            self.created,
            self.updated,
            self.session,
        )


@define(eq=False)
class Level:
    """All orders at one price, oldest first, as a doubly linked queue."""

    price: int
    amount: int = 0
    head: Order | None = None
    tail: Order | None = None

    def __iter__(self) -> Iterator[Order]:
        order = self.head
        while order is not None:
            following = order.next
            yield order
            order = following
