"""Runs a venue until SIGTERM or SIGINT, and ends the process in order and in time."""

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

# The process should be gone two seconds after the signal; interpreter and kernel need the last
# fifth of a second.
SHUTDOWN_SECONDS: Final = 1.8
# If the log is not closed by then, it gets this much longer, unless a write is known to hang.
LOG_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.1
# A venue that has failed is gone within a second, whatever its clients do, so that they do not
# wait for replies that cannot come.
FAILURE_SECONDS: Final = 0.7


class StoppableVenue(Protocol):
    """A venue or a replay that a signal stops. Once `log_closed` is set, the process may end."""

    @property
    def log_closed(self) -> trio.Event:
        """Set once nothing more is written."""
        ...

    def stop(self) -> None:
        """Begin an orderly shutdown. A plain call."""
        ...

    def stalled(self) -> StalledError | None:
        """Return why the log cannot be closed, if that is known."""
        ...

    def abandon(self) -> None:
        """Prepare for the end of the process with the log open. A plain call."""
        ...


@define(eq=False)
class StartingVenue:
    """A venue that is starting, which a stop cancels; later the running one."""

    start: trio.CancelScope
    running: Running | None = None
    log_closed: trio.Event = field(factory=trio.Event)

    def started(self, running: Running) -> None:
        """Continue as this running venue."""
        self.running, self.log_closed = running, running.log_closed

    def stop(self) -> None:
        """Stop the running venue, or cancel its start."""
        if self.running is None:
            self.start.cancel()
        else:
            self.running.stop()

    def stalled(self) -> StalledError | None:
        """Return why the log cannot be closed, or that the start was interrupted."""
        if self.running is None:
            return StalledError("stopped before it was ready, in the middle of its start")
        return self.running.stalled()

    def abandon(self) -> None:
        """Stop all writing to the log."""
        if self.running is not None:
            self.running.abandon()


async def serve_until_signalled(
    config: Config,
    announce: Callable[[Running], None],
    run_beside: Callable[[Running], Awaitable[None]] | None = None,
) -> None:
    """Run a venue until SIGTERM or SIGINT; call `announce` once clients can connect.

    `run_beside` is then run beside the venue. The first signal cancels it and stops the venue in
    order, or cancels its start; a second signal ends the process at once. Raises what `serve`
    raises.
    """
    if config.server.data_dir is None:
        logger.warning("without `data_dir` under [server], nothing is kept when the process ends")
    raise_limit()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as venue:
                beside_scope = trio.CancelScope()
                starting = StartingVenue(venue.cancel_scope)
                watch.start_soon(stop_at_signal, signals, starting, beside_scope)
                running = await venue.start(serve, config)
                starting.started(running)
                await watch.start(Collector().run)
                if config.server.data_dir is not None and config.log.follower:
                    crashed = running.metrics.crashes.labels("follower").inc
                    watch.start_soon(
                        follower_process.run_follower, config.server.data_dir, config.log, crashed
                    )
                watch.start_soon(_end_after_failure, running.failure)
                announce(running)
                if run_beside is not None:
                    with beside_scope:
                        await run_beside(running)
            watch.cancel_scope.cancel()


async def stop_at_signal(
    signals: AsyncIterator[int], running: StoppableVenue, beside_scope: trio.CancelScope
) -> None:
    """Stop the venue at the first signal, in time; a second one ends the process at once."""
    await anext(signals)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    beside_scope.cancel()
    running.stop()
    await trio.sleep(SHUTDOWN_SECONDS)
    error = None
    if not running.log_closed.is_set():
        error = running.stalled() or await _wait_for_log(running)
    if error is not None:
        running.abandon()
        os._exit(report_failure(error))
    # The log is closed, so tasks that still run can be abandoned, such as that of a client that
    # does not read.
    os._exit(0)


async def _wait_for_log(running: StoppableVenue) -> StalledError | None:
    """Wait up to LOG_SECONDS for the log; return why it is not closed then."""
    for _ in range(round(LOG_SECONDS / POLL_SECONDS)):
        with trio.move_on_after(POLL_SECONDS):
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
    assert failure.error is not None, "set before the event"
    os._exit(report_failure(failure.error))
