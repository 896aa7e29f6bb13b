"""Tests of the supervisor: ticks, liquidations after each Tick, and restarts after a failure."""

import logging
from collections.abc import Container, Iterable, Sequence

import msgspec
import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from book.order import Side
from book.units import MONEY, SCALE, Millis, Price
from gateway.log.memory import MemoryLog
from gateway.sequencer.command_source import CommandSource
from gateway.sequencer.index_prices import FixedIndex, IndexSource, IndexSources
from gateway.sequencer.matcher import Matcher
from gateway.sequencer.supervisor import Supervisor, Wallet
from gateway.sequencer.system_queue import SystemCommand
from risk import liquidation
from risk.commands import (
    Command,
    Continue,
    Deposit,
    Entry,
    Liquidate,
    OpenAccount,
    Origin,
    Place,
    SetParameters,
    Tick,
)
from risk.events import Event
from risk.exchange import Exchange
from tests.gateway.harness import PRICES, Harness
from tests.gateway.server_fixtures import TrioClock


@define(eq=False)
class SupervisorFixture:
    """A supervisor whose proposals and failures are recorded.

    It gets at most `limit` endangered wallets at a time.
    """

    source: IndexSource
    strict: bool = False
    endangered: list[Wallet] = field(factory=list)
    limit: int = 10
    busy: bool = False
    proposed: list[tuple[float, SystemCommand]] = field(factory=list)
    crashes: list[float] = field(factory=list)
    supervisor: Supervisor = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Connect the supervisor."""
        self.supervisor = Supervisor(
            clock=TrioClock(),
            index_sources=IndexSources({"btc_usd": self.source}),
            find_candidates=self.pending,
            propose=lambda command: self.proposed.append((trio.current_time(), command)),
            on_crash=lambda: self.crashes.append(trio.current_time()),
            busy=lambda: self.busy,
            strict=self.strict,
        )

    def pending(self, tried: Container[Wallet]) -> Iterable[Wallet]:
        """Return the endangered wallets that the test has set."""
        return [each for each in self.endangered if each not in tried][: self.limit]

    def applied(self, *commands: Command) -> None:
        """Let the supervisor observe commands as applied."""
        for command in commands:
            self.supervisor.observe(Entry(1, 0, Origin(), command), [])

    async def proposed_after(self, *commands: Command) -> list[SystemCommand]:
        """Return what it proposes after commands were applied."""
        before = len(self.proposed)
        self.applied(*commands)
        await wait_all_tasks_blocked()
        return [command for _, command in self.proposed[before:]]


@define
class Broken(FixedIndex):
    """An index with a bug, until it is repaired."""

    broken: bool = True

    def level(self, now: Millis) -> float:
        """Raise an unexpected exception."""
        if self.broken:
            raise ZeroDivisionError
        return super().level(now)


TICK = Tick(prices=())
FIRST = 1_001
FALLEN = 63_300


def liquidation_of(account: int, currency: str) -> Liquidate:
    """Return the proposal of a liquidation."""
    return Liquidate(account=account, currency=currency)


def order(account: int, side: Side, dollars: int = 1_000, price: int = 65_000) -> Place:
    """Return a limit order on the BTC perpetual."""
    return Place(
        account=account,
        instrument="BTC-PERPETUAL",
        side=side,
        amount=dollars * SCALE,
        price=price * SCALE,
    )


def venue_with_accounts(count: int) -> Exchange:
    """Return a venue where a fall to FALLEN endangers this many accounts, which find a buyer."""
    harness = Harness()
    parameters = harness.exchange.state.parameters
    harness.apply(SetParameters(parameters=msgspec.structs.replace(parameters, slice=250)))

    for number in range(FIRST, FIRST + count):
        harness.apply(OpenAccount(account=number, name=f"client{number}"))
        harness.apply(Deposit(account=number, currency="BTC", amount=MONEY // 2_000))
        harness.apply(order(number, Side.BUY))
        harness.apply(order(101, Side.SELL))
    harness.apply(order(101, Side.BUY, 200 * count, FALLEN - 100))
    return harness.exchange


async def test_a_tick_with_all_prices_each_second(autojump_clock: MockClock) -> None:
    """It ticks at the top of each second, from the start on, also when nothing else happens."""
    fixture = SupervisorFixture(FixedIndex(Price(65_000 * SCALE)))
    await trio.sleep(0.3)
    with trio.move_on_after(3):
        await fixture.supervisor.run()
    tick = Tick(prices=(("btc_usd", Price(65_000 * SCALE)),))
    assert [(each, tick) for each in (0.3, 1.0, 2.0, 3.0)] == [
        (round(time, 3), command) for time, command in fixture.proposed
    ]


async def test_liquidations_are_proposed_after_a_tick_was_applied(
    autojump_clock: MockClock,
) -> None:
    """Proposals are in the order of the candidates, worst first, and follow a Tick only."""
    fixture = SupervisorFixture(FixedIndex(Price(SCALE)), endangered=[(102, "ETH"), (101, "BTC")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.supervisor.run)
        await wait_all_tasks_blocked()
        assert 1 == len(fixture.proposed)
        expected = [liquidation_of(102, "ETH"), liquidation_of(101, "BTC")]
        assert expected == await fixture.proposed_after(TICK, Continue())
        nursery.cancel_scope.cancel()


async def test_further_candidates_are_proposed_without_another_tick(
    autojump_clock: MockClock,
) -> None:
    """The next ones are proposed once the last ones were applied, until none is left."""
    endangered = [(account, "BTC") for account in range(101, 106)]
    fixture = SupervisorFixture(FixedIndex(Price(SCALE)), endangered=endangered, limit=2)
    one, two, three, four, five = (liquidation_of(*each) for each in endangered)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.supervisor.run)
        await wait_all_tasks_blocked()
        assert [one, two] == await fixture.proposed_after(TICK)
        assert [] == await fixture.proposed_after(one)
        assert [three, four] == await fixture.proposed_after(two)
        assert [five] == await fixture.proposed_after(three, four)
        assert [] == await fixture.proposed_after(five)
        assert [] == await fixture.proposed_after(five)
        nursery.cancel_scope.cancel()


async def test_an_impossible_liquidation_is_proposed_again_after_the_next_check(
    autojump_clock: MockClock,
) -> None:
    """It is proposed again only after the next check of margins, not at once and for ever."""
    fixture = SupervisorFixture(FixedIndex(Price(SCALE)), endangered=[(101, "BTC")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.supervisor.run)
        await wait_all_tasks_blocked()
        one = liquidation_of(101, "BTC")
        assert [one] == await fixture.proposed_after(TICK)
        assert [] == await fixture.proposed_after(one)
        assert [one] == await fixture.proposed_after(Continue())
        # A proposal that is not applied yet is not repeated.
        assert [] == await fixture.proposed_after(Continue())
        nursery.cancel_scope.cancel()


async def test_an_unfinished_search_for_candidates_is_continued(
    autojump_clock: MockClock,
) -> None:
    """It proposes a Continue even if the search itself made the work."""
    fixture = SupervisorFixture(FixedIndex(Price(SCALE)), busy=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.supervisor.run)
        await wait_all_tasks_blocked()
        assert [Continue()] == await fixture.proposed_after(TICK)
        assert [Continue()] == await fixture.proposed_after(Continue())
        fixture.busy, fixture.endangered = False, [(101, "BTC")]
        assert [liquidation_of(101, "BTC")] == await fixture.proposed_after(Continue())
        nursery.cancel_scope.cancel()


async def test_all_accounts_below_margin_are_liquidated_before_the_next_tick(
    autojump_clock: MockClock,
) -> None:
    """Six hundred accounts are found in three slices and proposed fifty at a time."""
    exchange = venue_with_accounts(600)
    state = exchange.state
    prices = PRICES | {"btc_usd": FALLEN}
    sources = IndexSources({name: FixedIndex(Price(each * SCALE)) for name, each in prices.items()})
    source = CommandSource()
    supervisor = Supervisor(
        clock=TrioClock(),
        index_sources=sources,
        find_candidates=lambda tried: liquidation.pending(state, 50, tried),
        propose=source.propose,
        on_crash=lambda: None,
        strict=True,
    )
    had_round: list[int] = []

    def count(entry: Entry, _events: Sequence[Event]) -> None:
        had_round.append(
            sum(
                account.wallets["BTC"].round == state.ticks
                for number, account in state.accounts.items()
                if number >= FIRST
            )
        )

    matcher = Matcher(
        exchange,
        propose=source.propose,
        on_session_end=lambda _: None,
        observers=[supervisor.observe, count],
    )
    log = MemoryLog(TrioClock())
    log.sequence = state.sequence
    ticks = state.ticks
    durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, source, durable)
        nursery.start_soon(matcher.run, entries)
        nursery.start_soon(supervisor.run)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert ticks + 1 == state.ticks
    assert 600 == had_round[-1]
    # Wallets that were checked twice may cause a few no-ops, but no repeated proposals.
    assert len(had_round) < 2 * 600


async def test_a_failure_is_counted_and_restarted_with_growing_delays(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first restart is within the supervision period; a lasting fault does not fill the log."""
    source = Broken(Price(SCALE))
    fixture = SupervisorFixture(source)
    with caplog.at_level(logging.CRITICAL), trio.move_on_after(120):
        await fixture.supervisor.run()
    assert [0, 1, 3, 7, 15, 31, 61, 91] == fixture.crashes
    assert [] == fixture.proposed


async def test_it_ticks_again_once_the_fault_is_gone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No further restart is needed."""
    source = Broken(Price(SCALE))
    fixture = SupervisorFixture(source)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fixture.supervisor.run)
        with caplog.at_level(logging.CRITICAL):
            await trio.sleep(0.5)
        source.broken = False
        await trio.sleep(0.75)
        nursery.cancel_scope.cancel()
    assert [Tick(prices=(("btc_usd", SCALE),))] == [command for _, command in fixture.proposed]


async def test_in_strict_mode_a_failure_propagates() -> None:
    """A test that causes a failure sees the exception itself."""
    fixture = SupervisorFixture(Broken(Price(SCALE)), strict=True)
    with pytest.RaisesGroup(ZeroDivisionError):
        await fixture.supervisor.run()
    assert [] == fixture.crashes
