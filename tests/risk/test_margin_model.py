"""The clearing house works with a margin model whose contributions do not add up.

`Netting` lets positions on one index offset each other, as scenario margin does: a wallet needs the
standard margin of its net delta per index. It is written from the documentation of `MarginModel`
alone, without knowledge of the code that uses it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import pytest

from book.order import Side
from book.units import MONEY, RATE, SCALE, ceil_div
from risk import insurance, margin, margin_cache, views
from risk import state as state_module
from risk.margin_model import Interval, MarginModel
from risk.market import Market
from risk.position import Position, Wallet
from risk.reasons import Reason
from risk.standard_margin import STANDARD, base_size
from risk.state import FIRST_CLIENT, State
from tests.hypothesis_settings import EFFORT
from tests.risk.random_commands import RandomCommands, small_venue
from tests.risk.test_random_runs import calm_down
from tests.risk.venue import BTC, MONTHLY, Venue, amount, money, open_venue, reason

RISK = sorted((Path(__file__).parents[2] / "risk").glob("*.py"))


class Netting:
    """Standard rates on the net delta of all positions and open orders on an index."""

    def measure(self, state: State, wallet: Wallet) -> None:
        """Compute everything, since each contribution depends on the other positions."""
        wallet.marks, wallet.profit = state.marks, 0
        held = list(wallet.positions.values())
        for position in held:
            market = position.market
            if market.mark:
                accrued = position.accrued_funding(market.funding_index)
                value = market.value(position.size, market.mark)
                position.profit = position.carry - value + accrued
            wallet.profit += position.profit
            margin_cache.reserves(state, position)
        wallet.initial, wallet.maintenance = self.requirement(wallet, held)
        for position in held:
            others = [other for other in held if other is not position]
            initial, maintenance = self.requirement(wallet, others)
            position.initial = wallet.initial - initial
            position.maintenance = wallet.maintenance - maintenance

    def forget(self, position: Position) -> None:
        """Do nothing: the next `measure` omits the position."""
        position.wallet.marks = -1

    def requirement(self, wallet: Wallet, positions: Iterable[Position]) -> tuple[int, int]:
        """Return the requirement of these positions together."""
        held = list(positions)
        extremes = {p.market.name: p.worst_case_sizes() for p in held}
        sizes = {p.market.name: (p.size, p.size) for p in held}
        reserved = sum(position.reserved for position in held)
        return (
            self._of(held, extremes, "initial") + reserved,
            self._of(held, sizes, "maintenance"),
        )

    def worst_case(self, wallet: Wallet, market: Market, low: int, high: int) -> int:
        """Return the contribution with the open orders of all other positions at their worst."""
        others = {
            position.market.name: position.worst_case_sizes()
            for name, position in wallet.positions.items()
            if name != market.name
        }
        return self._added(wallet, others, market, low, high, "initial")

    def maintenance(self, wallet: Wallet, market: Market, size: int) -> int:
        """Return the contribution beside the positions in other markets."""
        others = {
            name: (position.size, position.size)
            for name, position in wallet.positions.items()
            if name != market.name
        }
        return self._added(wallet, others, market, size, size, "maintenance")

    def frees_most(self, positions: list[Position]) -> Position:
        """Return the position with the largest contribution, never a hedge."""
        return max(positions, key=lambda position: position.maintenance)

    def intervals(self, positions: list[Position], slack: int) -> Iterator[Interval]:
        """Yield none, so that any price change leads to a measurement."""
        for position in positions:
            market = position.market
            yield market.name, "mark", market.mark, market.mark
            yield market.name, "index", market.index.price, market.index.price
            yield market.name, "funding", market.funding_index, market.funding_index

    def liquidation_price(self, wallet: Wallet, position: Position) -> int | None:
        """Return None: not supported."""
        return None

    def liquidation_ratio(self, wallet: Wallet, positions: list[Position]) -> int | None:
        """Return None: not supported."""
        return None

    def _added(
        self,
        wallet: Wallet,
        others: dict[str, tuple[int, int]],
        market: Market,
        low: int,
        high: int,
        kind: str,
    ) -> int:
        held = [position for name, position in wallet.positions.items() if name in others]
        mine = Position(Wallet(wallet.account, wallet.currency), market)
        with_it = self._of([*held, mine], {**others, market.name: (low, high)}, kind)
        return with_it - self._of(held, others, kind)

    def _of(self, positions: list[Position], ranges: dict[str, tuple[int, int]], kind: str) -> int:
        """Sum standard margin of the larger net delta in these ranges over the indices."""
        nets: dict[str, tuple[Market, int, int]] = {}
        for position in positions:
            market = position.market
            low, high = (_coins(market, size) for size in ranges[market.name])
            first, before, after = nets.get(market.index.name, (market, 0, 0))
            nets[market.index.name] = first, before + low, after + high
        return sum(_needs(market, max(-low, high, 0), kind) for market, low, high in nets.values())


def _coins(market: Market, size: int) -> int:
    if not size:
        return 0
    coins = base_size(market, size)
    return coins if size > 0 else -coins


def _needs(market: Market, coins: int, kind: str) -> int:
    terms = market.terms
    base = terms.initial_base if kind == "initial" else terms.maintenance_base
    slope = terms.initial_slope if kind == "initial" else terms.maintenance_slope
    weighted = coins * (base * MONEY + slope * coins)
    if market.instrument.contract.inverse:
        return ceil_div(weighted, RATE * MONEY)
    return ceil_div(weighted * market.index.price, RATE * MONEY * SCALE)


NETTING: MarginModel = Netting()


@pytest.fixture
def use_netting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the other model to every wallet that is opened from here on."""

    def opened(account: int, currency: str) -> Wallet:
        return Wallet(account, currency, model=NETTING)

    monkeypatch.setattr(state_module, "Wallet", opened)


