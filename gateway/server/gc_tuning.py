"""Garbage collection that does not stop a busy venue.

Python frees most objects by counting references. What refers to itself in a circle is found by
looking at every object that could, 0.4 microseconds each: 20 ms for what the program itself
consists of, 20 ms more for 50,000 resting orders, half a second for a million. None of that
turns into garbage unseen, so here each object is looked at until it has survived one full
collection, and then left alone ("frozen") until a moment when nobody waits.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import Final

import trio
from attrs import define, field

logger = logging.getLogger(__name__)

# (Containers made less those freed, youngest collections, middle ones) before the next older
# collection. What lives until it is decided, some thousand objects of a batch, is looked at by few
# collections; and a full one comes after some 4,000 objects, which takes 2 ms, or 6 where they are
# all over the memory. As each object is looked at once by these, fewer at a time cost no more.
THRESHOLDS: Final = (1_000, 1, 1)

PERIOD: Final = 1.0
# Ticks, flushes and the heartbeats of a thousand clients take 2 % of a processor, the slowest
# of trading bots more than the rest of this.
IDLE_SHARE: Final = 0.05
# A pause between two bursts of orders is shorter; an evening has many that are longer.
IDLE_PERIODS: Final = 5

# Between two looks at everything. Who comes at a random moment, then, meets one in a thousand
# times at most, however large the state.
LEAST_SECONDS: Final = 60.0
LEAST_SHARE: Final = 1_000

# A venue that is never idle looks at everything when what is frozen has doubled, as that may be
# garbage for a half. To count it is to walk over it, at 0.01 microseconds each, so that it is
# counted once in a million new objects.
GROWTH: Final = 2
COUNT_EVERY: Final = 250


@define(eq=False)
class Collector:
    """How the process that is the venue collects its garbage while `run` runs.

    It changes settings of the whole interpreter, so it is for who owns the process, not for a
    venue inside of somebody else's. `cpu` is the processor time used so far, `clock` times the
    looks at everything; both in seconds.
    """

    cpu_seconds: Callable[[], float] = time.process_time
    clock: Callable[[], float] = time.perf_counter
    _before: tuple[int, int, int] = field(factory=gc.get_threshold, init=False)
    _full: int = field(default=0, init=False)
    _kept: int = field(default=0, init=False)
    _took: float = field(default=0.0, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Freeze what has come into being so far, and look at it when idle, until cancelled."""
        self.start()
        try:
            task_status.started()
            await self.watch()
        finally:
            self.stop()

    def start(self) -> None:
        """Freeze what has come into being so far."""
        gc.set_threshold(*THRESHOLDS)
        self.collect_all()
        gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """Leave everything as it was before `start`."""
        gc.callbacks.remove(self._collected)
        gc.unfreeze()
        gc.set_threshold(*self._before)

    def collect_all(self) -> None:
        """Look at everything, and freeze what is left."""
        began = self.clock()
        gc.unfreeze()
        found = gc.collect()
        gc.freeze()
        # Python puts a full collection off until a quarter of what survived the last one is new.
        # Here that would be a quarter of everything; this one finds nothing, and says so.
        gc.collect()
        self._full, self._kept = 0, gc.get_freeze_count()
        self._took = self.clock() - began
        logger.debug(
            "looked at everything in %.0f ms: %d collected, %d kept",
            self._took * 1_000,
            found,
            self._kept,
        )

    async def watch(self) -> None:
        """Look at everything when the venue has been idle for a while, until cancelled."""
        looked = trio.current_time()
        used, idle = self.cpu_seconds(), 0
        while True:
            await trio.sleep(PERIOD)
            before, used = used, self.cpu_seconds()
            idle = idle + 1 if used - before < IDLE_SHARE * PERIOD else 0
            rested = trio.current_time() - looked >= max(LEAST_SECONDS, LEAST_SHARE * self._took)
            if (idle >= IDLE_PERIODS and rested) or self._overgrown():
                self.collect_all()
                looked = trio.current_time()
                used, idle = self.cpu_seconds(), 0

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        """Python has collected: freeze what survived a full collection."""
        if phase == "stop" and info["generation"] == len(THRESHOLDS) - 1:
            gc.freeze()
            self._full += 1

    def _overgrown(self) -> bool:
        """Whether so much was frozen since the last look at everything that it needs another."""
        if self._full < COUNT_EVERY:
            return False
        self._full = 0
        return gc.get_freeze_count() > GROWTH * self._kept
