"""The state as bytes and back, and its fingerprint.

What is written is every fact that can decide anything, in an order that the state itself
defines, as JSON: money can pass 64 bits, and people can read it. Caches, the watch and the
events of the last entry are left out, since they follow from the rest. So two states have the
same bytes if and only if they will answer every further entry alike.
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
from risk.background_work import CancelOrders, Phase
from risk.commands import Origin, SetProduct
from risk.deleveraging import Deleverage
from risk.delivery import Delivery
from risk.events import BookingKind, MarketState
from risk.market import Averaging, Index, Market
from risk.position import FUNDED, Position, Wallet
from risk.risk_terms import Parameters, Terms
from risk.sessions import CloseSessions
from risk.settlement import Settlement
from risk.state import Account, Due, Session, State


class Facts(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Facts of one object, each named as the attribute that holds it.

    A fact that an earlier version did not know needs a default, so that its snapshots load.
    """

    @classmethod
    def of(cls, source: object, **others: object) -> Self:
        """Read the facts off an object, but for those given."""
        read = {name: getattr(source, name) for name in cls.__struct_fields__ if name not in others}
        return cls(**read, **others)

    def into(self, target: object, *others: str) -> None:
        """Set them on an object, but for those named."""
        for name in self.__struct_fields__:
            if name not in others:
                setattr(target, name, getattr(self, name))


class OrderFacts(Facts, frozen=True, kw_only=True):
    """An open order; its instrument and its place are those of the queue that lists it."""

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
    """A market; `queue` has the open orders of both sides, best price first, oldest first."""

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
    """Money in one currency, and the positions it stands behind."""

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
    """Work in progress: which kind, and its fields."""

    kind: str
    fields: msgspec.Raw


class StateFacts(Facts, frozen=True, kw_only=True):
    """The venue."""

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
    """The state's facts."""
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
        outcomes=idempotency.kept(state),
        undecided=[item for table in state.undecided.values() for item in table.items()],
        due=sorted(state.due),
        phases=[_phase(phase) for phase in state.phases],
    )
    return msgspec.json.encode(facts)


def digest(state: State) -> str:
    """Hexadecimal BLAKE2b of the state's facts: the same entries give the same, everywhere."""
    return blake2b(dump(state), digest_size=16).hexdigest()


def load(data: bytes) -> State:
    """The state that was dumped. Raises msgspec.DecodeError for what is no state.

    The watch starts with every wallet unlooked at, and so in slices like any other work.
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
    for kept in facts.markets:
        state.markets[kept.instrument.name] = _load_market(state, kept, orders)
    state.expired.extend(_load_market(state, kept, orders) for kept in facts.expired)
    for currency in facts.currencies:
        state.add_currency(currency)
    for account in facts.accounts:
        _load_account(state, account, orders)
    for session in facts.sessions:
        live = Session(session.number, session.account, orders=_chosen(orders, session.orders))
        session.into(live, "orders")
        state.sessions[live.number] = live
    if any(market.funded is None for market in facts.markets):
        _bring_forward(state)
    state.watch.incomplete = True
    return state


def _bring_forward(state: State) -> None:
    """Complete a state of rules version 1.

    It did not count bookings of funding, left markets open that were listed while their currency
    was settled, and let a session start again under the number of one that had ended: the orders
    of that one are no session's any more.
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
        off = abs(state.funding_pool(currency).balance * FUNDED - exact)
        if off:
            markets[0].bookings = ceil_div(2 * off, FUNDED)


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
    for kept in facts.queue:
        order = Order(
            instrument=name, **{field: getattr(kept, field) for field in kept.__struct_fields__}
        )
        orders[order.order_id] = order
        book.add(order)
    book.take_changes()
    market.good_til_day = _chosen(orders, facts.good_til_day)
    return market


def _load_account(state: State, facts: AccountFacts, orders: dict[int, Order]) -> None:
    account = Account(facts.number, facts.name, facts.created)
    facts.into(account, "orders", "wallets")
    account.orders = _chosen(orders, facts.orders)
    state.accounts[account.number] = account
    for kept in facts.wallets:
        wallet = state.wallet(account.number, kept.currency)
        kept.into(wallet, "positions")
        ledger.bring_forward(wallet)
        for position in kept.positions:
            _load_position(state, wallet, position, orders)
        if wallet.positions or wallet.balance < 0:
            state.watch.mark_dirty(wallet)


def _load_position(
    state: State, wallet: Wallet, facts: PositionFacts, orders: dict[int, Order]
) -> None:
    position = state.position(wallet.account, state.markets[facts.market])
    facts.into(position, "market", "orders")
    position.market.cost += position.cost
    position.orders = _chosen(orders, facts.orders)
    for order in position.orders.values():
        if order.reduce_only:
            position.reduce_by(order)
        position.expose(order, order.remaining)


def _chosen(orders: dict[int, Order], order_ids: Iterable[int]) -> dict[int, Order]:
    return {order_id: orders[order_id] for order_id in order_ids}
