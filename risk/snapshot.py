"""Snapshots: conversion of the state to bytes and back, and its digest.

A snapshot contains every fact that affects the result of an entry, in an order that the state
itself defines. The format is JSON, because amounts of money can exceed 64 bits, and for
readability. Caches, the margin watch and the events of the last entry are omitted, since they
can be derived. Two states therefore have equal bytes if and only if all further entries have
equal results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Self

import msgspec

from book.instrument import Instrument
from book.order import Order, OrderType, SelfTrading, Side, TimeInForce
from book.orderbook import OrderBook
from book.units import ceil_div
from risk import idempotency, ledger
from risk.background_work import CancelOrders
from risk.commands import Origin, SetProduct
from risk.deleveraging import Deleverage
from risk.delivery import Delivery
from risk.events import BookingKind, MarketState
from risk.market import Averaging, Index, Market
from risk.position import FUNDED, Position, Wallet
from risk.risk_terms import Parameters, Terms
from risk.sessions import CloseSessions
from risk.settlement import Settlement
from risk.state import Account, Due, Phase, Session, State


class Facts(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Facts of one object, each named as the attribute of the object.

    A fact that an earlier version lacks needs a default, so that earlier snapshots load.
    """

    @classmethod
    def of(cls, source: object, **others: object) -> Self:
        """Read the facts from an object, except those passed as `others`."""
        read = {name: getattr(source, name) for name in cls.__struct_fields__ if name not in others}
        return cls(**read, **others)

    def into(self, target: object, *others: str) -> None:
        """Set the facts on an object, except those named in `others`."""
        for name in self.__struct_fields__:
            if name not in others:
                setattr(target, name, getattr(self, name))


class OrderFacts(Facts, frozen=True, kw_only=True):
    """An open order. Its instrument and queue position follow from `MarketFacts.queue`."""

    order_id: int
    account: int
    side: Side
    type: OrderType
    original_type: OrderType | None
    time_in_force: TimeInForce
    price: int
    amount: int
    filled: int
    cost: int
    average_price: int
    label: str
    post_only: bool
    reject_post_only: bool
    reduce_only: bool
    risk_reducing: bool
    replaced: bool
    created: int
    updated: int
    session: int


class PositionFacts(Facts, frozen=True, kw_only=True):
    """A position; `orders` are the ids of its open orders, oldest first."""

    market: str
    size: int
    carry: int
    cost: int
    realised: int
    funding: int
    funding_index: int
    orders: list[int]


class MarketFacts(Facts, frozen=True, kw_only=True):
    """A market; `queue` lists the open orders of both sides, best price first, oldest first."""

    instrument: Instrument
    terms: Terms
    index: str
    state: MarketState
    mark: int
    low: int
    high: int
    premium: int
    premium_second: int
    funding_rate: int
    funding_index: int
    funding_time: int
    rate_integral: int
    averaging: Averaging | None
    settlement_price: int
    delivery_price: int
    last_price: int
    last_tick: int
    trades: int
    open_interest: int
    funded: int | None = None
    bookings: int = 0
    good_til_day: list[int]
    queue: list[OrderFacts]
    funding_due: int = 0


class WalletFacts(Facts, frozen=True, kw_only=True):
    """An account's money and positions in one currency."""

    currency: str
    balance: int
    session_profit: int
    fees: int
    booked: dict[BookingKind, int] = {}
    round: int
    positions: list[PositionFacts]


class AccountFacts(Facts, frozen=True, kw_only=True):
    """An account; `orders` are the ids of its open orders, oldest first."""

    number: int
    name: str
    created: int
    self_trading: SelfTrading
    cancel_on_disconnect: bool
    orders: list[int]
    wallets: list[WalletFacts]


class SessionFacts(Facts, frozen=True, kw_only=True):
    """A live session, and the ids of its open orders."""

    number: int
    account: int
    cancel_on_disconnect: bool
    last_request: int
    orders: list[int]


class PhaseFacts(msgspec.Struct, frozen=True, gc=False):
    """Work in progress: the name of its class, and its fields."""

    kind: str
    fields: msgspec.Raw


class StateFacts(Facts, frozen=True, kw_only=True):
    """The state of the venue."""

    time: int
    sequence: int
    ticks: int
    heartbeat: int
    parameters: Parameters
    products: list[SetProduct]
    indices: list[Index]
    markets: list[MarketFacts]
    expired: list[MarketFacts]
    currencies: list[str]
    accounts: list[AccountFacts]
    sessions: list[SessionFacts]
    first_session: int
    overtaken: list[int]
    outcomes: list[tuple[str, msgspec.Raw]]
    undecided: list[tuple[str, Origin]]
    deposited: dict[str, int]
    due: list[tuple[int, Due, str]]
    phases: list[PhaseFacts]
    instruments: int
    orders: int
    trades: int


_PHASES: dict[str, Any] = {
    kind.__name__: kind for kind in (CancelOrders, CloseSessions, Settlement, Delivery, Deleverage)
}
_decoder = msgspec.json.Decoder(StateFacts)


def dump(state: State) -> bytes:
    """Return the state as bytes."""
    facts = StateFacts.of(
        state,
        products=list(state.products.values()),
        indices=list(state.indices.values()),
        markets=[_market(market) for market in state.markets.values()],
        expired=[_market(market) for market in state.expired],
        currencies=state.currencies(),
        accounts=[_account(account) for account in state.accounts.values()],
        sessions=[_session(session) for session in state.sessions.values()],
        overtaken=list(state.overtaken),
        outcomes=idempotency.dump(state),
        undecided=[item for table in state.undecided.values() for item in table.items()],
        due=sorted(state.due),
        phases=[_phase(phase) for phase in state.phases],
    )
    return msgspec.json.encode(facts)


