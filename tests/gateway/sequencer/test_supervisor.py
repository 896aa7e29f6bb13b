"""The supervisor: a heartbeat each second, liquidations after each Tick, and life after a crash."""

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
class Scene:
    """A supervisor whose proposals and crashes are written down.

    It learns of `limit` of the endangered at a time.
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
        """Wire it."""
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
        """Whoever the test says."""
        return [each for each in self.endangered if each not in tried][: self.limit]

    def applied(self, *commands: Command) -> None:
        """Let commands be applied."""
        for command in commands:
            self.supervisor.observe(Entry(1, 0, Origin(), command), [])

    async def took(self, *commands: Command) -> list[SystemCommand]:
        """What it proposes when commands are applied."""
        before = len(self.proposed)
        self.applied(*commands)
        await wait_all_tasks_blocked()
        return [command for _, command in self.proposed[before:]]


@define
class Broken(FixedIndex):
    """An index with a bug, until it is repaired."""

    broken: bool = True

    def level(self, now: Millis) -> float:
        """Raise what no source may raise."""
        if self.broken:
            raise ZeroDivisionError
        return super().level(now)


TICK = Tick(prices=())
FIRST = 1_001
FALLEN = 63_300


def rounds(account: int, currency: str) -> Liquidate:
    """The proposal of a round."""
    return Liquidate(account=account, currency=currency)


def order(account: int, side: Side, dollars: int = 1_000, price: int = 65_000) -> Place:
    """A limit order on the BTC perpetual."""
    return Place(
        account=account,
        instrument="BTC-PERPETUAL",
        side=side,
        amount=dollars * SCALE,
        price=price * SCALE,
    )


def crowded(count: int) -> Exchange:
    """A venue where a fall to FALLEN endangers so many accounts, who find a buyer."""
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
    """At the top of each second, from the first moment on, also when nothing else happens."""
    scene = Scene(FixedIndex(Price(65_000 * SCALE)))
    await trio.sleep(0.3)
    with trio.move_on_after(3):
        await scene.supervisor.run()
    tick = Tick(prices=(("btc_usd", Price(65_000 * SCALE)),))
    assert [(each, tick) for each in (0.3, 1.0, 2.0, 3.0)] == [
        (round(time, 3), command) for time, command in scene.proposed
    ]


async def test_after_a_tick_was_applied_it_proposes_who_is_to_be_liquidated(
    autojump_clock: MockClock,
) -> None:
    """Worst first as the state lists them; without a Tick nobody is looked for."""
    scene = Scene(FixedIndex(Price(SCALE)), endangered=[(102, "ETH"), (101, "BTC")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.run)
        await wait_all_tasks_blocked()
        assert 1 == len(scene.proposed)
        expected = [rounds(102, "ETH"), rounds(101, "BTC")]
        assert expected == await scene.took(TICK, Continue())
        nursery.cancel_scope.cancel()


async def test_more_than_it_learns_of_at_a_time_are_proposed_without_another_tick(
    autojump_clock: MockClock,
) -> None:
    """The next ones when all the last ones were applied, until there are no more."""
    endangered = [(account, "BTC") for account in range(101, 106)]
    scene = Scene(FixedIndex(Price(SCALE)), endangered=endangered, limit=2)
    one, two, three, four, five = (rounds(*each) for each in endangered)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.run)
        await wait_all_tasks_blocked()
        assert [one, two] == await scene.took(TICK)
        assert [] == await scene.took(one)
        assert [three, four] == await scene.took(two)
        assert [five] == await scene.took(three, four)
        assert [] == await scene.took(five)
        assert [] == await scene.took(five)
        nursery.cancel_scope.cancel()


async def test_a_round_that_could_not_be_had_is_proposed_again_when_more_was_looked_at(
    autojump_clock: MockClock,
) -> None:
    """Not at once, which would be for ever, but when a settlement, say, has gone on."""
    scene = Scene(FixedIndex(Price(SCALE)), endangered=[(101, "BTC")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.run)
        await wait_all_tasks_blocked()
        one = rounds(101, "BTC")
        assert [one] == await scene.took(TICK)
        assert [] == await scene.took(one)
        assert [one] == await scene.took(Continue())
        # What is on its way is not proposed a second time.
        assert [] == await scene.took(Continue())
        nursery.cancel_scope.cancel()


async def test_while_the_venue_finds_out_who_is_due_that_is_carried_on(
    autojump_clock: MockClock,
) -> None:
    """Also where no entry but the Tick came, and its own work was done before anybody asked."""
    scene = Scene(FixedIndex(Price(SCALE)), busy=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.run)
        await wait_all_tasks_blocked()
        assert [Continue()] == await scene.took(TICK)
        assert [Continue()] == await scene.took(Continue())
        scene.busy, scene.endangered = False, [(101, "BTC")]
        assert [rounds(101, "BTC")] == await scene.took(Continue())
        nursery.cancel_scope.cancel()


async def test_everybody_whom_a_tick_endangers_has_a_round_before_the_next_tick(
    autojump_clock: MockClock,
) -> None:
    """Six hundred at once, found in three looks and listed fifty at a time."""
    exchange = crowded(600)
    state = exchange.state
    prices = PRICES | {"btc_usd": FALLEN}
    board = IndexSources({name: FixedIndex(Price(each * SCALE)) for name, each in prices.items()})
    intake = CommandSource()
    supervisor = Supervisor(
        clock=TrioClock(),
        index_sources=board,
        find_candidates=lambda tried: liquidation.pending(state, 50, tried),
        propose=intake.propose,
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
        propose=intake.propose,
        on_session_end=lambda _: None,
        observers=[supervisor.observe, count],
    )
    log = MemoryLog(TrioClock())
    log.sequence = state.sequence
    ticks = state.ticks
    durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run, intake, durable)
        nursery.start_soon(matcher.run, entries)
        nursery.start_soon(supervisor.run)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert ticks + 1 == state.ticks
    assert 600 == had_round[-1]
    # A few no-ops may come of what was looked at twice, but nobody is proposed over and over.
    assert len(had_round) < 2 * 600


async def test_a_crash_is_counted_and_restarted_with_growing_pauses(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The first restart is within the lease; a lasting fault does not fill the disk."""
    source = Broken(Price(SCALE))
    scene = Scene(source)
    with caplog.at_level(logging.CRITICAL), trio.move_on_after(120):
        await scene.supervisor.run()
    assert [0, 1, 3, 7, 15, 31, 61, 91] == scene.crashes
    assert [] == scene.proposed


async def test_it_ticks_again_once_the_fault_is_gone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No other start is needed."""
    source = Broken(Price(SCALE))
    scene = Scene(source)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.run)
        with caplog.at_level(logging.CRITICAL):
            await trio.sleep(0.5)
        source.broken = False
        await trio.sleep(0.75)
        nursery.cancel_scope.cancel()
    assert [Tick(prices=(("btc_usd", SCALE),))] == [command for _, command in scene.proposed]


async def test_in_strict_mode_a_crash_passes() -> None:
    """A test that causes one shall not have to look for it in a log."""
    scene = Scene(Broken(Price(SCALE)), strict=True)
    with pytest.RaisesGroup(ZeroDivisionError):
        await scene.supervisor.run()
    assert [] == scene.crashes
