"""Random commands at a small venue, drawn so that all features interact.

There are few accounts and few prices, so that orders often trade, queue and meet orders of the same
account. Amounts range from one contract to more than an account can carry. Prices drift and crash,
the clock jumps over settlements and expiries, and a slice is so small that all large work spreads
over entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import define, field

from book.calendar import next_settlement
from book.order import Order, OrderType, SelfTrading, Side, TimeInForce
from book.units import DAY, HOUR, MONEY, SECOND
from risk import liquidation
from risk.commands import (
    Cancel,
    CancelAll,
    ClosePosition,
    Command,
    Continue,
    Deposit,
    Edit,
    EndSession,
    EndSessions,
    Liquidate,
    OpenAccount,
    Place,
    SetCancelOnDisconnect,
    SetParameters,
    SetProduct,
    SetSelfTrading,
    StartSession,
    Tick,
    Withdraw,
)
from risk.contract_specs import LEGACY_2025
from risk.market import Market
from risk.risk_terms import LossPolicy, Parameters
from risk.state import FEES, FIRST_CLIENT, INSURANCE
from tests.risk.venue import PRICES, Venue, amount, open_venue

CATALOGUE = tuple(
    (contract, terms)
    for contract, terms in LEGACY_2025
    if contract.family in ("BTC", "BTC_USDC", "SOL_USDC")
)
CURRENCIES = ("BTC", "USDC")
NAMES = ("ann", "ben", "cat", "dan", "eve")
LARGEST = {"BTC": 30_000, "BTC_USDC": 4_000, "SOL_USDC": 20_000}
"""Contracts in the largest order of a family: several times what an account can carry."""


def small_venue(**terms: Any) -> Venue:
    """Return a venue with five accounts with little money, and a small fund."""
    parameters = {"slice": 3, "open_orders": 12, **terms}
    return open_venue(
        catalogue=CATALOGUE,
        parameters=parameters,
        insurance={"BTC": "0.05", "USDC": "1000"},
        prices={name: PRICES[name] for name in ("btc_usd", "btc_usdc", "sol_usdc")},
        ann={"BTC": "1", "USDC": "50000"},
        ben={"BTC": "1", "USDC": "50000"},
        cat={"BTC": "0.2", "USDC": "4000"},
        dan={"BTC": "0.05", "USDC": "1000"},
        eve={"BTC": "0.1"},
    )


@define
class RandomCommands:
    """Draws the next command of a venue.

    `random` may be hypothesis's, so that failures shrink. `weights` are the relative
    frequencies of the kinds of steps. If `keyed`, some requests have idempotency keys, and some
    of these were used before.
    """

    venue: Venue
    random: Random
    weights: Mapping[str, int] = field(factory=lambda: ORDINARY)
    keyed: bool = False

    def step(self, kind: str | None = None) -> None:
        """Run one step of a kind, or of a random kind."""
        if kind is None:
            kind = self.random.choices(list(self.weights), list(self.weights.values()))[0]
        getattr(self, kind)()

    def do(self, command: Command, **doing: Any) -> None:
        """Apply a command as an HTTP request does: without a session, with a number of its own."""
        number = len(self.venue.entries) + 1
        doing.setdefault("request", number)
        account = getattr(command, "account", 0)
        if self.keyed and account and self.random.random() < 0.3:
            doing["key"] = f"{account}:{number - self.random.choice([0, 0, 3, 20])}"
        self.venue.do(command, **doing)

    def place(self) -> None:
        """Place any order by an HTTP request."""
        self._order(self._account())

    def order_of_a_session(self) -> None:
        """Place an order of a session that may have ended, with a number that may be repeated."""
        session = self._session()
        live = self.venue.exchange.state.sessions.get(session)
        account = live.account if live is not None else self._account()
        last = live.last_request if live is not None else 0
        self._order(account, session=session, request=last + self.random.choice([1, 1, 1, 0]))

    def _order(self, account: int, **doing: Any) -> None:
        random, market = self.random, self._market()
        kind = random.choices(list(OrderType), [8, 1, 1])[0]
        side = random.choice(list(Side))
        post_only = kind is OrderType.LIMIT and random.random() < 0.2
        command = Place(
            account=account,
            instrument=market.name,
            side=side,
            amount=self._amount(market),
            type=kind,
            price=self._price(market, side) if kind is OrderType.LIMIT else 0,
            time_in_force=random.choices(list(TimeInForce), [6, 2, 1, 1])[0],
            post_only=post_only,
            reject_post_only=post_only and random.random() < 0.3,
            reduce_only=random.random() < 0.25,
            label=random.choice(["", "a", "b"]),
        )
        self.do(command, **({"after": random.choice([0, 1, 300])} | doing))

    def rest(self) -> None:
        """Place several orders in one market at any prices, some of them good-til-day."""
        random, market = self.random, self._market()
        dated = [m for m in self.venue.exchange.state.markets.values() if m.instrument.expiry]
        if dated and random.random() < 0.7:
            market = random.choice(dated)
        for _ in range(random.choice([2, 3, 5])):
            side = random.choice(list(Side))
            away = side.sign * market.mark * random.randrange(1, 8) // 700
            command = Place(
                account=self._account(),
                instrument=market.name,
                side=side,
                amount=market.instrument.contract.contract_size * random.choice([1, 2, 7]),
                price=market.instrument.floor_to_tick(market.mark - away),
                time_in_force=random.choice(list(TimeInForce)[:2]),
                label=random.choice(["", "a", "b"]),
            )
            self.do(command)

    def meet(self) -> None:
        """Let two accounts trade with each other, for as much as one or both can carry."""
        random, market = self.random, self._market()
        contract = market.instrument.contract
        most = LARGEST[contract.family]
        buyer, seller = random.sample(list(self.venue.accounts.values()), 2)
        price = market.instrument.floor_to_tick(market.mark)
        for account, side in ((buyer, Side.BUY), (seller, Side.SELL)):
            command = Place(
                account=account,
                instrument=market.name,
                side=side,
                amount=contract.contract_size * (most // random.choice([3, 6, 20, 60])),
                price=price,
            )
            self.do(command)

    def crash(self) -> None:
        """Change prices by a fifth, and run liquidations."""
        move = self.random.choice([-250, -180, 180, 250])
        self._tick(lambda: move)
        for _ in range(self.random.choice([1, 3, 6])):
            self.liquidate()
            self.random.choice([self.finish, self.continue_work, self.drift])()

    def take_profit(self) -> None:
        """Place reduce-only orders for an existing position."""
        random = self.random
        held = [
            position
            for market in self.venue.exchange.state.markets.values()
            for position in market.positions.values()
            if position.size and position.account >= FIRST_CLIENT
        ]
        if not held:
            return
        position = random.choice(held)
        market = position.market
        contract = market.instrument.contract.contract_size
        side = Side.SELL if position.size > 0 else Side.BUY
        for _ in range(random.choice([1, 3, 6])):
            contracts = max(1, abs(position.size) // contract // random.choice([3, 7, 20]))
            away = side.sign * market.mark * random.randrange(0, 6) // 700
            command = Place(
                account=position.account,
                instrument=market.name,
                side=side,
                amount=contract * contracts,
                price=market.instrument.floor_to_tick(market.mark - away),
                reduce_only=True,
            )
            self.do(command)

    def edit(self) -> None:
        """Edit an open order: price, amount, flags, or nothing."""
        order = self._open_order()
        if order is None:
            return
        random = self.random
        market = self.venue.market(order.instrument)
        new_amount = random.choice(
            [None, order.filled, order.amount, order.amount // 2, self._amount(market)]
        )
        if new_amount is not None:
            new_amount -= new_amount % market.instrument.contract.contract_size
        command = Edit(
            account=order.account,
            order_id=order.order_id,
            amount=new_amount,
            price=random.choice([None, order.price, self._price(market, order.side)]),
            post_only=random.choice([None, None, True, False]),
            reject_post_only=random.choice([None, None, True, False]),
            reduce_only=random.choice([None, None, None, True, False]),
        )
        self.do(command)

    def cancel(self) -> None:
        """Cancel an open order, or an unknown one."""
        order = self._open_order()
        if order is not None:
            self.do(Cancel(account=order.account, order_id=order.order_id))
        else:
            self.do(Cancel(account=self._account(), order_id=0))

    def cancel_all(self) -> None:
        """Cancel several orders."""
        random = self.random
        command = CancelAll(
            account=self._account(),
            currencies=random.choice([(), ("BTC",), ("BTC", "USDC")]),
            instrument=random.choice(["", self._market().name]),
            type=random.choice([None, OrderType.LIMIT]),
            label=random.choice(["", "a"]),
            detailed=random.random() < 0.5,
        )
        self.do(command)

    def close_position(self) -> None:
        """Close a position at market or with a limit."""
        market, account = self._market(), self._account()
        limit = self.random.choice([0, 0, self._price(market, self.random.choice(list(Side)))])
        self.do(ClosePosition(account=account, instrument=market.name, price=limit))

    def drift(self) -> None:
        """Send a heartbeat with nearly constant prices."""
        self._tick(lambda: self.random.choice([0, 0, 1, -1, 3, -3]))

    def change_prices(self) -> None:
        """Send a heartbeat with price changes of some percent, at times tens of percent."""
        self._tick(lambda: self.random.choice([0, 20, -20, 60, -60, 250, -250]))

    def _tick(self, move: Callable[[], int], at: int | None = None) -> None:
        prices = self.venue.prices
        for name in prices:
            usual = amount(PRICES[name])
            new = prices[name] + prices[name] * move() // 1000
            # Far from the usual price, every amount would be either negligible or unaffordable.
            prices[name] = max(usual // 3, min(3 * usual, new))
        known = tuple(prices.items())[: self.random.choice([1, 3, 3, 3, 3])]
        after = self.random.choice([1, SECOND, SECOND, 4 * SECOND])
        self.do(Tick(prices=known), after=after, at=at)

    def liquidate(self) -> None:
        """Run one round for every account that is due."""
        for account, currency in liquidation.pending(self.venue.exchange.state):
            self.do(Liquidate(account=account, currency=currency))

    def liquidate_any_account(self) -> None:
        """Request a round for an account that may not be due."""
        self.do(Liquidate(account=self._account(), currency=self.random.choice(CURRENCIES)))

    def continue_work(self) -> None:
        """Advance the work in progress by one slice."""
        self.do(Continue())

    def finish(self) -> None:
        """Finish the work in progress."""
        self.venue.finish()

    def jump(self) -> None:
        """Advance the clock without a Tick, at times over a settlement or an expiry."""
        now = self.venue.exchange.state.time
        settlement = next_settlement(now)
        later = self.random.choice(
            [
                now + 6 * SECOND,
                now + HOUR,
                settlement - 20 * 60 * SECOND,
                settlement - 1,
                settlement,
                settlement + 1,
                settlement + 2 * DAY,
                now - HOUR,
            ]
        )
        self.do(Continue(), at=later)
        self.venue.time = self.venue.exchange.state.time

    def expire(self) -> None:
        """Advance the clock to the next expiry, with or without a Tick."""
        ends = [
            market.instrument.expiry
            for market in self.venue.exchange.state.markets.values()
            if market.instrument.expiry is not None
        ]
        if not ends:
            return
        self.finish()
        later = max(min(ends) + self.random.choice([-1000, 0, 0, 1]), self.venue.time)
        if self.random.random() < 0.5:
            self._tick(lambda: self.random.choice([0, 5, -5]), at=later)
        else:
            self.do(Continue(), at=later)
        self.venue.time = self.venue.exchange.state.time

    def settle(self) -> None:
        """Send a heartbeat just before the next settlement, and one at its time."""
        self.finish()
        later = next_settlement(self.venue.exchange.state.time)
        self._tick(lambda: self.random.choice([0, 10, -10]), at=later - 1)
        self._tick(lambda: self.random.choice([0, 10, -10]), at=later)

    def refill(self) -> None:
        """Deposit money for accounts that have lost theirs, so that losses continue."""
        for account in self.venue.accounts.values():
            for currency, usual in (("BTC", MONEY // 10), ("USDC", 5_000 * MONEY)):
                if self.venue.wallet(account, currency).balance < usual // 4:
                    self.do(Deposit(account=account, currency=currency, amount=usual))

    def deposit(self) -> None:
        """Deposit money for an account or the fund."""
        account = self.random.choice([self._account(), self._account(), INSURANCE])
        currency = self.random.choice([*CURRENCIES, "EUR"])
        pieces = self.random.choice([0, 1, MONEY // 100, MONEY])
        self.do(Deposit(account=account, currency=currency, amount=pieces))

    def withdraw(self) -> None:
        """Withdraw a little, or all money."""
        account = self.random.choice([self._account(), self._account(), FEES])
        currency = self.random.choice(CURRENCIES)
        wallet = self.venue.wallet(account, currency)
        pieces = self.random.choice([1, wallet.balance, wallet.balance - wallet.initial, MONEY])
        self.do(Withdraw(account=account, currency=currency, amount=pieces))

    def start_session(self) -> None:
        """Start a session, or log in again in a live one."""
        session = self._session()
        self.do(StartSession(session=session, account=self._account()))

    def end_session(self) -> None:
        """End a session or log out, at times before its start."""
        session, quietly = self._session(), self.random.random() < 0.3
        self.do(EndSession(session=session, quietly=quietly))

    def end_sessions(self) -> None:
        """End all earlier sessions, as after a restart of the process."""
        self.do(EndSessions(before=self.random.choice([1, 1, self._session()])))

    def cancel_on_disconnect(self) -> None:
        """Set cancel-on-disconnect of a session, or the default of an account."""
        session = self.random.choice([0, self._session()])
        enabled = self.random.random() < 0.7
        account = self._account()
        self.do(SetCancelOnDisconnect(account=account, session=session, enabled=enabled))

    def self_trading(self) -> None:
        """Set the self-trading mode of an account."""
        self.do(SetSelfTrading(account=self._account(), mode=self.random.choice(list(SelfTrading))))

    def set_parameters(self) -> None:
        """Change the loss policy, the slice and the limit of fills."""
        policy = self.random.choice(list(LossPolicy))
        size = self.random.choice([1, 3, 50])
        parameters = Parameters(loss_policy=policy, slice=size, fills=3 if size == 3 else 1_000)
        self.do(SetParameters(parameters=parameters))

    def set_product(self) -> None:
        """Set a product again, as every start of the venue does."""
        contract, terms = self.random.choice(CATALOGUE)
        self.do(SetProduct(contract=contract, terms=terms))

    def open_account(self) -> None:
        """Open an account that is new, that exists, or that cannot be opened."""
        self.do(OpenAccount(account=self.random.choice([self._account(), 106, 5]), name="x"))

    def _session(self) -> int:
        """Return a session that is live, that ended last, or that has not started yet."""
        state = self.venue.exchange.state
        first = 1 + max([*state.overtaken, *state.sessions, state.first_session])
        ended = list(state.overtaken)[-1:]
        return self.random.choice([*list(state.sessions)[-4:], *ended, first, first + 1])

    def _account(self) -> int:
        return self.random.choice(list(self.venue.accounts.values()))

    def _market(self) -> Market:
        markets = list(self.venue.exchange.state.markets.values())
        perpetuals = [market for market in markets if market.instrument.perpetual]
        return self.random.choice([*perpetuals, self.random.choice(markets)])

    def _open_order(self) -> Order | None:
        orders = [
            order
            for account in self.venue.exchange.state.accounts.values()
            for order in account.orders.values()
        ]
        return self.random.choice(orders) if orders else None

    def _amount(self, market: Market) -> int:
        contract = market.instrument.contract
        most = LARGEST[contract.family]
        contracts = self.random.choice([1, 2, 7, most // 30, most // 6, most])
        return contract.contract_size * contracts

    def _price(self, market: Market, side: Side) -> int:
        """Return a price near the mark, the best opposite price, or an end of the band."""
        instrument, mark = market.instrument, market.mark
        best = market.book.best_price(side.opposite)
        steps = self.random.choice([0, 0, 1, -1, 2, -2, 4, -4])
        around = instrument.floor_to_tick(mark + mark * steps // 400)
        return self.random.choice([around, around, around, best or around, market.low, market.high])


ORDINARY: dict[str, int] = {
    "place": 34,
    "order_of_a_session": 8,
    "edit": 10,
    "cancel": 4,
    "cancel_all": 2,
    "close_position": 4,
    "drift": 12,
    "change_prices": 4,
    "liquidate": 6,
    "liquidate_any_account": 1,
    "continue_work": 4,
    "finish": 3,
    "jump": 2,
    "deposit": 1,
    "withdraw": 2,
    "start_session": 3,
    "end_session": 2,
    "end_sessions": 1,
    "cancel_on_disconnect": 2,
    "self_trading": 2,
    "set_parameters": 1,
    "set_product": 1,
    "open_account": 1,
}
"""Relative frequencies of the kinds of steps on an ordinary day."""

STORM: dict[str, int] = {
    "place": 10,
    "order_of_a_session": 6,
    "rest": 8,
    "meet": 8,
    "take_profit": 5,
    "crash": 5,
    "edit": 5,
    "cancel_all": 8,
    "close_position": 2,
    "drift": 8,
    "change_prices": 2,
    "liquidate": 8,
    "continue_work": 8,
    "finish": 8,
    "expire": 2,
    "settle": 2,
    "refill": 3,
    "withdraw": 1,
    "start_session": 3,
    "end_session": 2,
    "end_sessions": 1,
    "cancel_on_disconnect": 2,
    "self_trading": 1,
    "set_parameters": 1,
    "set_product": 1,
}
"""Relative frequencies for runs with many crashes, expiries and settlements."""
