"""Positions and wallets: sizes, trade values and realised profit.

A position is (size, carry). Carry is the signed sum of the trade values of its open part, so
unrealised profit is carry - value(size, mark), and a trade changes the carry of both sides by the
same integer. Reducing a position turns its carry, in proportion, into realised profit.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from attrs import define, field

from book.order import BUY, SELL, Order, Side
from book.units import FUNDING, MONEY, SCALE, round_half_even
from risk.events import BookingKind
from risk.margin_model import MarginModel
from risk.market import Market
from risk.standard_margin import STANDARD

FUNDED = SCALE * FUNDING // MONEY
"""Units of size times funding index per unit of Money."""

NOTHING: Final[OrderedDict[int, Order]] = OrderedDict()
"""The shared, always empty table of a position without reduce-only orders. Most positions exist
only for one resting order, and creating a table for each took 3 % of the time of that order."""


@define(eq=False)
class Wallet:
    """One account's money in one currency: the unit of margin.

    Only risk.ledger changes `balance`, together with `booked`, the sum of all bookings by kind.
    `fees` are those paid before bookings were recorded. `session_profit` is the sum of the
    positions' realised profit; only Position changes it.
    `profit` (unrealised, with accrued funding), `initial` and `maintenance` are cached for
    version `marks` of the marks, except for the `stale_positions`; `stale` is whether the size
    or carry of any of these has changed (see risk.margin_cache). `round` is the Tick of the last
    liquidation round. `key` is (account, currency).
    """

    account: int
    currency: str
    balance: int = 0
    session_profit: int = 0
    fees: int = 0
    booked: dict[BookingKind, int] = field(factory=dict)
    positions: dict[str, Position] = field(factory=dict)
    marks: int = -1
    profit: int = 0
    initial: int = 0
    maintenance: int = 0
    stale_positions: list[Position] = field(factory=list)
    stale: bool = False
    round: int = -1
    model: MarginModel = STANDARD
    key: tuple[int, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.key = (self.account, self.currency)

    @property
    def margin_balance(self) -> int:
        """Balance + session profit + unrealised profit; needs `margin_cache.refresh` first."""
        return self.balance + self.session_profit + self.profit


@define(eq=False)
class Position:
    """The position of one account in one market, and its open orders there.

    `cost` accumulates the prices of the open part (see `Instrument.cost`). `realised` is the
    session's realised profit including `funding`. `buys` and `sells` are the open amounts of
    orders that are not reduce-only. `reducing` holds the reduce-only orders, oldest first, and
    `reduced` is their open amount. It is an OrderedDict because the newest are cancelled first:
    finding the last key of a dict steps over deleted ones.
    `reserves` holds the cost of each open order beyond margin (see `order_costs.reserve`), valid
    at marks version `reserves_at`; orders that cost nothing are not in it. `profit`, `initial` and
    `maintenance` are cached by risk.margin_cache. `initial` is out of date where `initial_stale`
    (its orders have changed), all three where `margin_stale` (its size or carry has).
    """

    wallet: Wallet
    market: Market
    size: int = 0
    carry: int = 0
    cost: int = 0
    realised: int = 0
    funding: int = 0
    funding_index: int = 0
    buys: int = 0
    sells: int = 0
    reduced: int = 0
    orders: dict[int, Order] = field(factory=dict)
    reducing: OrderedDict[int, Order] = NOTHING
    reserves: dict[int, int] = field(factory=dict)
    reserved: int = 0
    reserves_at: int = -1
    profit: int = 0
    initial: int = 0
    maintenance: int = 0
    initial_stale: bool = False
    margin_stale: bool = False

    @property
    def account(self) -> int:
        """The number of the account."""
        return self.wallet.account

    @property
    def side(self) -> Side | None:
        """The side of the trades that opened it; None when flat."""
        if not self.size:
            return None
        return BUY if self.size > 0 else SELL

    @property
    def average_price(self) -> int:
        """Average price of the open part over its life, in 1e-8; 0 when flat."""
        return self.market.instrument.average_price(abs(self.size), self.cost)

    @property
    def idle(self) -> bool:
        """Whether it holds nothing and can be removed."""
        return not (self.size or self.carry or self.orders or self.realised or self.funding)

    def worst_case_sizes(self) -> tuple[int, int]:
        """Return the lowest and the highest size that the open orders can make of it."""
        size, reduced = self.size, self.reduced
        low = size - self.sells - (reduced if size > 0 else 0)
        high = size + self.buys + (reduced if size < 0 else 0)
        return low, high

    def unrealised_profit(self) -> int:
        """Return the profit at the present mark, with accrued funding, in Money."""
        market, size = self.market, self.size
        if not size or not market.mark:
            return 0
        profit = self.carry - market.value(size, market.mark)
        if self.funding_index != market.funding_index:
            profit += self.accrued_funding(market.funding_index)
        return profit

    def drop(self) -> None:
        """Remove it from its market, its wallet and the wallet's margin requirements."""
        market, wallet = self.market, self.wallet
        del market.positions[wallet.account], wallet.positions[market.name]
        if self.initial_stale:
            wallet.stale_positions.remove(self)
        wallet.model.forget(self)

    def drop_if_idle(self) -> None:
        """Remove it if it holds nothing, so that the state does not grow with history."""
        if self.idle and self.wallet.account in self.market.positions:
            self.drop()

    def reduce_by(self, order: Order) -> None:
        """Add an open reduce-only order, the newest."""
        if self.reducing is NOTHING:
            self.reducing = OrderedDict()
        self.reducing[order.order_id] = order

    def expose(self, order: Order, amount: int) -> None:
        """Add `amount`, which may be negative, of an order to the open amount of its kind."""
        if order.reduce_only:
            self.reduced += amount
        elif order.side is BUY:
            self.buys += amount
        else:
            self.sells += amount

    def accrued_funding(self, funding_index: int) -> int:
        """Return the funding received, or paid if negative, since the last booking, in Money."""
        change = funding_index - self.funding_index
        if not change or not self.size:
            return 0
        return -round_half_even(self.size * change, FUNDED)

    def book_funding(self, funding_index: int) -> int:
        """Add accrued funding to the session's result and return the amount.

        The caller books the opposite to the funding pool, so that money is conserved.
        """
        amount, change = self.accrued_funding(funding_index), funding_index - self.funding_index
        if change and self.size:
            market = self.market
            market.funded += self.size * change
            market.bookings += 1
        self.funding_index = funding_index
        self.funding += amount
        self._realise(amount)
        return amount

    def trade(self, amount: int, price: int, value: int, cost: int) -> int:
        """Apply a fill of signed `amount` and trade value `value`; return the realised profit.

        `cost` is `Instrument.cost` of amount and price. The fill closes first and opens with the
        rest, so one fill may flip the position. Funding must be booked up to now.
        """
        if self.size * amount >= 0:
            self._open(amount, value, cost)
            return 0
        if abs(amount) <= abs(self.size):
            return self._close(amount, value)
        # The fill closes the position at its part of the value, and the rest opens a new one.
        part = -self.size
        closing_value = round_half_even(value * abs(part), abs(amount))
        profit = self._close(part, closing_value)
        amount -= part
        cost = self.market.instrument.cost(abs(amount), price)
        self._open(amount, value - closing_value, cost)
        return profit

    def _open(self, amount: int, value: int, cost: int) -> None:
        self.size += amount
        self.carry += value
        self.cost += cost
        self.market.cost += cost

    def _close(self, amount: int, value: int) -> int:
        carry, cost, held = self.carry, self.cost, self.size
        if amount != -held:
            held, closing = abs(held), abs(amount)
            carry = round_half_even(carry * closing, held)
            cost = round_half_even(cost * closing, held)
        self.size += amount
        self.carry -= carry
        self.cost -= cost
        self.market.cost -= cost
        profit = carry + value
        self._realise(profit)
        return profit

    def _realise(self, profit: int) -> None:
        self.realised += profit
        self.wallet.session_profit += profit

    def settle(self, price: int) -> int:
        """Remove and return the session's result at `price`; carry is then the value there.

        The caller books the result to the balance.
        """
        value = self.market.instrument.value(self.size, price)
        result = self.realised + self.carry - value
        self.carry = value
        self._realise(-self.realised)
        self.funding = 0
        return result
