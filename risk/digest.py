"""A fingerprint of the state: every fact that can decide anything, in a defined order.

Caches, the watch and the events of the last entry are left out, since they follow from the
rest. What is left is turned into plain tuples, whose text does not depend on the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from book.order import Order
from risk.market import Market
from risk.position import Position, Wallet
from risk.state import Account, Session, State


def digest(state: State) -> str:
    """Hexadecimal BLAKE2b of the state's facts."""
    hasher = blake2b(digest_size=16)
    for fact in facts(state):
        hasher.update(repr(fact).encode())
        hasher.update(b"\n")
    return hasher.hexdigest()


def facts(state: State) -> Iterator[tuple[object, ...]]:
    """All facts, one tuple each: of the venue, then index by index, market by market, and so on."""
    yield _venue(state)
    for key in sorted(state.products):
        yield ("product", repr(state.products[key]))
    for name in sorted(state.indices):
        index = state.indices[name]
        yield ("index", name, index.price, index.since, index.updated, index.integral)
    for name in sorted(state.markets):
        yield from _market(state.markets[name])
    for market in state.expired:
        yield ("expired", market.name, market.delivery_price)
    for number in sorted(state.accounts):
        yield from _account(state.accounts[number])
    for number in sorted(state.sessions):
        yield _session(state.sessions[number])
    for phase in state.phases:
        yield phase.facts()


def _venue(state: State) -> tuple[object, ...]:
    return (
        state.time,
        state.sequence,
        state.ticks,
        state.heartbeat,
        repr(state.parameters),
        state.first_session,
        tuple(state.overtaken),
        tuple(sorted(state.deposited.items())),
        tuple(sorted((time, int(kind), name) for time, kind, name in state.due)),
        state.instruments,
        state.orders,
        state.trades,
    )


def _market(market: Market) -> Iterator[tuple[object, ...]]:
    window = market.averaging
    yield (
        "market",
        repr(market.instrument),
        repr(market.terms),
        market.state.value,
        market.mark,
        market.premium,
        market.premium_second,
        market.funding_rate,
        market.funding_index,
        market.funding_time,
        market.rate_integral,
        (window.since, window.integral) if window is not None else None,
        market.settlement_price,
        market.delivery_price,
        market.last_price,
        market.last_tick,
        market.trades,
        market.open_interest,
    )
    for side in (market.book.bids, market.book.asks):
        for level in side:
            for order in level:
                yield _order(order)
    for position in market.positions.values():
        yield _position(position)


def _order(order: Order) -> tuple[object, ...]:
    return ("order", repr(order.record()), order.cost)


def _position(position: Position) -> tuple[object, ...]:
    return (
        "position",
        position.account,
        position.size,
        position.carry,
        position.cost,
        position.realised,
        position.funding,
        position.funding_index,
        position.buys,
        position.sells,
        tuple(position.reducing),
    )


def _account(account: Account) -> Iterator[tuple[object, ...]]:
    yield (
        "account",
        account.number,
        account.name,
        account.created,
        account.self_trading.value,
        account.cancel_on_disconnect,
        tuple(account.orders),
    )
    for currency in sorted(account.wallets):
        yield _wallet(account.wallets[currency])


def _wallet(wallet: Wallet) -> tuple[object, ...]:
    return (
        "wallet",
        wallet.currency,
        wallet.balance,
        wallet.session_profit,
        wallet.fees,
        wallet.round,
        tuple(wallet.positions),
    )


def _session(session: Session) -> tuple[object, ...]:
    return (
        "session",
        session.number,
        session.account,
        session.cancel_on_disconnect,
        session.last_request,
        tuple(session.orders),
    )
