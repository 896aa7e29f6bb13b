"""The supervisor: reads the state and proposes ticks and liquidations.

It changes no state itself. A Tick carries all index prices and serves as the venue's heartbeat; a
Liquidate is checked again when it is applied. When the supervisor fails, the supervision period in
the state expires, and the venue accepts only risk-reducing orders until it is back.
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

# The first restart falls within the supervision period of five seconds, so that a single failure
# has no effect; a supervisor that keeps failing logs two tracebacks a minute.
FIRST_RESTART_SECONDS: Final = 1.0
LONGEST_RESTART_SECONDS: Final = 30.0

Wallet = tuple[int, str]
"""(account, currency)."""


@define(eq=False)
class Supervisor:
    """Ticks each second of venue time, and proposes liquidations of wallets below margin.

    `find_candidates` returns a limited number of wallets, worst first, without those passed to it.
    It is called when margins were checked, and again once all proposed wallets were handled, until
    none is left: so the worst wallet at that time comes next, without waiting for another Tick. It
    may return none while the venue is still `busy` checking. `on_crash` is called for each failure.
    `strict` lets a failure end the venue, for tests.
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
        """Note an applied entry; called by the matcher."""
        match entry.command:
            case Tick() | Continue():
                # A Tick that endangers many wallets is continued in slices. Each may find further
                # wallets, or end what prevented the liquidation of one.
                self._tried.clear()
                self._candidates_changed.set()
            case Liquidate(account=account, currency=currency):
                # Tried once until the next check, or an impossible liquidation would be tried for
                # ever.
                self._tried.add((account, currency))
                self._proposed.discard((account, currency))
                if not self._proposed:
                    self._candidates_changed.set()

    def tick(self) -> None:
        """Propose a Tick with the prices of this moment."""
        self.propose(Tick(prices=self.index_sources.prices(self.clock.now())))

    async def run(self) -> None:
        """Supervise until cancelled. One of the two boundaries that catch all exceptions."""
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
            # At the top of the second, so that ticks do not drift with the work that they cause.
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
                # The search made work that no proposed entry continues yet.
                self.propose(Continue())
