"""Garbage collection: what is long-lived is left alone until nobody waits, and then looked at."""

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
    """An object that refers to itself, so that only the collector can free it."""

    itself: Circle | None = None

    @classmethod
    def make(cls) -> Circle:
        """A closed one."""
        circle = cls()
        circle.itself = circle
        return circle


@define(eq=False)
class Load:
    """A processor's time, of which each second takes a share."""

    share: float = IDLE
    used: float = 0.0

    def __call__(self) -> float:
        """Called once a second."""
        self.used += self.share
        return self.used


@define(eq=False)
class Scene:
    """A collector under a load. `slowness` is how many seconds a look at everything takes."""

    load: Load = field(factory=Load)
    slowness: float = 0.0
    now: float = 0.0
    collector: Collector = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Wire it."""
        self.collector = Collector(self.load, self.clock)

    def clock(self) -> float:
        """Called before and after each look at everything."""
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


async def test_it_leaves_the_interpreter_as_it_found_it(autojump_clock: MockClock) -> None:
    """Cancelled, too: a test, or whoever else embeds it, goes on as before."""
    before = gc.get_threshold(), list(gc.callbacks)
    async with trio.open_nursery() as nursery:
        await nursery.start(Collector().run)
        assert gc.get_freeze_count() > 10_000
        assert before[0] != gc.get_threshold()
        nursery.cancel_scope.cancel()
    assert before == (gc.get_threshold(), gc.callbacks)
    assert 0 == gc.get_freeze_count()


def test_what_survived_a_full_collection_is_not_looked_at_again(scene: Scene) -> None:
    """So that the next one takes as long as what is new, not as long as the state."""
    kept = [Circle.make() for _ in range(1_000)]
    assert any(each is kept[-1] for each in gc.get_objects())
    gc.collect()
    assert len(gc.get_objects()) < 1_000
    assert gc.get_freeze_count() > 1_000


def test_full_collections_come_by_themselves_however_much_there_is(scene: Scene) -> None:
    """Python waits for a quarter of what it holds to be new; here it holds nothing."""
    before = gc.get_stats()[2]["collections"]
    kept = [Circle.make() for _ in range(100_000)]
    assert gc.get_stats()[2]["collections"] >= before + 2
    assert 100_000 == len(kept)


def test_new_garbage_is_collected_as_ever(scene: Scene) -> None:
    """What dies young is found by the young generations."""
    references = [weakref.ref(Circle.make()) for _ in range(1_000)]
    assert not all(reference() for reference in references)


async def test_an_idle_venue_looks_at_everything(scene: Scene, autojump_clock: MockClock) -> None:
    """Garbage that was frozen before it was garbage is found then."""
    reference = frozen_garbage()
    await scene.after(LEAST_SECONDS)
    assert reference() is None


async def test_a_busy_venue_does_not(scene: Scene, autojump_clock: MockClock) -> None:
    """However long it goes on."""
    scene.load.share = BUSY
    reference = frozen_garbage()
    await scene.after(10 * LEAST_SECONDS)
    assert reference() is not None


async def test_a_short_pause_is_no_idleness(scene: Scene, autojump_clock: MockClock) -> None:
    """Between two bursts nothing begins that would delay the second one."""
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


async def test_it_does_not_look_at_everything_more_often_than_that(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """However idle: a client may come at any moment."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.collector.watch)
        await trio.sleep(LEAST_SECONDS + 0.5)
        reference = frozen_garbage()
        await trio.sleep(LEAST_SECONDS - 1)
        assert reference() is not None
        await trio.sleep(1)
        assert reference() is None
        nursery.cancel_scope.cancel()


async def test_a_large_state_is_looked_at_less_often(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """A thousandth of the time at most, however long it takes."""
    scene.slowness = 0.5
    scene.collector.collect_all()
    reference = frozen_garbage()
    await scene.after(499)
    assert reference() is not None
    await scene.after(500)
    assert reference() is None


async def test_a_venue_that_is_never_idle_looks_at_everything_when_it_has_doubled(
    scene: Scene, autojump_clock: MockClock
) -> None:
    """Otherwise garbage could grow without end."""
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
