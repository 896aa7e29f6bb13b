"""Replay of a recorded venue at any speed, for `tidegate replay`.

The usual gateway serves market data and HTTP. Nothing can be changed, and nothing is written.
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
from gateway.log.entry_format import account_numbers
from gateway.log.errors import LogError
from gateway.log.replayer import LogReplayer
from gateway.log.scan import scan_log
from gateway.log.segments import SegmentReader
from gateway.metrics import Metrics
from gateway.network.frontend import Address, Frontend
from gateway.network.sockets import bind_ports
from gateway.sequencer.command_source import CommandSource
from gateway.server.assembly import build_frontend, build_venue
from gateway.server.process import stop_at_signal
from risk.commands import EndSessions

logger = logging.getLogger(__name__)

Announce = Callable[[Address], None]
"""Called with the venue's address once clients can connect."""


async def play_until_signalled(
    config: Config, directory: DataDirectory, speed: float, announce: Announce
) -> None:
    """Replay and serve until SIGTERM or SIGINT. Raises LogError and ConfigError."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        player = Player.open(config, directory, speed, announce)
        async with trio.open_nursery() as watch:
            watch.start_soon(stop_at_signal, signals, player, trio.CancelScope())
            await player.run()
            watch.cancel_scope.cancel()


@define(eq=False)
class RecordedClock:
    """A gateway.clock.Clock that follows a recording, at `speed` times its pace.

    Its time never exceeds that of the entry that is played or awaited, even if the machine is too
    slow to keep up.
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
        """Set the clock to a time, in milliseconds."""
        self._from = self._until = time
        self._since = trio.current_time()

    async def reach(self, time: int) -> None:
        """Wait until the clock shows that time, in milliseconds."""
        self._until = max(self._until, time)
        await trio.sleep_until(self._since + (time - self._from) / 1_000 / self.speed)


@define(eq=False)
class Player:
    """Serves a recorded venue while it replays the log.

    `log_closed` is set from the beginning, because nothing is written. `ended` is set after the
    last entry, number `last`.
    """

    config: Config
    clock: RecordedClock
    replayer: LogReplayer
    reader: SegmentReader
    last: int
    frontend: Frontend
    announce: Announce
    log_closed: trio.Event = field(factory=trio.Event)
    ended: trio.Event = field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.log_closed.set()

    @classmethod
    def open(
        cls, config: Config, directory: DataDirectory, speed: float, announce: Announce
    ) -> Player:
        """Verify the log's bytes, and prepare to replay from the earliest entry that is possible.

        Raises LogError where the present rules cannot replay the log.
        """
        scan = scan_log(directory)
        starts = scan.starts()
        if not starts:
            raise LogError(f"{directory.path}: there is nothing that these rules can replay")
        reader = starts[0].reader(directory)
        if reader is None:
            raise LogError(f"{directory.path}: there are no entries")
        replayer, clock = starts[0].replayer(scan.skips), RecordedClock(speed)
        keyring, metrics = _keyring(config, directory), Metrics()
        venue = build_venue(config, clock, replayer.exchange, keyring, recorded=True)
        frontend = build_frontend(venue, CommandSource(), metrics)
        replayer.observers += [
            metrics.count_entry,
            venue.feed.publish,
            lambda *_: frontend.services.flush_scheduler.flush(),
        ]
        return cls(config, clock, replayer, reader, scan.last, frontend, announce)

    def stop(self) -> None:
        """Begin to disconnect all clients and end. A plain call."""
        self.frontend.stopping.set()

    def stalled(self) -> None:
        """Return None: no log has to be closed."""

    def abandon(self) -> None:
        """Do nothing: no log is written."""

    async def run(self) -> None:
        """Replay and serve until stopped."""
        server = self.config.server
        with bind_ports(server.http, server.websocket) as bound:
            encrypted = server.tls is not None
            address = Address(bound.http_endpoint, bound.websocket_endpoint, encrypted)
            async with trio.open_nursery() as helpers:
                helpers.start_soon(self.frontend.flush_feed)
                helpers.start_soon(self.frontend.services.metrics.measure_loop_lag)
                helpers.start_soon(self._play)
                await self.frontend.serve(bound, lambda: self.announce(address))
                helpers.cancel_scope.cancel()

    async def _play(self) -> None:
        started = False
        for entry in chain.from_iterable(self.reader.batches(self.last)):
            # EndSessions marks a restart of the venue: the time that it was down is left out.
            if not started or isinstance(entry.command, EndSessions):
                self.clock.jump(entry.time)
                started = True
            await self.clock.reach(entry.time)
            self.replayer.apply(entry)
        logger.info("the recording ends with entry %d, and stands still", self.last)
        self.ended.set()


def _keyring(config: Config, directory: DataDirectory) -> Keyring:
    """Return the configured keys of the accounts that exist in the recording."""
    keyring, known = Keyring(), account_numbers(directory)
    for account in config.account:
        if account.name in known:
            scope = parse_scope(account.scope, strict=True)
            key = (account.client_id, account.client_secret, known[account.name], scope)
            keyring.add(ApiKey(*key))
    return keyring
