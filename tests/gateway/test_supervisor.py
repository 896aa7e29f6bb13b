"""The supervisor: a heartbeat each second, liquidations after each Tick, and life after a crash."""

import logging
from collections.abc import Iterable

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from book.units import SCALE, Millis, Price
from gateway.index import FixedIndex, IndexBoard, IndexSource
from gateway.lane import Urgent
from gateway.supervisor import Supervisor
from risk.commands import Liquidate, Tick
from tests.gateway.live import TrioClock


@define(eq=False)
class Scene:
    """A supervisor whose proposals and crashes are written down."""

    source: IndexSource
    strict: bool = False
    endangered: list[tuple[int, str]] = field(factory=list)
    proposed: list[tuple[float, Urgent]] = field(factory=list)
    crashes: list[float] = field(factory=list)
    supervisor: Supervisor = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Wire it."""
        self.supervisor = Supervisor(
            clock=TrioClock(),
            board=IndexBoard({"btc_usd": self.source}),
            pending=self.pending,
            propose=lambda command: self.proposed.append((trio.current_time(), command)),
            crashed=lambda: self.crashes.append(trio.current_time()),
            strict=self.strict,
        )

    def pending(self) -> Iterable[tuple[int, str]]:
        """Whoever the test says."""
        return list(self.endangered)


@define
class Broken(FixedIndex):
    """An index with a bug, until it is repaired."""

    broken: bool = True

    def level(self, now: Millis) -> float:
        """Raise what no source may raise."""
        if self.broken:
            raise ZeroDivisionError
        return super().level(now)


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
    """Worst first as the state lists them; without a wake-up nobody is looked for."""
    scene = Scene(FixedIndex(Price(SCALE)), endangered=[(102, "ETH"), (101, "BTC")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.supervisor.run)
        await wait_all_tasks_blocked()
        assert 1 == len(scene.proposed)
        scene.supervisor.wake()
        scene.supervisor.wake()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    expected = [Liquidate(account=102, currency="ETH"), Liquidate(account=101, currency="BTC")]
    assert expected == [command for _, command in scene.proposed[1:]]


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
