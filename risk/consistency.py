"""Consistency of derived data: indexes and their contents, the schedule and the markets, caches.

Part of `invariants.check`. Everything is recomputed; an AssertionError names what differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from book.calendar import AVERAGING_WINDOW, next_settlement
from book.order import Order, OrderState, TimeInForce
from risk import idempotency, margin_cache, settlement
from risk.adl_rankings import AdlRanking, score
from risk.delivery import Delivery
from risk.events import MarketState
from risk.margin_watch import Edge, interval_id, value_of
from risk.market import Market
from risk.position import NOTHING
from risk.sessions import CloseSessions
from risk.state import FIRST_CLIENT, INSURANCE, Account, Due

if TYPE_CHECKING:
    from risk.state import State


def check(state: State) -> None:
    """Check all derived data of the state."""
    _check_names(state)
    _check_due(state)
    _check_market_states(state)
    for account in state.accounts.values():
        _check_account(state, account)
    place = {
        order_id: number
        for account in state.accounts.values()
        for number, order_id in enumerate(account.orders)
    }
    for market in state.markets.values():
        _check_orders(state, market, place)
    _check_sessions(state, place)
    _check_outcomes(state)
    _check_entry_is_over(state)
    _check_watch(state)
    for ranking in state.watch.rankings.by_side.values():
        _check_ranking(state, ranking)


def _check_names(state: State) -> None:
    """Objects are stored under their own names, and wallets under account and currency alike."""
    for name, market in state.markets.items():
        assert (name, name) == (market.name, market.book.instrument), "markets"
        _check_terms(market)
        assert market.index is state.indices[market.index.name], "a market's index"
    for name, index in state.indices.items():
        assert name == index.name, "indices"
    for key, product in state.products.items():
        assert key == (product.contract.family, product.contract.dated), "products"
    for currency, wallets in state.wallets.items():
        for number, wallet in wallets.items():
            assert state.accounts[number].wallets[currency] is wallet, "wallets"
            assert wallet.key == (number, currency), "the key of a wallet"
    held = sum(len(account.wallets) for account in state.accounts.values())
    assert held == sum(len(wallets) for wallets in state.wallets.values()), "wallets"
    assert not NOTHING, "the shared empty dict is empty"


def _check_terms(market: Market) -> None:
    """A market's copies of values of its instrument are equal to these."""
    instrument = market.instrument
    contract = instrument.contract
    assert (market.name, market.currency) == (instrument.name, contract.currency), "names"
    rates = (instrument.maker_rate, instrument.taker_rate, contract.contract_size)
    assert rates == (market.maker_rate, market.taker_rate, market.contract_size), "rates"
    assert market.value(3 * 10**8, 7 * 10**11) == instrument.value(3 * 10**8, 7 * 10**11), "values"


