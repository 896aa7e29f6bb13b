"""Deleveraging by cached rankings gives the same result as scanning all positions."""

from __future__ import annotations

from random import Random

import pytest

from book.order import Side
from book.units import MONEY, round_half_even
from risk import (
    adl_rankings,
    deleveraging,
    insurance,
    liquidation,
    margin,
    margin_cache,
    order_costs,
    snapshot,
    standard_margin,
)
from risk.commands import Deposit, Place
from risk.deleveraging import Deleverage
from risk.market import Market
from risk.position import Position
from risk.state import FIRST_CLIENT, State
from tests.risk.venue import BTC, MONTHLY, SOL_USDC, Venue, open_venue

CLIENTS = [f"client {number}" for number in range(40)]
MARKETS = (BTC, MONTHLY, SOL_USDC)


def venue_after_large_move(random: Random, **parameters: int) -> Venue:
    """Return a venue with leverages of up to 50 on both sides, after a large price change."""
    venue = open_venue(checked=False, parameters=parameters, insurance={"BTC": "0.001"})
    venue.open("maker", BTC="1000000", USDC="1000000000")
    for name in CLIENTS:
        venue.open(name)
        for instrument in random.sample(MARKETS, random.choice((1, 2, 3))):
            trade(venue, name, instrument, random)
    factor = random.choice((0.7, 0.8, 0.9, 1.15, 1.4))
    venue.prices = {name: int(price * factor) for name, price in venue.prices.items()}
    venue.tick()
    venue.finish()
    return venue


def trade(venue: Venue, name: str, instrument: str, random: Random) -> None:
    """Deposit one to three times the money that a trade with the maker needs, and trade."""
    market = venue.market(instrument)
    quantity = random.randint(10, 1000) * market.instrument.contract.contract_size
    fee = order_costs.fee(market, quantity, market.mark, market.instrument.taker_rate)
    sum_in = int((standard_margin.initial(market, quantity) + 2 * fee) * random.uniform(1.05, 3))
    venue.do(Deposit(account=venue.number(name), currency=market.currency, amount=sum_in))
    side = random.choice(list(Side))
    for account, taken in (("maker", side.opposite), (name, side)):
        order = Place(
            account=venue.number(account),
            instrument=instrument,
            side=taken,
            amount=quantity,
            price=market.instrument.floor_to_tick(market.mark),
        )
        venue.do(order)


def scanned(state: State, market: Market, sign: int) -> list[adl_rankings.RankedAccount]:
    """Return the ranking of one side by scanning all positions, highest last."""
    return sorted(
        (adl_rankings.score(state, position), -account)
        for account, position in market.positions.items()
        if position.size * sign > 0
    )


def eligible(state: State, position: Position) -> list[adl_rankings.RankedAccount]:
    """Return the accounts that can be deleveraged and keep a balance of at least zero."""
    places = []
    for place in scanned(state, position.market, -1 if position.size > 0 else 1):
        other = position.market.positions[-place[1]]
        if other.account >= FIRST_CLIENT and terms(state, position, other) is not None:
            places.append(place)
    return places


def terms(state: State, position: Position, other: Position) -> tuple[int, int] | None:
    """Return the amount that two positions close and its share; None where they cannot."""
    for wallet in (position.wallet, other.wallet):
        margin_cache.refresh(state, wallet)
    amount = min(abs(position.size), abs(other.size))
    share = insurance.bankruptcy_shares(position.wallet)[position.market.name]
    if amount < abs(position.size):
        share = round_half_even(share * amount, abs(position.size))
    return (amount, share) if other.wallet.margin_balance + share >= 2 else None


def deleverage_by_scans(state: State, position: Position) -> int:
    """Close a position against the best of each new scan; return how many positions closed."""
    gave = 0
    while position.size and margin.is_locked(state, position.wallet):
        candidates = eligible(state, position)
        if not candidates:
            share = insurance.bankruptcy_shares(position.wallet)[position.market.name]
            insurance.take_over(state, position, share)
            insurance.cover(state, state.insurance(position.market.currency))
            return gave
        for place in reversed(candidates):
            if not position.size or not margin.is_locked(state, position.wallet):
                break
            other = position.market.positions[-place[1]]
            agreed = terms(state, position, other)
            if agreed is not None:
                insurance.transfer_position(state, position, other, *agreed)
                gave += 1
    return gave


def bankrupt(state: State) -> list[Position]:
    """Return the positions of bankrupt accounts, in the order of the accounts."""
    return [
        position
        for account in state.accounts.values()
        if account.number >= FIRST_CLIENT
        for _, wallet in sorted(account.wallets.items())
        if margin.is_locked(state, wallet) and wallet.margin_balance <= 0
        for position in wallet.positions.values()
        if position.size
    ]