def hedged_venue() -> Venue:
    """Return a venue where Ann is long the perpetual and equally short the monthly future."""
    venue = open_venue(ann={"BTC": "0.07"}, ben={"BTC": "100"}, checked=True)
    venue.trade("ann", "ben", BTC, "100000", "50000")
    venue.trade("ben", "ann", MONTHLY, "100000", "50000")
    return venue


@pytest.mark.usefixtures("use_netting")
def test_a_hedge_needs_no_margin_and_is_accepted_without() -> None:
    """Standard margin would refuse the second order."""
    venue = hedged_venue()
    wallet = venue.wallet("ann", "BTC")
    margin_cache.refresh(venue.exchange.state, wallet)
    assert 2 == len(wallet.positions)
    assert wallet.maintenance < money("0.0001")
    assert all(position.initial < 0 for position in wallet.positions.values())
    shown = views.summary(venue.exchange.state, venue.number("ann"), "BTC")
    assert shown.initial == wallet.initial < shown.projected_initial
    # The margin that the hedge frees can be used once.
    assert Reason.NOT_ENOUGH_FUNDS is reason(venue.sell("ann", BTC, "200000", "50000"))


def test_standard_margin_refuses_the_same_hedge() -> None:
    """This shows that the test above depends on the model."""
    venue = open_venue(ann={"BTC": "0.07"}, ben={"BTC": "100"})
    venue.trade("ann", "ben", BTC, "100000", "50000")
    events = venue.place("ann", MONTHLY, Side.SELL, "100000", "50000")
    assert Reason.NOT_ENOUGH_FUNDS is reason(events)


@pytest.mark.usefixtures("use_netting")
def test_a_falling_market_does_not_liquidate_a_hedge() -> None:
    """It liquidates an account with only the long, as far as the loss requires."""
    venue = hedged_venue()
    venue.open("cat", BTC="0.06")
    venue.trade("cat", "ben", BTC, "100000", "50000")
    for level in range(49_500, 47_000, -500):
        venue.tick(btc_usd=str(level))
        venue.finish()
        venue.liquidate()
    assert amount("100000") == venue.size("ann", BTC) == -venue.size("ann", MONTHLY)
    assert 0 <= venue.size("cat", BTC) < amount("100000")


