"""The margin watch finds exactly the accounts that a full scan finds."""

from __future__ import annotations

from random import Random

import pytest
from attrs import define
from msgspec.structs import replace

from book.order import Side, TimeInForce
from book.units import HOUR, MONEY, SCALE, SECOND
from risk import liquidation, margin, order_costs, standard_margin
from risk.commands import Cancel, Deposit, Liquidate, Place, SetProduct, Withdraw
from risk.contract_specs import LEGACY_2025
from risk.margin_watch import Key
from risk.market import Market
from risk.reasons import Reason
from risk.state import FIRST_CLIENT, INSURANCE, ROUNDING
from tests.risk import venue as scene
from tests.risk.venue import BTC, Venue, open_venue

FAMILIES = ("BTC", "ETH", "BTC_USDC", "SOL_USDC")
CLIENTS = [f"client {number}" for number in range(12)]
LARGEST = {"BTC": 10**6, "ETH": 10**7, "USDC": 10**6}
"""Maximum contracts of a trade, by currency: enough for the slope of margin to matter."""


def busy_venue() -> Venue:
    """Return a venue with some families and no limits, a rich maker and clients without money."""
    catalogue = [
        (contract, replace(terms, position_limit=10**30))
        for contract, terms in LEGACY_2025
        if contract.family in FAMILIES
    ]
    # A slice so small that most Ticks need Continue entries.
    venue = open_venue(
        catalogue=catalogue,
        insurance=dict.fromkeys(LARGEST, "1000"),
        checked=False,
        parameters={"slice": 7},
    )
    venue.open("maker", **{currency: str(10**12) for currency in LARGEST})
    for name in CLIENTS:
        venue.open(name)
    return venue


