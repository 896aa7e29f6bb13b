"""Execution: the effect of fills on money, positions, fees and orders, and the trade events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

from book.matching import MatchEnd, match
from book.order import BUY, FILLED, CancelReason, Order, SelfTrading
from risk import funding, ledger, margin, margin_cache, order_costs, orders
from risk.events import BookingKind, Traded, TradeSide
from risk.market import Market
from risk.position import Position, Wallet

if TYPE_CHECKING:
    from risk.state import State

_TRADE_FEE: Final = BookingKind.TRADE_FEE
_MAKER_REBATE: Final = BookingKind.MAKER_REBATE
_LIQUIDATION_FEE: Final = BookingKind.LIQUIDATION_FEE


@define(eq=False)
class Execution:
    """Books the fills of one taker, each before the next maker is selected.

    `taking` is the taker's position, `making` that of the present maker. `collected` holds the
    fees of both sides by kind; they are credited after the last fill. `steps` counts up to
    `Parameters.fills`: one for each fill, each cancelled own order, and each reduce-only order
    that a fill changes. `funding_index` is the value at the present time.
    """

    state: State
    market: Market
    taker: Order
    taking: Position
    trades: list[Traded] = field(factory=list)
    collected: dict[BookingKind, int] = field(factory=dict)
    steps: int = 0
    most: int = field(init=False)
    making: Position = field(init=False)
    funding_index: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.making = self.taking
        self.most = self.state.parameters.fills
        self.funding_index = funding.index_at(self.market, self.state.time)

    def match(self, limit: int, self_trading: SelfTrading) -> MatchEnd:
        """Trade the taker against the book up to `limit`."""
        end = match(self.market.book, self.taker, limit, self_trading, self)
        if self.trades:
            trade = self.trades[-1]
            _average(self.market, self.taker, trade.amount, trade.price)
        self.credit_fees()
        return end

    def allowed_amount(self, maker: Order, amount: int) -> int:
        """Return the amount that may trade with a maker; 0 once the limit of steps is reached.

        A fill that would change too many reduce-only orders is reduced, and is the last one.
        """
        if self.steps >= self.most:
            return 0
        taking = self.taking
        making = self.making = self.state.position(maker.account, self.market)
        if not (making.reducing or taking.reducing):
            return amount
        sign, room = self.taker.side.sign, amount
        if not maker.reduce_only:
            room = orders.room_to_trade(making, -sign * room, self.most)
        room = orders.room_to_trade(taking, sign * room, self.most)
        if room < amount:
            self.steps = self.most
        return room

    def on_fill(self, maker: Order, taker: Order, amount: int) -> None:
        """Book one fill on both sides. Both orders already reflect it."""
        state, market, taking = self.state, self.market, self.taking
        state.trades += 1
        price = maker.price
        # Both sides book the same integers, so that money is conserved.
        value, cost = market.value(amount, price), market.instrument.cost(amount, price)
        making = self.making
        made = self._settle(making, maker, amount, value, cost, price, market.maker_rate)
        taken = self._settle(taking, taker, amount, value, cost, price, market.taker_rate)
        _average(market, maker, amount, price)
        orders.executed(state, market, making, maker, amount)
        self.steps += 1
        for position in (making, taking):
            if position.reducing:
                self.steps += orders.fit_reduce_only(state, position)
            margin_cache.mark_stale(position)
        self._report(price, amount, made, taken)

    def credit_fees(self) -> None:
        """Book the fees of the fills to the system account that receives them.

        The insurance fund receives liquidation fees and pays the rebates of their makers.
        """
        state, currency = self.state, self.market.currency
        for kind, amount in self.collected.items():
            if kind is _TRADE_FEE or not self.taker.liquidation:
                receiver = state.fee_account(currency)
            else:
                receiver = state.insurance(currency)
            ledger.book(state, receiver, amount, kind)

    def on_self_trade(self, maker: Order) -> bool:
        """Cancel the account's own maker, unless the limit is reached."""
        if self.steps >= self.most:
            return False
        self.steps += 1
        orders.cancel(self.state, maker, CancelReason.SELF_TRADE)
        return True

    def _settle(
        self,
        position: Position,
        order: Order,
        amount: int,
        value: int,
        cost: int,
        price: int,
        rate: int,
    ) -> TradeSide:
        """Change position and money of one side."""
        state, market = self.state, self.market
        before, paid = position.size, 0
        if position.funding_index != self.funding_index:
            paid = book_funding(state, position, self.funding_index)
        if order.side is BUY:
            profit = position.trade(amount, price, value, cost)
        else:
            profit = position.trade(-amount, price, -value, cost)
        if position.size > 0:
            market.open_interest += position.size
        if before > 0:
            market.open_interest -= before
        order.cost += cost
        order.updated = state.time
        state.report.positions[order.account, market.name] = position
        fee = order_costs.fee_on(value, rate) if rate else 0
        if order.liquidation:
            fee = liquidation_fee(market, order, amount, price)
        elif rate < 0 and (self.taker.liquidation or -rate > market.taker_rate):
            fee = -self._affordable(-fee, value, amount, price)
        self._charge(position.wallet, order, fee)
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
            position.size,
            paid,
        )

    def _affordable(self, rebate: int, value: int, amount: int, price: int) -> int:
        """Limit a maker's rebate to the fee of the fill plus the money of the account that pays.

        The fee account and the fund therefore never fall below zero. The fee of a liquidation is
        zero if the fill leaves nothing above the bankruptcy price.
        """
        state, market, taker = self.state, self.market, self.taker
        if taker.liquidation:
            payer, kind = state.insurance(market.currency), _LIQUIDATION_FEE
            brought, has = liquidation_fee(market, taker, amount, price), margin.spare(state, payer)
        else:
            payer, kind = state.fee_account(market.currency), _TRADE_FEE
            brought, has = order_costs.fee_on(value, market.taker_rate), payer.balance
        if taker.account == payer.account:
            brought = 0
        # Fees and rebates of earlier fills of this order are not booked yet.
        pending = self.collected.get(kind, 0) + self.collected.get(_MAKER_REBATE, 0)
        return min(rebate, max(brought, brought + has + pending))

    def _charge(self, wallet: Wallet, order: Order, fee: int) -> None:
        state, kind = self.state, _LIQUIDATION_FEE
        if not fee:
            state.report.wallets[wallet] = None
            state.watch.mark_dirty(wallet)
            return
        if not order.liquidation:
            kind = _TRADE_FEE if fee > 0 else _MAKER_REBATE
        ledger.book(state, wallet, -fee, kind, state.trades)
        self.collected[kind] = self.collected.get(kind, 0) + fee

    def _report(self, price: int, amount: int, maker: TradeSide, taker: TradeSide) -> None:
        state, market = self.state, self.market
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
        state.events.append(trade)
        state.report.markets[market.name] = market


