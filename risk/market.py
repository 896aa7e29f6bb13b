"""The state of an instrument's market: order book, mark, funding and positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import define, field
from sortedcontainers import SortedDict

from book.calendar import averaging_start
from book.instrument import Instrument
from book.order import Order
from book.orderbook import OrderBook
from book.units import inverse_value
from risk.events import MarketState
from risk.risk_terms import Terms

OPEN: Final = MarketState.OPEN

if TYPE_CHECKING:
    from risk.position import Position


@define(eq=False)
class Averaging:
    """The start of the window over which a delivery price is averaged."""

    since: int
    integral: int


@define(eq=False)
class Index:
    """A reference price. It holds its last value; `integral` is price x milliseconds so far.

    `since` is the time of the first price, `updated` that of the last; both 0 before.
    `window` is the averaging window that was the last to open by `updated`, kept for
    instruments that are listed while it is open.
    """

    name: str
    price: int = 0
    since: int = 0
    updated: int = 0
    integral: int = 0
    window: Averaging | None = None

    def set(self, price: int, time: int) -> None:
        """Set the price that is valid from `time` on."""
        if not self.since:
            self.since = time
        elif averaging_start(time) > self.updated:
            self.window = self.averaging_from(averaging_start(time))
        self.integral = self.integral_at(time)
        self.price, self.updated = price, time

    def integral_at(self, time: int) -> int:
        """Return price x milliseconds from `since` to a time not before the last update."""
        return self.integral + self.price * (time - self.updated)

    def averaging_from(self, opens: int) -> Averaging:
        """Return the averaging window that opens at `opens`. Called while it is open.

        The average begins at the first price of the index if that is later. A state of rules
        version 1 has no `window`: the average of an instrument that it lists during the window
        begins at the last price.
        """
        if self.window is not None and self.window.since == opens:
            return self.window
        if not self.since or self.since >= opens:
            return Averaging(opens, 0)
        since = max(opens, self.updated)
        return Averaging(since, self.integral_at(since))


@define(eq=False)
class Market:
    """The state of one instrument's market.

    `name`, `currency`, `maker_rate`, `taker_rate`, `contract_size` and `value` are copies of the
    instrument's, for fast access.
    `mark` is 0 until the index has a price; `low` and `high` are the price band around it.
    `premium` is the running average of fair price minus index, last updated at
    `premium_second` (whole seconds). `funding_index` is the funding paid per unit of size since
    listing, in 1e-24, as of `funding_time`. `funding_rate` is the present rate per 8 hours,
    `funding_due` the sum of rate x milliseconds since rate or index price last changed, and
    `rate_integral` the same sum since listing. `open_interest` is the total of long positions,
    `cost` the total cost of all positions.
    `funded` is the exact sum of all funding bookings, in size times funding index; `bookings` is
    their number, each of them rounded to Money.
    `initials` caches initial margins by (size, mark, index), for the present terms.
    """

    instrument: Instrument
    terms: Terms
    index: Index
    book: OrderBook
    state: MarketState = MarketState.OPEN
    mark: int = 0
    low: int = 0
    high: int = 0
    premium: int = 0
    premium_second: int = 0
    funding_rate: int = 0
    funding_index: int = 0
    funding_time: int = 0
    funding_due: int = 0
    rate_integral: int = 0
    averaging: Averaging | None = None
    settlement_price: int = 0
    delivery_price: int = 0
    last_price: int = 0
    last_tick: int = 0
    trades: int = 0
    open_interest: int = 0
    cost: int = 0
    funded: int = 0
    bookings: int = 0
    good_til_day: dict[int, Order] = field(factory=dict)
    initials: dict[tuple[int, int, int], int] = field(factory=dict)
    positions: SortedDict[int, Position] = field(factory=SortedDict)
    name: str = field(init=False)
    currency: str = field(init=False)
    maker_rate: int = field(init=False)
    taker_rate: int = field(init=False)
    contract_size: int = field(init=False)
    value: Callable[[int, int], int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        instrument = self.instrument
        self.name, self.currency = instrument.name, instrument.currency
        self.maker_rate, self.taker_rate = instrument.maker_rate, instrument.taker_rate
        self.contract_size = instrument.contract.contract_size
        self.value = inverse_value if instrument.contract.inverse else instrument.value

    def accrued(self) -> int:
        """Return the positions' accrued funding that is not booked, in size times funding index.

        Sizes sum to zero, so the result does not depend on the present funding index, and its
        sum with `funded` is always zero.
        """
        return sum(p.size * (self.funding_index - p.funding_index) for p in self.positions.values())

    @property
    def is_open(self) -> bool:
        """Whether orders are accepted."""
        return self.state is OPEN

    def ended(self, time: int) -> bool:
        """Return whether the instrument has expired by `time`."""
        expiry = self.instrument.expiry
        return expiry is not None and expiry <= time
