"""The supervisor: it reads the state and proposes, so that time passes and risk is watched.

It decides nothing. A Tick is the venue's heartbeat with all index prices; a Liquidate is checked
again when it is applied. When the supervisor fails, its lease in the state runs out, and the
venue takes nothing but risk-reducing orders until it is back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

import trio
from attrs import define, field

from book.units import SECOND
from gateway.clock import Clock
from gateway.index import IndexBoard
from gateway.lane import Urgent
from gateway.wakeup import Wakeup
from risk.commands import Liquidate, Tick

logger = logging.getLogger(__name__)

# The first restart comes within the lease of five seconds, so that one bad moment costs nothing;
# a supervisor that keeps crashing writes two tracebacks a minute.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0


@define(eq=False)
class Supervisor:
    """Ticks each second of venue time, and after each applied Tick asks who is to be liquidated.

    `pending` lists (account, currency), worst first. `crashed` counts. `strict` lets a crash end
    the venue, which is what tests want.
    """

    clock: Clock
    board: IndexBoard
    pending: Callable[[], Iterable[tuple[int, str]]]
    propose: Callable[[Urgent], None]
    crashed: Callable[[], None]
    strict: bool = False
    _ticked: Wakeup = field(factory=Wakeup, init=False)

    def wake(self) -> None:
        """A Tick was applied; called by the matcher."""
        self._ticked.set()

    def tick(self) -> None:
        """Propose the heartbeat of this moment."""
        self.propose(Tick(prices=self.board.prices(self.clock.now())))

    async def run(self) -> None:
        """Supervise until cancelled. One of the two boundaries that outlive an exception."""
        pause = FIRST_PAUSE
        while True:
            began = trio.current_time()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._tick_each_second)
                    nursery.start_soon(self._propose_liquidations)
            except Exception:
                if self.strict:
                    raise
                logger.exception("the supervisor crashed")
                self.crashed()
            if trio.current_time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _tick_each_second(self) -> None:
        while True:
            self.tick()
            # At the top of the second, so that heartbeats do not drift with the work they cause.
            await trio.sleep((SECOND - self.clock.now() % SECOND) / SECOND)

    async def _propose_liquidations(self) -> None:
        while True:
            await self._ticked.wait()
            for account, currency in self.pending():
                self.propose(Liquidate(account=account, currency=currency))