def digest(state: State) -> str:
    """Return the hexadecimal BLAKE2b hash of `dump`; equal entries give equal digests."""
    return blake2b(dump(state), digest_size=16).hexdigest()


def load(data: bytes) -> State:
    """Return the state of a snapshot. Raise msgspec.DecodeError for invalid bytes.

    The margin watch starts with all wallets unmeasured, and measures them in slices.
    """
    facts = _decoder.decode(data)
    state = State()
    lists = ("products", "indices", "markets", "expired", "accounts", "sessions", "overtaken")
    facts.into(state, *lists, "currencies", "outcomes", "undecided", "due", "phases")
    state.products = {(p.contract.family, p.contract.dated): p for p in facts.products}
    state.indices = {index.name: index for index in facts.indices}
    state.overtaken = dict.fromkeys(facts.overtaken)
    idempotency.restore(state, facts.outcomes, facts.undecided)
    state.due = list(facts.due)
    state.phases = deque(
        msgspec.json.decode(phase.fields, type=_PHASES[phase.kind]) for phase in facts.phases
    )
    orders: dict[int, Order] = {}
    for market in facts.markets:
        state.markets[market.instrument.name] = _load_market(state, market, orders)
    state.expired.extend(_load_market(state, market, orders) for market in facts.expired)
    for currency in facts.currencies:
        state.add_currency(currency)
    for account in facts.accounts:
        _load_account(state, account, orders)
    for session in facts.sessions:
        live = Session(session.number, session.account, orders=_select(orders, session.orders))
        session.into(live, "orders")
        state.sessions[live.number] = live
    if any(market.funded is None for market in facts.markets):
        _upgrade_from_rules_1(state)
    state.watch.incomplete = True
    return state


def _upgrade_from_rules_1(state: State) -> None:
    """Complete a state of rules version 1.

    Version 1 did not count funding bookings. It left markets open that were listed during a
    settlement of their currency. It allowed a session to start under the number of an ended one:
    the orders of the ended session now belong to no session.
    """
    for account in state.accounts.values():
        for order in account.orders.values():
            live = state.sessions.get(order.session)
            if live is not None and order.order_id not in live.orders:
                order.session = 0
    settled = {phase.currency for phase in state.phases if isinstance(phase, Settlement)}
    for market in state.markets.values():
        market.funded, market.bookings = -market.accrued(), 0
        if market.currency in settled:
            market.state = MarketState.SETTLEMENT
    for currency in state.currencies():
        markets = [market for market in state.markets.values() if market.currency == currency]
        exact = sum(market.funded for market in markets)
        difference = abs(state.funding_pool(currency).balance * FUNDED - exact)
        if difference:
            markets[0].bookings = ceil_div(2 * difference, FUNDED)


def _market(market: Market) -> MarketFacts:
    return MarketFacts.of(
        market,
        index=market.index.name,
        good_til_day=list(market.good_til_day),
        queue=[OrderFacts.of(order) for order in market.book],
    )


def _account(account: Account) -> AccountFacts:
    wallets = [
        WalletFacts.of(wallet, positions=[_position(p) for p in wallet.positions.values()])
        for wallet in account.wallets.values()
    ]
    return AccountFacts.of(account, orders=list(account.orders), wallets=wallets)


def _position(position: Position) -> PositionFacts:
    return PositionFacts.of(position, market=position.market.name, orders=list(position.orders))


def _session(session: Session) -> SessionFacts:
    return SessionFacts.of(session, orders=list(session.orders))


def _phase(phase: Phase) -> PhaseFacts:
    return PhaseFacts(type(phase).__name__, msgspec.Raw(msgspec.json.encode(phase)))


def _load_market(state: State, facts: MarketFacts, orders: dict[int, Order]) -> Market:
    name = facts.instrument.name
    book = OrderBook(name)
    market = Market(facts.instrument, facts.terms, state.indices[facts.index], book)
    facts.into(market, "instrument", "terms", "index", "funded", "good_til_day", "queue")
    market.funded = facts.funded or 0
    for queued in facts.queue:
        order = Order(
            instrument=name, **{field: getattr(queued, field) for field in queued.__struct_fields__}
        )
        orders[order.order_id] = order
        book.add(order)
    book.take_changes()
    market.good_til_day = _select(orders, facts.good_til_day)
    return market


def _load_account(state: State, facts: AccountFacts, orders: dict[int, Order]) -> None:
    account = Account(facts.number, facts.name, facts.created)
    facts.into(account, "orders", "wallets")
    account.orders = _select(orders, facts.orders)
    state.accounts[account.number] = account
    for wallet_facts in facts.wallets:
        wallet = state.wallet(account.number, wallet_facts.currency)
        wallet_facts.into(wallet, "positions")
        ledger.bring_forward(wallet)
        for position in wallet_facts.positions:
            _load_position(state, wallet, position, orders)
        if wallet.positions or wallet.balance < 0:
            state.watch.mark_dirty(wallet)


def _load_position(
    state: State, wallet: Wallet, facts: PositionFacts, orders: dict[int, Order]
) -> None:
    position = state.position(wallet.account, state.markets[facts.market])
    facts.into(position, "market", "orders")
    position.market.cost += position.cost
    position.orders = _select(orders, facts.orders)
    for order in position.orders.values():
        if order.reduce_only:
            position.reduce_by(order)
        position.expose(order, order.remaining)


def _select(orders: dict[int, Order], order_ids: Iterable[int]) -> dict[int, Order]:
    return {order_id: orders[order_id] for order_id in order_ids}
