"""`tidegate replay`: a recorded venue again, at any speed, for everybody to watch.

Market data and HTTP are served by the same gateway as live; nothing can be changed, and nothing
is written.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from itertools import chain

import trio
from attrs import define, field

from book.units import Millis
from gateway.access.authenticator import ApiKey, Keyring
from gateway.access.scope import parse_scope
from gateway.config.schema import Config
from gateway.log.data_directory import DataDirectory
from gateway.log.entry_format import accounts
from gateway.log.errors import LogError
from gateway.log.replayer import LogReplayer
from gateway.log.scan import scan_log
from gateway.log.segments import SegmentReader
from gateway.metrics import Metrics
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.connection_services import ConnectionServices
from gateway.network.descriptors import connection_quotas
from gateway.network.frontend import Address, Frontend
from gateway.network.sockets import bind_ports
from gateway.sequencer.command_source import CommandSource
from gateway.server.assembly import build_venue
from gateway.server.process import stop_at_signal
from risk.commands import EndSessions

logger = logging.getLogger(__name__)

Announce = Callable[[Address], None]
"""Told where the recording can be watched."""


async def play_until_signalled(
    config: Config, directory: DataDirectory, speed: float, announce: Announce
) -> None:
    """Play and serve until SIGTERM or SIGINT. Raises LogError and ConfigError."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        player = Player.open(config, directory, speed, announce)
        async with trio.open_nursery() as watch:
            watch.start_soon(stop_at_signal, signals, player, trio.CancelScope())
            await player.run()
            watch.cancel_scope.cancel()


@define(eq=False)
class RecordedClock:
    """A gateway.clock.Clock on which a recording passes, `speed` times as fast as it did.

    It never passes the entry that is played or waited for, also where the machine is too slow.
    """

    speed: float
    _from: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)
    _until: int = field(default=0, init=False)

    def now(self) -> Millis:
        """Milliseconds."""
        return Millis(self.micros() // 1_000)

    def micros(self) -> int:
        """Microseconds."""
        passed = (trio.current_time() - self._since) * self.speed
        return min(self._from * 1_000 + int(passed * 1_000_000), self._until * 1_000)

    def jump(self, time: int) -> None:
        """It is this time now."""
        self._from = self._until = time
        self._since = trio.current_time()

    async def reach(self, time: int) -> None:
        """Wait until it is that time."""
        self._until = max(self._until, time)
        await trio.sleep_until(self._since + (time - self._from) / 1_000 / self.speed)


@define(eq=False)
class Player:
    """A recorded venue and its front. `log_closed` is set from the first: it writes to none."""

    config: Config
    clock: RecordedClock
    replay: LogReplayer
    reader: SegmentReader
    last: int
    front: Frontend
    announce: Announce
    log_closed: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.log_closed.set()

    @classmethod
    def open(
        cls, config: Config, directory: DataDirectory, speed: float, announce: Announce
    ) -> Player:
        """Prove the log's bytes, and begin as early in it as its rules are ours."""
        found = scan_log(directory)
        if not found.starts():
            raise LogError(f"{directory.path}: there is nothing that these rules can replay")
        start = found.starts()[0]
        reader = start.reader(directory)
        if reader is None:
            raise LogError(f"{directory.path}: there are no entries")
        replay, clock = start.replayer(found.skips), RecordedClock(speed)
        keyring, metrics = _keyring(config, directory), Metrics()
        venue = build_venue(config, clock, replay.exchange, keyring, recorded=True)
        replay.observers += [metrics.count_entry, venue.feed.publish]
        descriptors = connection_quotas()
        slots = ConnectionLimiter(config.limits.connections_per_address, descriptors.websocket)
        services = ConnectionServices(venue, CommandSource(), slots, metrics)
        front = Frontend(services, descriptors)
        replay.observers.append(lambda *_: services.flush_scheduler.flush())
        return cls(config, clock, replay, reader, found.last, front, announce)

    def stop(self) -> None:
        """Say goodbye to everybody and end. A plain call."""
        self.front.stopping.set()

    def stalled(self) -> None:
        """There is no log that could keep it."""

    def abandon(self) -> None:
        """Nothing is written."""

    async def run(self) -> None:
        """Play, and serve what was played, until stopped."""
        server = self.config.server
        with bind_ports(server.http, server.websocket) as bound:
            encrypted = server.tls is not None
            where = Address(bound.http_endpoint, bound.websocket_endpoint, encrypted)
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self.front.flush_feed)
                helpers.start_soon(self.front.services.metrics.measure_loop_lag)
                helpers.start_soon(self._play)
                await self.front.serve(bound, lambda: self.announce(where))
                helpers.cancel_scope.cancel()

    async def _play(self) -> None:
        started = False
        for entry in chain.from_iterable(self.reader.batches(self.last)):
            # Nobody could watch while it was not running: the time in between is left out.
            if not started or isinstance(entry.command, EndSessions):
                self.clock.jump(entry.time)
                started = True
            await self.clock.reach(entry.time)
            self.replay.apply(entry)
        logger.info("the recording ends with entry %d, and stands still", self.last)
        self.ended.set()


def _keyring(config: Config, directory: DataDirectory) -> Keyring:
    """Return the configured keys of those accounts that the recording has."""
    keyring, known = Keyring(), accounts(directory)
    for account in config.account:
        if account.name in known:
            scope = parse_scope(account.scope, strict=True)
            key = (account.client_id, account.client_secret, known[account.name], scope)
            keyring.add(ApiKey(*key))
    return keyring