def _check_due(state: State) -> None:
    """The schedule follows from the markets and is a valid heap."""
    delivered = {phase.market for phase in state.phases if isinstance(phase, Delivery)}
    expected = []
    for name, market in state.markets.items():
        expiry = market.instrument.expiry
        if expiry is not None and name not in delivered:
            assert expiry > state.time, "expired markets are delivered"
            expected.append((expiry, Due.EXPIRY, name))
            if market.averaging is None:
                expected.append((expiry - AVERAGING_WINDOW, Due.AVERAGING, name))
    if state.products:
        expected.append((next_settlement(state.time), Due.SETTLEMENT, ""))
    assert sorted(state.due) == sorted(expected), "what is due"
    for place, item in enumerate(state.due[1:], 1):
        assert state.due[(place - 1) // 2] <= item, "due is a heap"


def _check_market_states(state: State) -> None:
    """A market is closed while it is settled or delivered, and only then."""
    delivered = {phase.market for phase in state.phases if isinstance(phase, Delivery)}
    assert delivered <= set(state.markets), "deliveries are of listed markets"
    for market in state.markets.values():
        settled = any(settlement.in_progress(state, market.currency))
        closed = settled or market.name in delivered
        expected = MarketState.SETTLEMENT if closed else MarketState.OPEN
        assert market.state is expected, f"the state of {market.name}"
        if market.mark:
            assert (market.low, market.high) == market.instrument.band(market.mark) or (
                market.name in delivered
            ), f"the band of {market.name}"
    for market in state.expired:
        assert market.state is MarketState.DELIVERED, "expired markets are delivered"
        assert not market.book.orders, "expired markets have no orders"
        assert not market.positions, "expired markets have no positions"
    numbers = [market.instrument.number for market in (*state.expired, *state.markets.values())]
    assert len(set(numbers)) == len(numbers), "numbers of instruments"
    assert max(numbers, default=0) <= state.instruments, "numbers of instruments"


def _check_orders(state: State, market: Market, place: dict[int, int]) -> None:
    """All lists of a market's open orders are complete, with each account's oldest first."""
    for order in market.book.orders.values():
        assert order.instrument == market.name, "an order's instrument"
        assert 0 < order.order_id <= state.orders, "numbers of orders"
        assert 0 <= order.filled < order.amount, "an open order is not filled"
        average = market.instrument.average_price(order.filled, order.cost)
        assert order.average_price == average, "the average price of an order"
        assert (order.cost > 0) == (order.filled > 0), "the cost of an order"
        assert not order.liquidation, "a liquidation order never rests"
        assert (order.state, order.cancel_reason) == (OrderState.OPEN, None), "state of an order"
    day = [order for order in market.book if order.time_in_force is TimeInForce.GOOD_TIL_DAY]
    _same(market.good_til_day, day, "good-til-day orders")
    _in_turn(market.good_til_day.values(), place, "good-til-day orders")
    for position in market.positions.values():
        _in_turn(position.orders.values(), place, "orders of a position")
        _in_turn(position.reducing.values(), place, "reduce-only orders")
    for side in (market.book.bids, market.book.asks):
        for level in side:
            # An edit can move an order to the end of the queue without a new id.
            ids = [order.order_id for order in level if not order.replaced]
            assert ids == sorted(ids), f"the queue at {level.price}"
            _in_turn(level, place, f"the queue at {level.price}")


def _in_turn(orders: Iterable[Order], place: dict[int, int], name: str) -> None:
    """The orders of each account are in the order of the account's list."""
    last: dict[int, int] = {}
    for order in orders:
        assert last.get(order.account, -1) < place[order.order_id], name
        last[order.account] = place[order.order_id]


def _check_account(state: State, account: Account) -> None:
    """An account's orders are those of its positions."""
    assert state.accounts[account.number] is account, "accounts"
    _same(account.orders, account.orders.values(), "orders of an account")
    count = 0
    for wallet in account.wallets.values():
        assert wallet.account == account.number, "a wallet's account"
        for position in wallet.positions.values():
            assert position.wallet is wallet, "a position's wallet"
            count += len(position.orders)
    assert count == len(account.orders), "orders of an account's positions"


def _check_sessions(state: State, place: dict[int, int]) -> None:
    """A live session lists its open orders; an ended session has none."""
    ending = {
        number
        for phase in state.phases
        if isinstance(phase, CloseSessions)
        for number in phase.sessions
    }
    by_session: dict[int, list[Order]] = {number: [] for number in state.sessions}
    for account in state.accounts.values():
        for order in account.orders.values():
            if order.session in by_session:
                by_session[order.session].append(order)
    for number, session in state.sessions.items():
        assert number == session.number, "sessions"
        assert session.account in state.accounts, "a session's account"
        assert number >= state.first_session or number in ending, "sessions that have ended"
        _same(session.orders, by_session[number], "session orders")
        _in_turn(session.orders.values(), place, "session orders")


def _same(index: dict[int, Order], orders: Iterable[Order], name: str) -> None:
    """The index holds exactly these orders, each under its id, in any order."""
    expected = {order.order_id: order for order in orders}
    assert index.keys() == expected.keys(), name
    assert all(index[number] is order for number, order in expected.items()), name


def _check_outcomes(state: State) -> None:
    """Stored outcomes are within their limits, and their size is correct."""
    for owner, outcomes in state.outcomes.items():
        size = sum(idempotency.size_of(key, text) for key, text in outcomes.texts.items())
        assert size == outcomes.size, "the size of outcomes"
        assert len(outcomes.texts) <= idempotency.OUTCOMES, "the number of outcomes"
        assert all(idempotency.owner(key) == owner for key in outcomes.texts), "outcomes"
    for owner, undecided in state.undecided.items():
        assert 0 < len(undecided) <= idempotency.UNDECIDED, "requests in progress"
        assert all(idempotency.owner(key) == owner for key in undecided), "undecided"


def _check_entry_is_over(state: State) -> None:
    """No changes of an entry are left unreported, in the state or in the books."""
    assert state.report.first is None, "the first order touched"
    for touched in (state.report.orders, state.report.markets, state.report.wallets):
        assert not touched, "touched"
    for changed in (state.report.positions, state.report.booked):
        assert not changed, "changed positions or bookings"
    for market in state.markets.values():
        for side in (market.book.bids, market.book.asks):
            assert not side.touched, "levels touched"


def _check_watch(state: State) -> None:
    """Every wallet with a position or debt is unwatched, endangered, or has valid intervals.

    A wallet whose interval ends have not been crossed meets its maintenance margin.
    """
    watch = state.watch
    assert len(watch.slots) == len(watch.keys) == len(watch.versions), "slots"
    assert all(watch.keys[slot] == key for key, slot in watch.slots.items()), "slots"
    for part, key in watch.worst:
        assert watch.endangered.get(key) == part, "the worst are endangered"
    ends: dict[int, dict[Edge, int]] = {}
    for edge, heaps in watch.ends.items():
        for end, interval in heaps.every():
            ends.setdefault(interval, {})[edge] = end
    for wallets in state.wallets.values():
        for wallet in wallets.values():
            held = [position for position in wallet.positions.values() if position.size]
            known = wallet.key in watch.unwatched or wallet.key in watch.endangered
            watched = wallet.account >= FIRST_CLIENT or wallet.account == INSURANCE
            if known or not watched or not (held or wallet.balance < 0):
                continue
            slot = watch.slots.get(wallet.key)
            assert slot is not None, "a wallet with positions or debt is watched"
            own = ends.get(interval_id(slot, watch.versions[slot]), {})
            for position in held:
                name = position.market.name
                edges = ((name, "mark", -1), (name, "mark", 1))
                assert any(edge in own for edge in edges), "every position is watched"
            crossed = any(
                end < sign * value_of(state.markets[name], kind)
                for (name, kind, sign), end in own.items()
            )
            if not crossed:
                margin_cache.refresh(state, wallet)
                assert wallet.margin_balance >= wallet.maintenance, "a watched wallet is sound"


def _check_ranking(state: State, ranking: AdlRanking) -> None:
    """A ranking at the present marks has the present score of every scored position."""
    if ranking.marks != state.marks:
        return
    scores = {}
    for account, position in ranking.market.positions.items():
        scored = ranking.complete or account <= ranking.cursor
        if scored and account not in ranking.changed and position.size * ranking.sign > 0:
            scores[account] = score(state, position)
    known = {a: s for a, s in ranking.scores.items() if a not in ranking.changed}
    assert scores == known, "scores"
    places = list(ranking.ranked)
    assert sorted((s, -a) for a, s in ranking.scores.items()) == places, "ranking"
    assert all(one < other for one, other in pairwise(places)), "ranking"
