"""What a random day at the venue brings: commands drawn so that everything meets everything.

Few accounts and few prices, so that orders meet, queue up and belong to the same account all the
time; amounts from one contract to what breaks an account; prices that crawl and prices that
crash; clocks that jump over settlements and expiries; a slice so small that all large work
spreads over entries.
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
"""Contracts in the largest order of a family: some times what its account can carry."""


def small_venue(**terms: Any) -> Venue:
    """Five accounts with little money, one of them with none of one kind, and a small fund."""
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
class Chance:
    """Draws the next entry of a venue; `random` may be hypothesis's, so that failures shrink.

    `weights` says how often each kind of step is taken. Where it is `keyed`, some requests have
    idempotency keys, and some of these were used before.
    """

    venue: Venue
    random: Random
    weights: Mapping[str, int] = field(factory=lambda: ORDINARY)
    keyed: bool = False

    def step(self, kind: str | None = None) -> None:
        """Give the venue one thing to do, of a kind, or of any."""
        if kind is None:
            kind = self.random.choices(list(self.weights), list(self.weights.values()))[0]
        getattr(self, kind)()

    def do(self, command: Command, **doing: Any) -> None:
        """Apply a command as an HTTP request does: no session, a number of its own."""
        number = len(self.venue.entries) + 1
        doing.setdefault("request", number)
        account = getattr(command, "account", 0)
        if self.keyed and account and self.random.random() < 0.3:
            doing["key"] = f"{account}:{number - self.random.choice([0, 0, 3, 20])}"
        self.venue.do(command, **doing)

    def place(self) -> None:
        """Any order, at times from a session, at times one that is not live or repeats itself."""
        self._order(self._account())

    def order_of_a_session(self) -> None:
        """An order over a connection, whose numbers may repeat."""
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
        """Some orders that rest in one market, their prices in any order, some for the day."""
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
        """Two accounts trade with each other, as much as one of them or both can carry."""
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
        """Prices fall or rise by a fifth, and liquidation follows, as far as it gets."""
        move = self.random.choice([-250, -180, 180, 250])
        self._tick(lambda: move)
        for _ in range(self.random.choice([1, 3, 6])):
            self.liquidate()
            self.random.choice([self.finish, self.go_on, self.drift])()

    def take_profit(self) -> None:
        """Reduce-only orders of somebody who holds something, several on one position."""
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
        """A change of an open order: price, amount, flags, or nothing."""
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
        """The end of an order, or of one that is none."""
        order = self._open_order()
        if order is not None:
            self.do(Cancel(account=order.account, order_id=order.order_id))
        else:
            self.do(Cancel(account=self._account(), order_id=0))

    def cancel_all(self) -> None:
        """The end of many orders."""
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
        """A way out, at any price or at one."""
        market, account = self._market(), self._account()
        limit = self.random.choice([0, 0, self._price(market, self.random.choice(list(Side)))])
        self.do(ClosePosition(account=account, instrument=market.name, price=limit))

    def drift(self) -> None:
        """A heartbeat, prices hardly moving."""
        self._tick(lambda: self.random.choice([0, 0, 1, -1, 3, -3]))

    def jolt(self) -> None:
        """Prices move by percents, some by tens of percents."""
        self._tick(lambda: self.random.choice([0, 20, -20, 60, -60, 250, -250]))

    def _tick(self, move: Callable[[], int], at: int | None = None) -> None:
        prices = self.venue.prices
        for name in prices:
            usual = amount(PRICES[name])
            new = prices[name] + prices[name] * move() // 1000
            # Lost orders of magnitude would make every amount either nothing or everything.
            prices[name] = max(usual // 3, min(3 * usual, new))
        known = tuple(prices.items())[: self.random.choice([1, 3, 3, 3, 3])]
        after = self.random.choice([1, SECOND, SECOND, 4 * SECOND])
        self.do(Tick(prices=known), after=after, at=at)

    def liquidate(self) -> None:
        """A round for everybody who is due for one."""
        for account, currency in liquidation.pending(self.venue.exchange.state):
            self.do(Liquidate(account=account, currency=currency))

    def liquidate_anybody(self) -> None:
        """A round for somebody, who need not be due for one."""
        self.do(Liquidate(account=self._account(), currency=self.random.choice(CURRENCIES)))

    def go_on(self) -> None:
        """Some of the work that is left."""
        self.do(Continue())

    def finish(self) -> None:
        """All of the work that is left."""
        self.venue.finish()

    def jump(self) -> None:
        """The clock goes on without a Tick: over nothing, funding, a settlement, an expiry."""
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
        """The clock goes on to the next expiry, by a Tick or without one."""
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
        """A heartbeat at the next settlement, after one just before it."""
        self.finish()
        later = next_settlement(self.venue.exchange.state.time)
        self._tick(lambda: self.random.choice([0, 10, -10]), at=later - 1)
        self._tick(lambda: self.random.choice([0, 10, -10]), at=later)

    def refill(self) -> None:
        """Money for those who have lost theirs, so that losses go on."""
        for account in self.venue.accounts.values():
            for currency, usual in (("BTC", MONEY // 10), ("USDC", 5_000 * MONEY)):
                if self.venue.wallet(account, currency).balance < usual // 4:
                    self.do(Deposit(account=account, currency=currency, amount=usual))

    def deposit(self) -> None:
        """Money for somebody, or for the fund."""
        account = self.random.choice([self._account(), self._account(), INSURANCE])
        currency = self.random.choice([*CURRENCIES, "EUR"])
        pieces = self.random.choice([0, 1, MONEY // 100, MONEY])
        self.do(Deposit(account=account, currency=currency, amount=pieces))

    def withdraw(self) -> None:
        """Money out: a little, or all that there is."""
        account = self.random.choice([self._account(), self._account(), FEES])
        currency = self.random.choice(CURRENCIES)
        wallet = self.venue.wallet(account, currency)
        pieces = self.random.choice([1, wallet.balance, wallet.balance - wallet.initial, MONEY])
        self.do(Withdraw(account=account, currency=currency, amount=pieces))

    def start_session(self) -> None:
        """Somebody connects, or logs in again over the same connection."""
        session = self._session()
        self.do(StartSession(session=session, account=self._account()))

    def end_session(self) -> None:
        """Somebody disconnects or logs out, perhaps before the log-in was heard."""
        session, quietly = self._session(), self.random.random() < 0.3
        self.do(EndSession(session=session, quietly=quietly))

    def end_sessions(self) -> None:
        """A process has started anew."""
        self.do(EndSessions(before=self.random.choice([1, 1, self._session()])))

    def cancel_on_disconnect(self) -> None:
        """A session's rule, or an account's."""
        session = self.random.choice([0, self._session()])
        enabled = self.random.random() < 0.7
        account = self._account()
        self.do(SetCancelOnDisconnect(account=account, session=session, enabled=enabled))

    def self_trading(self) -> None:
        """What happens when somebody meets their own order."""
        self.do(SetSelfTrading(account=self._account(), mode=self.random.choice(list(SelfTrading))))

    def house_rules(self) -> None:
        """The loss policy, the size of a slice and the limit of fills change."""
        policy = self.random.choice(list(LossPolicy))
        size = self.random.choice([1, 3, 50])
        parameters = Parameters(loss_policy=policy, slice=size, fills=3 if size == 3 else 1_000)
        self.do(SetParameters(parameters=parameters))

    def product(self) -> None:
        """A product is announced again, as every start of the venue does."""
        contract, terms = self.random.choice(CATALOGUE)
        self.do(SetProduct(contract=contract, terms=terms))

    def open_account(self) -> None:
        """Somebody opens an account that they may have, or asks for one they cannot have."""
        self.do(OpenAccount(account=self.random.choice([self._account(), 106, 5]), name="x"))

    def _session(self) -> int:
        """A session that is live, that was the last to end, or that has not started yet."""
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
        """A price a few steps around the mark, the best opposite one, or one it may not have."""
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
    "jolt": 4,
    "liquidate": 6,
    "liquidate_anybody": 1,
    "go_on": 4,
    "finish": 3,
    "jump": 2,
    "deposit": 1,
    "withdraw": 2,
    "start_session": 3,
    "end_session": 2,
    "end_sessions": 1,
    "cancel_on_disconnect": 2,
    "self_trading": 2,
    "house_rules": 1,
    "product": 1,
    "open_account": 1,
}
"""How often each kind of step is taken in a run that is free to choose."""

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
    "jolt": 2,
    "liquidate": 8,
    "go_on": 8,
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
    "house_rules": 1,
    "product": 1,
}
"""The same for runs in which crashes, expiries and settlements come one after another."""