@define
class RandomActivity:
    """Random commands and price changes at a venue."""

    venue: Venue
    random: Random

    def random_action(self) -> None:
        """Perform a random action, mostly a trade."""
        random = self.random.random()
        if random < 0.7:
            self.trade()
        elif random < 0.9:
            self.change_balance()
        elif random < 0.95:
            self.venue.liquidate()
        else:
            self.change_terms()

    def trade(self) -> None:
        """Let a client deposit money for a more or less safe trade, and trade with the maker."""
        venue, random = self.venue, self.random
        account = venue.number(random.choice(CLIENTS))
        market = random.choice(list(venue.exchange.state.markets.values()))
        most = LARGEST[market.currency]
        contracts = random.choice([1, 10, random.randint(1, most // 50), random.randint(1, most)])
        amount = contracts * market.instrument.contract.contract_size
        taker_fee = order_costs.fee(market, amount, market.mark, market.instrument.taker_rate)
        paid = (standard_margin.initial(market, amount) + taker_fee) * random.choice([0, 1, 2, 5])
        if paid:
            venue.do(Deposit(account=account, currency=market.currency, amount=paid))
        self._meet(account, market, random.choice(list(Side)), amount)

    def _meet(self, account: int, market: Market, side: Side, amount: int) -> None:
        venue = self.venue
        maker = venue.number("maker")
        order = Place(
            account=maker,
            instrument=market.name,
            side=side.opposite,
            amount=amount,
            price=market.instrument.floor_to_tick(market.mark),
        )
        quote = scene.order(venue.do(order))
        kind = TimeInForce.IMMEDIATE_OR_CANCEL
        venue.do(replace(order, account=account, side=side, time_in_force=kind))
        venue.do(Cancel(account=maker, order_id=quote.order_id))

    def change_balance(self) -> None:
        """Let a client withdraw all free money, to the last unit, or deposit a little."""
        venue, random = self.venue, self.random
        state = venue.exchange.state
        account = venue.number(random.choice(CLIENTS))
        currency = random.choice(state.currencies())
        free = margin.withdrawable(state, state.wallet(account, currency))
        if free and random.random() < 0.7:
            venue.do(Withdraw(account=account, currency=currency, amount=free))
        else:
            amount = random.randint(1, MONEY)
            venue.do(Deposit(account=account, currency=currency, amount=amount))

    def change_terms(self) -> None:
        """Give a family another maintenance margin."""
        product = self.random.choice(list(self.venue.exchange.state.products.values()))
        base = product.terms.initial_base // self.random.choice([1, 2, 3])
        terms = replace(product.terms, maintenance_base=base)
        self.venue.do(SetProduct(contract=product.contract, terms=terms))

    def pass_time(self) -> None:
        """Change prices gradually or suddenly; sometimes let hours pass, with funding."""
        venue, random = self.venue, self.random
        for name, price in venue.prices.items():
            step = random.choice([0, 0, 0.0005, 0.01, 0.05])
            factor = random.gauss(1, step)
            if random.random() < 0.02:
                factor = random.choice([0.5, 3])
            venue.prices[name] = max(SCALE, int(price * max(factor, 0.1)))
        venue.tick(after=random.choice([SECOND, SECOND, 10 * SECOND, HOUR, 5 * HOUR]))
        venue.finish()


def scanned(venue: Venue) -> list[Key]:
    """Return the wallets below maintenance margin, by a full scan."""
    state = venue.exchange.state
    return [
        (account.number, currency)
        for account in state.accounts.values()
        if account.number >= FIRST_CLIENT or account.number == INSURANCE
        for currency, wallet in sorted(account.wallets.items())
        if margin.is_locked(state, wallet)
    ]


def watched(venue: Venue) -> list[Key]:
    """Return the endangered wallets of the watch, without those of system accounts."""
    keys = sorted(venue.exchange.state.watch.endangered)
    return [key for key in keys if key[0] >= FIRST_CLIENT or key[0] == INSURANCE]


@pytest.mark.parametrize("seed", range(8))
def test_the_watch_finds_the_accounts_of_a_full_scan(seed: int) -> None:
    """It does after every Tick, through trades, payments, liquidations, gaps and settlements."""
    bustle = RandomActivity(busy_venue(), Random(seed))
    venue = bustle.venue
    seen = 0
    for _ in range(120):
        for _ in range(bustle.random.randint(0, 3)):
            bustle.random_action()
        bustle.pass_time()
        expected = scanned(venue)
        assert expected == watched(venue)
        seen += len(expected)
    assert seen > 100, "the run endangers many"
    venue.exchange.check()


def test_new_terms_take_effect_at_the_next_tick() -> None:
    """A higher maintenance margin endangers accounts without a price change."""
    venue = open_venue(alice={"BTC": "0.1"}, bob={"BTC": "0.1"})
    venue.trade("alice", "bob", BTC, "200000", "50000")
    venue.tick()
    assert [] == watched(venue)
    product = venue.exchange.state.products["BTC", False]
    terms = replace(product.terms, maintenance_base=5 * product.terms.maintenance_base)
    venue.do(SetProduct(contract=product.contract, terms=terms))
    venue.tick()
    both = [(venue.number("alice"), "BTC"), (venue.number("bob"), "BTC")]
    assert both == scanned(venue)
    assert both == watched(venue)


def test_a_wallet_within_its_intervals_is_not_measured() -> None:
    """Prices within all intervals cause no measurement."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"})
    venue.trade("alice", "bob", BTC, "10000", "50000")
    venue.tick()
    looks = venue.exchange.state.watch.measurements
    for price in ("50100", "49000", "52000", "45000"):
        venue.tick(btc_usd=price)
    assert looks == venue.exchange.state.watch.measurements
    venue.tick(btc_usd="2000")
    assert looks < venue.exchange.state.watch.measurements


def test_the_number_of_ends_is_proportional_to_watched_wallets() -> None:
    """Ten thousand new intervals of two wallets leave only a few ends."""
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"}, checked=False)
    venue.trade("alice", "bob", BTC, "10000", "50000")
    for _ in range(5000):
        for name in ("alice", "bob"):
            venue.exchange.state.watch.mark_dirty(venue.wallet(name, "BTC"))
        venue.exchange.state.watch.advance(venue.exchange.state, 6)
    sizes = [len(ends.fresh) + len(ends.older) for ends in venue.exchange.state.watch.ends.values()]
    assert max(sizes) <= 8


def test_measuring_a_wallet_with_many_orders_takes_more_steps() -> None:
    """Its orders are visited as well, so fewer such wallets fit into one entry."""
    names = ("alice", "bob", "carol")
    venue = open_venue(alice={"BTC": "10"}, bob={"BTC": "10"}, carol={"BTC": "10"}, checked=False)
    watch = venue.exchange.state.watch
    venue.tick()
    for name in names:
        for _ in range(320):
            venue.buy(name, BTC, "10", "50000")
        watch.mark_dirty(venue.wallet(name, "BTC"))
    watch.on_marks_changed()
    watch.advance(venue.exchange.state, 60)
    assert [(venue.number("carol"), "BTC")] == list(watch.unwatched)
    assert watch.incomplete
    watch.advance(venue.exchange.state, 60)
    assert not watch.unwatched
    assert not watch.incomplete


def test_the_worst_is_proposed_first_and_each_once_per_tick() -> None:
    """The order is by shortfall relative to maintenance margin."""
    venue = open_venue(rich={"BTC": "100"}, mild={"BTC": "0.29"}, worse={"BTC": "0.28"})
    for name in ("mild", "worse"):
        venue.trade(name, "rich", BTC, "100000", "50000")
    venue.buy("rich", BTC, "100000", "43990")
    venue.tick(btc_usd="44000")
    mild, worse = ((venue.number(name), "BTC") for name in ("mild", "worse"))
    state = venue.exchange.state
    assert [worse, mild] == liquidation.pending(state)
    assert [worse] == liquidation.pending(state, limit=1)
    venue.do(Liquidate(account=worse[0], currency="BTC"))
    assert [mild] == liquidation.pending(state)
    venue.tick()
    assert worse in liquidation.pending(state)


def test_system_accounts_are_not_liquidated() -> None:
    """`rounding` may be negative; its liquidation is neither proposed nor accepted."""
    venue = open_venue(insurance={"BTC": "1"}, checked=False)
    state = venue.exchange.state
    state.rounding("BTC").balance -= 1
    state.watch.mark_dirty(state.rounding("BTC"))
    venue.tick()
    assert [] == liquidation.pending(state)
    events = venue.do(Liquidate(account=ROUNDING, currency="BTC"))
    assert Reason.ACCOUNT_UNKNOWN == scene.reason(events)
    assert MONEY == state.insurance("BTC").balance
