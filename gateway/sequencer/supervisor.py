"""The supervisor: it reads the state and proposes, so that time passes and risk is watched.

It decides nothing. A Tick is the venue's heartbeat with all index prices; a Liquidate is checked
again when it is applied. When the supervisor fails, its lease in the state runs out, and the
venue takes nothing but risk-reducing orders until it is back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

import trio
from attrs import define, field

from book.units import SECOND
from gateway.clock import Clock
from gateway.restart_backoff import RestartBackoff
from gateway.sequencer.index_prices import IndexSources
from gateway.sequencer.system_queue import SystemCommand
from risk.commands import Continue, Entry, Liquidate, Tick
from risk.events import Event
from tidegate.auto_reset_event import AutoResetEvent

logger = logging.getLogger(__name__)

# The first restart comes within the lease of five seconds, so that one bad moment costs nothing;
# a supervisor that keeps crashing writes two tracebacks a minute.
FIRST_RESTART_SECONDS: Final = 1.0
LONGEST_RESTART_SECONDS: Final = 30.0

Wallet = tuple[int, str]
"""(account, currency)."""


@define(eq=False)
class Supervisor:
    """Ticks each second of venue time, and proposes whom a Tick leaves to be liquidated.

    `pending` lists a limited number of them, worst first and without those it is given. They are
    asked for when accounts were looked at, and again when all that were proposed had their turn,
    until there are no more: those that are worst by then come next, and nobody waits for another
    Tick. It may name nobody as long as the venue is `busy` finding out. `crashed` counts. `strict`
    lets a crash end the venue, which is what tests want.
    """

    clock: Clock
    index_sources: IndexSources
    find_candidates: Callable[[Container[Wallet]], Iterable[Wallet]]
    propose: Callable[[SystemCommand], None]
    on_crash: Callable[[], None]
    busy: Callable[[], bool] = lambda: False
    strict: bool = False
    _candidates_changed: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _proposed: set[Wallet] = field(factory=set, init=False)
    _tried: set[Wallet] = field(factory=set, init=False)

    def observe(self, entry: Entry, _events: Sequence[Event]) -> None:
        """An entry was applied; called by the matcher."""
        match entry.command:
            case Tick() | Continue():
                # A Tick that endangers many is worked off in slices, each of which may find more
                # and may end what kept a wallet from its round.
                self._tried.clear()
                self._candidates_changed.set()
            case Liquidate(account=account, currency=currency):
                # Once is enough until then, or a round that cannot be had would be tried for ever.
                self._tried.add((account, currency))
                self._proposed.discard((account, currency))
                if not self._proposed:
                    self._candidates_changed.set()

    def tick(self) -> None:
        """Propose the heartbeat of this moment."""
        self.propose(Tick(prices=self.index_sources.prices(self.clock.now())))

    async def run(self) -> None:
        """Supervise until cancelled. One of the two boundaries that outlive an exception."""
        backoff = RestartBackoff(FIRST_RESTART_SECONDS, LONGEST_RESTART_SECONDS)
        while True:
            began = trio.current_time()
            self._proposed.clear()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._tick_each_second)
                    nursery.start_soon(self._propose_liquidations)
            except Exception:
                if self.strict:
                    raise
                logger.exception("the supervisor crashed")
                self.on_crash()
            await trio.sleep(backoff.delay_after(trio.current_time() - began))

    async def _tick_each_second(self) -> None:
        while True:
            self.tick()
            # At the top of the second, so that heartbeats do not drift with the work they cause.
            await trio.sleep((SECOND - self.clock.now() % SECOND) / SECOND)

    async def _propose_liquidations(self) -> None:
        while True:
            await self._candidates_changed.wait()
            if self._proposed:
                continue
            for account, currency in self.find_candidates(self._tried):
                self._proposed.add((account, currency))
                self.propose(Liquidate(account=account, currency=currency))
            if not self._proposed and self.busy():
                # Asking made work, for which there may be no entry yet that carries it on.
                self.propose(Continue())