def _average(market: Market, order: Order, amount: int, price: int) -> None:
    """Update an order's average price after a fill."""
    if order.filled != amount:
        price = market.instrument.average_price(order.filled, order.cost)
    order.average_price = price


def book_funding(state: State, position: Position, funding_index: int) -> int:
    """Book a position's accrued funding against the funding pool and return the amount."""
    amount = position.book_funding(funding_index)
    if amount:
        pool = state.funding_pool(position.wallet.currency)
        ledger.book(state, pool, -amount, BookingKind.FUNDING)
    return amount


def liquidation_fee(market: Market, order: Order, amount: int, price: int) -> int:
    """Return the liquidation fee, at most the fill's value above the bankruptcy price.

    `order.price` is the bankruptcy price. One unit is left for the rounding of both values.
    """
    signed = order.side.sign * amount
    instrument = market.instrument
    left = instrument.value(signed, price) - instrument.value(signed, order.price) - 1
    return max(0, min(order_costs.fee(market, amount, price, market.terms.liquidation_rate), left))


def tick_direction(market: Market, price: int) -> int:
    """Return the tick direction: 0 plus, 1 zero-plus, 2 minus, 3 zero-minus; 0 at first."""
    if not market.last_price or price > market.last_price:
        return 0
    if price < market.last_price:
        return 2
    return 1 if market.last_tick in (0, 1) else 3
