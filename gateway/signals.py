"""Running a venue until SIGTERM or SIGINT, and ending it in order and in time."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

import trio

from gateway import companion
from gateway.collector import Collector
from gateway.config import Config
from gateway.descriptors import raise_limit
from gateway.failure import Failure, report
from gateway.server import Running, serve

logger = logging.getLogger(__name__)

# Service managers and people wait two seconds before they lose patience; interpreter and kernel
# need the last fifth of one.
SHUTDOWN_SECONDS: Final = 1.8
# A venue that has failed is gone within a second, whatever its clients do: nobody shall wait for
# an answer that cannot come.
FAILURE_SECONDS: Final = 0.7


class Stoppable(Protocol):
    """What can be told to stop. When `log_closed` is set, what still runs does not matter."""

    log_closed: trio.Event

    def stop(self) -> None:
        """A plain call."""
        ...


async def serve_until_signalled(
    config: Config,
    announce: Callable[[Running], None],
    accompany: Callable[[Running], Awaitable[None]] | None = None,
) -> None:
    """Run a venue, `announce` that clients can connect, and let `accompany` run beside it.

    The first signal cancels `accompany` and stops the venue in order; a second one ends the
    process at once. Raises what `serve` raises.
    """
    if config.server.data_dir is None:
        logger.warning("without `data_dir` under [server], nothing is kept when the process ends")
    raise_limit()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watch:
            async with trio.open_nursery() as venue:
                running = await venue.start(serve, config)
                await watch.start(Collector().run)
                if config.server.data_dir is not None and config.log.follower:
                    crashed = running.metrics.crashes.labels("follower").inc
                    watch.start_soon(companion.run, config.server.data_dir, config.log, crashed)
                company = trio.CancelScope()
                watch.start_soon(stop_at_signal, signals, running, company)
                watch.start_soon(_end_after_failure, running.failure)
                announce(running)
                if accompany is not None:
                    with company:
                        await accompany(running)
            watch.cancel_scope.cancel()


async def stop_at_signal(
    signals: AsyncIterator[int], running: Stoppable, company: trio.CancelScope
) -> None:
    """Stop what runs at the first signal, in time; a second one ends the process at once."""
    await anext(signals)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_DFL)
    company.cancel()
    running.stop()
    await trio.sleep(SHUTDOWN_SECONDS)
    await running.log_closed.wait()
    # Whatever still runs now, a client that reads nothing, say, is nothing that would be missed.
    os._exit(0)


async def _end_after_failure(failure: Failure) -> None:
    await failure.happened.wait()
    await trio.sleep(FAILURE_SECONDS)
    assert failure.error is not None, "it has happened"
    os._exit(report(failure.error))
