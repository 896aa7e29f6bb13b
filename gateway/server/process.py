"""Running a venue until SIGTERM or SIGINT, and ending it in order and in time."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import trio
from attrs import define, field

from gateway.config.schema import Config
from gateway.log.errors import StalledError
from gateway.network.descriptors import raise_limit
from gateway.server import follower_process
from gateway.server.failure import Failure, report_failure
from gateway.server.gc_tuning import Collector
from gateway.server.server import Running, serve

logger = logging.getLogger(__name__)

# Service managers and people wait two seconds before they lose patience; interpreter and kernel
# need the last fifth of one.
SHUTDOWN_SECONDS: Final = 1.8
# A log that is still being closed by then is given this much longer, unless it is known to wait for
# what does not come.
LOG_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 0.1
# A venue that has failed is gone within a second, whatever its clients do: nobody shall wait for
# an answer that cannot come.
FAILURE_SECONDS: Final = 0.7


class StoppableVenue(Protocol):
    """What can be told to stop. When `log_closed` is set, what still runs does not matter."""

    @property
    def log_closed(self) -> trio.Event:
        """Set when nothing more is written."""
        ...

    def stop(self) -> None:
        """A plain call."""
        ...

    def stalled(self) -> StalledError | None:
        """What keeps the log from being closed, if something is known to."""
        ...

    def abandon(self) -> None:
        """The process is about to end with the log open. A plain call."""
        ...


@define(eq=False)
class StartingVenue:
    """A venue from the beginning of its start, which a stop cancels; then the one that runs."""

    start: trio.CancelScope
    running: Running | None = None
    log_closed: trio.Event = field(factory=trio.Event)

    def runs(self, running: Running) -> None:
        """It has started."""
        self.running, self.log_closed = running, running.log_closed

    def stop(self) -> None:
        """Stop what runs, or the start of it."""
        if self.running is None:
            self.start.cancel()
        else:
            self.running.stop()

    def stalled(self) -> StalledError | None:
        """What keeps it from ending."""
        if self.running is None:
            return StalledError("stopped before it was ready, in the middle of its start")
        return self.running.stalled()

    def abandon(self) -> None:
        """Nothing may write to its log any more."""
        if self.running is not None:
            self.running.abandon()


async def serve_until_signalled(
    config: Config,
    announce: Callable[[Running], None],
    accompany: Callable[[Running], Awaitable[None]] | None = None,
) -> None:
    """Run a venue, `announce` that clients can connect, and let `accompany` run beside it.

    The first signal cancels `accompany` and stops the venue in order, or its start; a second one
    ends the process at once. Raises what `serve` raises.
    """
    if config.server.data_dir is None:
        logger.warning("without `data_dir` under [server], nothing is kept when the process ends")
    raise_limit()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as venue:
                company = trio.CancelScope()
                starting = StartingVenue(venue.cancel_scope)
                watch.start_soon(stop_at_signal, signals, starting, company)
                running = await venue.start(serve, config)
                starting.runs(running)
                await watch.start(Collector().run)
                if config.server.data_dir is not None and config.log.follower:
                    crashed = running.metrics.crashes.labels("follower").inc
                    watch.start_soon(
                        follower_process.run_follower, config.server.data_dir, config.log, crashed
                    )
                watch.start_soon(_end_after_failure, running.failure)
                announce(running)
                if accompany is not None:
                    with company:
                        await accompany(running)
            watch.cancel_scope.cancel()


async def stop_at_signal(
    signals: AsyncIterator[int], running: StoppableVenue, company: trio.CancelScope
) -> None:
    """Stop what runs at the first signal, in time; a second one ends the process at once."""
    await anext(signals)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    company.cancel()
    running.stop()
    await trio.sleep(SHUTDOWN_SECONDS)
    error = None
    if not running.log_closed.is_set():
        error = running.stalled() or await _closing(running)
    if error is not None:
        running.abandon()
        os._exit(report_failure(error))
    # Whatever still runs now, a client that reads nothing, say, is nothing that would be missed.
    os._exit(0)


async def _closing(running: StoppableVenue) -> StalledError | None:
    """Wait a little longer for the log; returns why it is not closed then."""
    for _ in range(round(LOG_SECONDS / LOOK_SECONDS)):
        with trio.move_on_after(LOOK_SECONDS):
            await running.log_closed.wait()
            return None
        error = running.stalled()
        if error is not None:
            return error
    seconds = SHUTDOWN_SECONDS + LOG_SECONDS
    return StalledError(
        f"stopped without closing the log: there was more to write than in {seconds:.1f} s. What"
        " was acknowledged is in it, and the next start goes on from there."
    )


async def _end_after_failure(failure: Failure) -> None:
    await failure.occurred.wait()
    await trio.sleep(FAILURE_SECONDS)
    assert failure.error is not None, "it has happened"
    os._exit(report_failure(failure.error))