@pytest.mark.usefixtures("use_netting")
@pytest.mark.parametrize("seed", range(6 * EFFORT))
def test_random_days_keep_the_invariants_with_netting(seed: int) -> None:
    """The watch finds every endangered account, and liquidations end."""
    venue = small_venue()
    random_commands = RandomCommands(venue, Random(seed))
    state = venue.exchange.state
    for _ in range(150):
        random_commands.step()
        venue.finish()
    venue.tick()
    venue.finish()
    for account in state.accounts.values():
        for wallet in account.wallets.values():
            assert wallet.model is NETTING
            if account.number >= FIRST_CLIENT and margin.is_locked(state, wallet):
                assert wallet.key in state.watch.endangered
    calm_down(venue)


@pytest.mark.usefixtures("use_netting")
@pytest.mark.parametrize("seed", range(20 * EFFORT))
def test_an_accepted_order_never_endangers(seed: int) -> None:
    """Filled at once in full, it leaves maintenance margin, whatever else is held."""
    random = Random(seed)
    venue = open_venue(ann={"BTC": "0.1"}, ben={"BTC": "1000"}, checked=False)
    state, wallet = venue.exchange.state, venue.wallet("ann", "BTC")
    accepted = 0
    for _ in range(60):
        name = random.choice([BTC, MONTHLY])
        side = random.choice(list(Side))
        contracts = random.choice([100, 3_000, 40_000, 200_000])
        level = random.choice([49_900, 50_000, 50_100])
        for _ in range(2):
            other = side.opposite
            venue.place("ben", name, other, contracts, level)
        if reason(venue.place("ann", name, side, contracts, level)) is None:
            accepted += 1
        assert not margin.is_locked(state, wallet)
    assert accepted >= 5


@pytest.mark.usefixtures("use_netting")
def test_the_share_of_a_hedge_is_zero() -> None:
    """The shares of a margin balance sum to it, and none is negative."""
    venue = open_venue(ann={"BTC": "0.2"}, ben={"BTC": "100"})
    venue.trade("ann", "ben", BTC, "100000", "50000")
    venue.trade("ben", "ann", MONTHLY, "40000", "50000")
    wallet = venue.wallet("ann", "BTC")
    margin_cache.refresh(venue.exchange.state, wallet)
    shares = insurance.bankruptcy_shares(wallet)
    assert {BTC: wallet.margin_balance, MONTHLY: 0} == shares
    held = list(wallet.positions.values())
    assert BTC == wallet.model.frees_most(held).market.name


def test_only_wallets_know_the_standard_model() -> None:
    """The rest of the clearing house uses the model of the wallet."""
    allowed = {"position.py": {"STANDARD"}, "views.py": {"base_size"}}
    for path in RISK:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "risk.standard_margin":
                assert {alias.name for alias in node.names} <= allowed.get(path.name, set())
            if isinstance(node, ast.ImportFrom) and node.module == "risk":
                assert "standard_margin" not in {alias.name for alias in node.names}
    assert STANDARD is Wallet(101, "BTC").model


def test_nothing_outside_a_model_adds_requirements_up() -> None:
    """No code sums initial or maintenance margin over positions or keeps running totals."""
    for path in RISK:
        if path.name == "standard_margin.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.AugAssign(target=ast.Attribute(attr="initial" | "maintenance")):
                    raise AssertionError(f"{path.name}:{node.lineno}")
                case ast.Call(func=ast.Name(id="sum"), args=[summed, *_]):
                    attributes = {
                        part.attr for part in ast.walk(summed) if isinstance(part, ast.Attribute)
                    }
                    assert not attributes & {"initial", "maintenance"}, path.name
