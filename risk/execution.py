"""What a fill does: money, positions, fees, orders, and the trade that the world sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from book.order import BUY, FILLED, CancelReason, Order
from risk import margin, orders
from risk.events import Traded, TradeSide
from risk.market import Market
from risk.position import Position, Wallet

if TYPE_CHECKING:
    from risk.state import State


@define(eq=False)
class Execution:
    """Settles the fills of one taker, one by one, before the next maker is chosen.

    `taking` is the taker's position, `fees` where its fees go.
    """

    state: State
    market: Market
    taker: Order
    trades: list[Traded] = field(factory=list)
    taking: Position = field(init=False)
    fees: Wallet = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.taking = self.state.position(self.taker.account, self.market)
        self.fees = self.state.fee_account(self.market.currency)

    def filled(self, maker: Order, taker: Order, amount: int) -> None:
        """Book one fill on both sides. Both orders already show it."""
        state, market, taking = self.state, self.market, self.taking
        price = maker.price
        # The same integers on both sides.
        value, cost = market.value(amount, price), market.instrument.cost(amount, price)
        making = state.position(maker.account, market)
        made = self._settle(making, maker, amount, value, cost, price, market.maker_rate)
        taken = self._settle(taking, taker, amount, value, cost, price, market.taker_rate)
        orders.executed(state, market, making, maker, amount)
        for position in (making, taking):
            if position.reducing:
                orders.fit_reduce_only(state, position)
            margin.update(position)
        self._report(price, amount, self._side(maker, made), self._side(taker, taken))

    def self_trade(self, maker: Order) -> None:
        """Cancel the account's own maker."""
        orders.cancel(self.state, maker, CancelReason.SELF_TRADE)

    def _settle(
        self,
        position: Position,
        order: Order,
        amount: int,
        value: int,
        cost: int,
        price: int,
        rate: int,
    ) -> tuple[int, int]:
        """Move position and money of one side; returns (profit, fee)."""
        state, market = self.state, self.market
        wallet, before = position.wallet, position.size
        if position.funding_index != market.funding_index:
            book_funding(state, position, market.funding_index)
        if order.side is BUY:
            profit = position.trade(amount, price, value, cost)
        else:
            profit = position.trade(-amount, price, -value, cost)
        if position.size > 0:
            market.open_interest += position.size
        if before > 0:
            market.open_interest -= before
        wallet.session_profit += profit
        order.cost += cost
        order.average_price = market.instrument.average_price(order.filled, order.cost)
        order.updated = state.time
        fee = self._charge(wallet, order, amount, price, margin.fee_on(value, rate))
        state.touch(wallet)
        state.watch.mark_dirty(wallet)
        state.moved[order.account, market.name] = position
        return profit, fee

    def _charge(self, wallet: Wallet, order: Order, amount: int, price: int, fee: int) -> int:
        """Take the fee of a fill, or what a liquidation pays instead; returns it."""
        receiver = self.fees
        if order.liquidation:
            fee = liquidation_fee(self.market, order, amount, price)
            receiver = self.state.insurance(self.market.currency)
        wallet.balance -= fee
        wallet.fees += fee
        receiver.balance += fee
        return fee

    def _side(self, order: Order, settled: tuple[int, int]) -> TradeSide:
        profit, fee = settled
        return TradeSide(
            order.account,
            order.order_id,
            order.type,
            order.state if order.amount != order.filled else FILLED,
            order.side,
            order.label,
            fee,
            profit,
            order.post_only,
            order.reduce_only,
            order.liquidation,
        )

    def _report(self, price: int, amount: int, maker: TradeSide, taker: TradeSide) -> None:
        state, market = self.state, self.market
        state.trades += 1
        market.trades += 1
        market.last_tick = tick_direction(market, price)
        market.last_price = price
        trade = Traded(
            state.trades,
            market.trades,
            market.name,
            state.time,
            price,
            amount,
            market.last_tick,
            market.index.price,
            market.mark,
            maker,
            taker,
        )
        self.trades.append(trade)
        state.emit(trade)
        state.touched_markets[market.name] = market


def book_funding(state: State, position: Position, funding_index: int) -> None:
    """Realise what a position has accrued up to a funding index, against the funding pool."""
    amount = position.book_funding(funding_index)
    if amount:
        position.wallet.session_profit += amount
        state.funding_pool(position.wallet.currency).balance -= amount


def liquidation_fee(market: Market, order: Order, amount: int, price: int) -> int:
    """The liquidation rate, but never more than the fill left above the bankruptcy price.

    `order.price` is that price. One unit is left for the rounding of both values.
    """
    signed = order.side.sign * amount
    instrument = market.instrument
    left = instrument.value(signed, price) - instrument.value(signed, order.price) - 1
    return max(0, min(margin.fee(market, amount, price, market.terms.liquidation_rate), left))


def tick_direction(market: Market, price: int) -> int:
    """0 plus, 1 zero-plus, 2 minus, 3 zero-minus, against the trade before; the first is 0."""
    if not market.last_price or price > market.last_price:
        return 0
    if price < market.last_price:
        return 2
    return 1 if market.last_tick in (0, 1) else 3
