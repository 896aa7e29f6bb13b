"""Garbage collection without long pauses in a busy venue.

Reference counting frees most objects. The cyclic collector visits every container object, at 0.4
microseconds each: 20 ms for the program itself, 20 ms more for 50,000 resting orders, half a
second for a million. Long-lived objects of the venue rarely become garbage in cycles, so an object
that has survived one full collection is frozen (see `gc.freeze`) and not visited again until the
venue is idle.
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

# As for `gc.set_threshold`: net allocations before a young collection, then young collections
# before a middle one and middle ones before a full one. A batch makes some thousand objects that
# die soon, so few collections visit them. A full collection comes after some 4,000 new objects and
# takes 2 ms, or 6 ms where they are scattered in memory. Since survivors are frozen, each object is
# visited by one full collection only, and smaller thresholds cost no more in total.
THRESHOLDS: Final = (1_000, 1, 1)

PERIOD: Final = 1.0
# Ticks, flushes and the heartbeats of a thousand clients take 2 % of a processor; even a slow
# trading bot adds more than the remaining 3 %.
IDLE_SHARE: Final = 0.05
# Longer than the pause between two bursts of orders, and short enough to occur in quiet hours.
IDLE_PERIODS: Final = 5

# The least time between two full collections of everything. A request at a random moment meets one
# with a probability of at most a thousandth, however large the state is.
LEAST_SECONDS: Final = 60.0
LEAST_SHARE: Final = 1_000

# A venue that is never idle unfreezes and collects everything when the number of frozen objects has
# doubled, since up to half of them may be garbage. Counting them takes 0.01 microseconds each, so
# that they are counted only once per million new objects.
GROWTH: Final = 2
COUNT_EVERY: Final = 250


@define(eq=False)
class Collector:
    """Controls garbage collection of the process while `run` runs.

    It changes settings of the whole interpreter, so only the program that owns the process may use
    it, not a venue embedded in another program. `cpu_seconds` is the processor time used so far,
    `clock` measures full collections; both in seconds.
    """

    cpu_seconds: Callable[[], float] = time.process_time
    clock: Callable[[], float] = time.perf_counter
    _before: tuple[int, int, int] = field(factory=gc.get_threshold, init=False)
    _full: int = field(default=0, init=False)
    _kept: int = field(default=0, init=False)
    _took: float = field(default=0.0, init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Freeze the present objects, and collect all objects when idle, until cancelled."""
        self.start()
        try:
            task_status.started()
            await self.watch()
        finally:
            self.stop()

    def start(self) -> None:
        """Collect once and freeze the surviving objects."""
        gc.set_threshold(*THRESHOLDS)
        self.collect_all()
        gc.callbacks.append(self._collected)

    def stop(self) -> None:
        """Restore the settings from before `start`."""
        gc.callbacks.remove(self._collected)
        gc.unfreeze()
        gc.set_threshold(*self._before)

    def collect_all(self) -> None:
        """Run a full collection of all objects, including frozen ones; freeze the survivors."""
        began = self.clock()
        gc.unfreeze()
        freed = gc.collect()
        gc.freeze()
        # Python postpones a full collection until new objects exceed a quarter of the survivors of
        # the last one, which would be a quarter of everything. This second collection, with
        # everything frozen, sets the number of survivors to zero.
        gc.collect()
        self._full, self._kept = 0, gc.get_freeze_count()
        self._took = self.clock() - began
        logger.debug(
            "collected all objects in %.0f ms: %d freed, %d kept",
            self._took * 1_000,
            freed,
            self._kept,
        )

    async def watch(self) -> None:
        """Collect all objects whenever the venue has been idle for a while, until cancelled."""
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
        """Freeze the survivors of a full collection; called by Python after each collection."""
        if phase == "stop" and info["generation"] == len(THRESHOLDS) - 1:
            gc.freeze()
            self._full += 1

    def _overgrown(self) -> bool:
        """Return whether the number of frozen objects has doubled since they were all collected."""
        if self._full < COUNT_EVERY:
            return False
        self._full = 0
        return gc.get_freeze_count() > GROWTH * self._kept