@pytest.mark.parametrize("seed", range(12))
def test_many_deleveragings_at_one_tick_equal_those_by_scans(seed: int) -> None:
    """The states are equal, although earlier deleveragings changed the cached scores."""
    random = Random(seed)
    venue = venue_after_large_move(random)
    state = venue.exchange.state
    plain = snapshot.load(snapshot.dump(state))
    gave = 0
    for position in bankrupt(state):
        account, market = position.account, position.market.name
        phase = Deleverage(account, market)
        while not phase.done:
            phase.advance(state, random.randint(1, 40))
        gave += deleverage_by_scans(plain, plain.markets[market].positions[account])
        assert snapshot.digest(plain) == snapshot.digest(state)
        if random.random() < 0.3:
            richer, amount = venue.number(random.choice(CLIENTS)), random.randint(1, MONEY)
            currency = random.choice(state.currencies())
            for each in (state, plain):
                wallet = each.wallet(richer, currency)
                wallet.balance += amount
                each.watch.mark_dirty(wallet)
    assert gave > 3, "some are deleveraged"


@pytest.mark.parametrize("seed", range(4))
def test_ineligible_candidates_do_not_hide_lower_ones(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batches of two, the first batches are skipped entirely and lower ones follow."""
    monkeypatch.setattr(deleveraging, "RANKED", 2)
    random = Random(seed)
    venue = venue_after_large_move(random)
    state = venue.exchange.state
    position = max(bankrupt(state), key=lambda each: len(eligible(state, each)))
    ranked = scanned(state, position.market, -1 if position.size > 0 else 1)
    for _, negated in ranked[len(ranked) // 2 :]:
        wallet = position.market.positions[-negated].wallet
        wallet.balance -= wallet.margin_balance
        state.watch.mark_dirty(wallet)
    bearing = eligible(state, position)
    assert bearing, "an eligible account is left"
    phase = Deleverage(position.account, position.market.name)
    before = {-negated: position.market.positions[-negated].size for _, negated in bearing}
    while not phase.done:
        phase.advance(state, 7)
    gave = [account for account, size in before.items() if size != _size(position, account)]
    expected = [-negated for _, negated in bearing[len(bearing) - len(gave) :]]
    assert gave
    assert expected == gave


def _size(position: Position, account: int) -> int:
    held = position.market.positions.get(account)
    return held.size if held is not None else 0


@pytest.mark.parametrize("seed", range(4))
def test_a_ranking_equals_a_scan(seed: int) -> None:
    """It does half or fully computed, after changes of money, positions and marks."""
    random = Random(seed)
    venue = venue_after_large_move(random)
    state = venue.exchange.state
    for _ in range(60):
        market, sign = venue.market(random.choice(MARKETS)), random.choice((1, -1))
        if random.random() < 0.5:
            state.watch.rankings.of(state, market, sign).advance(state, 5)
        if random.random() < 0.7:
            trade(venue, random.choice(CLIENTS), market.name, random)
        if random.random() < 0.1:
            venue.tick()
        expected = scanned(state, market, sign)
        below = random.choice([None, *expected])
        batch = state.watch.rankings.of(state, market, sign).next(state, below, 10)
        upper = expected if below is None else [place for place in expected if place < below]
        assert upper[-10:] == batch


def test_no_liquidation_is_proposed_before_the_rankings_are_complete() -> None:
    """Continue entries complete them in slices; then all due accounts are proposed."""
    venue = venue_after_large_move(Random(1), slice=1)
    state = venue.exchange.state
    due = [key for _, key in state.watch.worst if key[0] >= FIRST_CLIENT]
    assert [] == liquidation.pending(state)
    before = len(venue.entries)
    venue.finish()
    assert len(venue.entries) - before > 5
    assert due == [key for key in liquidation.pending(state) if key[0] >= FIRST_CLIENT]


def test_late_rankings_do_not_delay_liquidations() -> None:
    """A Tick that arrives first may do so again, so the rankings are completed in one step."""
    venue = venue_after_large_move(Random(1), slice=1)
    assert [] == liquidation.pending(venue.exchange.state)
    venue.tick()
    assert liquidation.pending(venue.exchange.state)


def test_unused_rankings_are_dropped_at_the_next_tick() -> None:
    """Without deleveraging, no rankings are kept or computed."""
    venue = venue_after_large_move(Random(1))
    rankings = venue.exchange.state.watch.rankings
    assert liquidation.pending(venue.exchange.state)
    assert rankings.by_side
    venue.tick()
    venue.finish()
    assert not rankings.by_side
