"""Garbage collection: long-lived objects are frozen, and collected when the venue is idle."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from gateway.server.gc_tuning import COUNT_EVERY, IDLE_PERIODS, LEAST_SECONDS, Collector

IDLE = 0.01
BUSY = 0.5


@define(eq=False)
class Circle:
    """An object in a reference cycle, which only the cyclic collector can free."""

    itself: Circle | None = None

    @classmethod
    def make(cls) -> Circle:
        """A closed one."""
        circle = cls()
        circle.itself = circle
        return circle


@define(eq=False)
class Load:
    """A processor clock, of which each second uses a given share."""

    share: float = IDLE
    used: float = 0.0

    def __call__(self) -> float:
        """Called once a second."""
        self.used += self.share
        return self.used


@define(eq=False)
class Scene:
    """A collector under a load. `slowness` is the duration of a full collection in seconds."""

    load: Load = field(factory=Load)
    slowness: float = 0.0
    now: float = 0.0
    collector: Collector = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Wire it."""
        self.collector = Collector(self.load, self.clock)

    def clock(self) -> float:
        """Return the time; called before and after each full collection."""
        self.now += self.slowness
        return self.now

    async def after(self, seconds: float) -> None:
        """Let time pass."""
        with trio.move_on_after(seconds + 0.5):
            await self.collector.watch()


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Started, and stopped whatever happens."""
    scene = Scene()
    scene.collector.start()
    yield scene
    scene.collector.stop()


def frozen_garbage() -> weakref.ref[Circle]:
    """A circle that was let go only after it was frozen; no ordinary collection finds it."""
    circle = Circle.make()
    gc.collect()
    reference = weakref.ref(circle)
    del circle
    gc.collect()
    assert reference() is not None
    return reference


async def test_the_collector_restores_the_settings_of_the_interpreter(
    autojump_clock: MockClock,
) -> None:
    """Also after cancellation, since tests and other programs embed a venue."""
    before = gc.get_threshold(), list(gc.callbacks)
    async with trio.open_nursery() as nursery:
        await nursery.start(Collector().run)
        assert gc.get_freeze_count() > 10_000
        assert before[0] != gc.get_threshold()
        nursery.cancel_scope.cancel()
    assert before == (gc.get_threshold(), gc.callbacks)
    assert 0 == gc.get_freeze_count()


def test_survivors_of_a_full_collection_are_frozen(scene: Scene) -> None:
    """The next full collection takes as long as the new objects require, not the whole state."""
    kept = [Circle.make() for _ in range(1_000)]
    assert any(each is kept[-1] for each in gc.get_objects())
    gc.collect()
    assert len(gc.get_objects()) < 1_000
    assert gc.get_freeze_count() > 1_000


def test_full_collections_do_not_become_rarer_with_more_objects(scene: Scene) -> None:
    """Python waits until a quarter of the survivors are new; frozen objects do not count."""
    before = gc.get_stats()[2]["collections"]
    kept = [Circle.make() for _ in range(100_000)]
    assert gc.get_stats()[2]["collections"] >= before + 2
    assert 100_000 == len(kept)


def test_new_garbage_is_collected_by_young_collections(scene: Scene) -> None:
    """Objects that become garbage early are found by young collections."""
    references = [weakref.ref(Circle.make()) for _ in range(1_000)]
    assert not all(reference() for reference in references)


async def test_an_idle_venue_collects_all_objects(scene: Scene, autojump_clock: MockClock) -> None:
    """This frees objects that became garbage after they were frozen."""
    reference = frozen_garbage()
    await scene.after(LEAST_SECONDS)
    assert reference() is None


async def test_a_busy_venue_does_not_collect_all_objects(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Independent of how long it is busy."""
    scene.load.share = BUSY
    reference = frozen_garbage()
    await scene.after(10 * LEAST_SECONDS)
    assert reference() is not None


async def test_a_short_pause_does_not_count_as_idle(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """A full collection between two bursts of orders would delay the second one."""
    reference = frozen_garbage()
    scene.load.share = BUSY
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.collector.watch)
        await trio.sleep(2 * LEAST_SECONDS + 0.5)
        scene.load.share = IDLE
        await trio.sleep(IDLE_PERIODS - 1)
        assert reference() is not None
        await trio.sleep(1)
        assert reference() is None
        nursery.cancel_scope.cancel()


async def test_collections_of_all_objects_have_a_minimum_interval(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Even an idle venue may get a request at any moment."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.collector.watch)
        await trio.sleep(LEAST_SECONDS + 0.5)
        reference = frozen_garbage()
        await trio.sleep(LEAST_SECONDS - 1)
        assert reference() is not None
        await trio.sleep(1)
        assert reference() is None
        nursery.cancel_scope.cancel()


async def test_a_large_state_is_collected_less_often(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Full collections take at most a thousandth of the time."""
    scene.slowness = 0.5
    scene.collector.collect_all()
    reference = frozen_garbage()
    await scene.after(499)
    assert reference() is not None
    await scene.after(500)
    assert reference() is None


async def test_a_busy_venue_collects_all_objects_when_they_have_doubled(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Otherwise garbage among frozen objects could grow without bound."""
    scene.load.share = BUSY
    reference = frozen_garbage()
    kept = [[] for _ in range(gc.get_freeze_count() // 2)]  # type: list[list[object]]
    for _ in range(COUNT_EVERY):
        gc.collect()
    await scene.after(1)
    assert reference() is not None, "it has not doubled yet"
    kept += [[] for _ in range(gc.get_freeze_count())]
    for _ in range(COUNT_EVERY):
        gc.collect()
    await scene.after(1)
    assert reference() is None
