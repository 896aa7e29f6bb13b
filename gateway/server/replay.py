"""`tidegate replay`: a recorded venue again, at any speed, for everybody to watch.

Market data and HTTP are served by the same gateway as live; nothing can be changed, and nothing
is written.
"""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from book.units import Millis
from gateway.access.authenticator import ApiKey, Keyring
from gateway.access.scope import parse_scope
from gateway.config.schema import Config, load
from gateway.log.data_directory import DataDirectory
from gateway.log.entry_format import accounts
from gateway.log.errors import LogError
from gateway.log.recovery import LogReplayer
from gateway.log.scan import survey
from gateway.log.segments import SegmentReader, reader_after
from gateway.metrics import Metrics
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.descriptors import connection_quotas, raise_limit
from gateway.network.frontend import Address, Frontend
from gateway.network.sockets import bind_ports
from gateway.sequencer.command_source import CommandSource
from gateway.server.assembly import build_venue
from gateway.server.process import stop_at_signal
from risk.commands import EndSessions, Entry

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers returns.
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

logger = logging.getLogger(__name__)

FASTEST: Final = 1_000_000.0
"""Eleven days in a second: faster than any machine replays them."""


def add_replay(subcommands: Subcommands) -> None:
    """`tidegate replay`."""
    parser = subcommands.add_parser(
        "replay",
        help="serve a recorded venue again, read-only",
        description="Play a venue's log again and serve its market data. Nothing can be changed.",
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="the data directory")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="how many times as fast as it was (default: %(default)g)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file: where to listen, limits, and the keys of accounts that may look",
    )
    parser.set_defaults(run=_run)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= FASTEST:
        raise argparse.ArgumentTypeError(f"expected a number above 0, to {FASTEST:.0f}, not {text}")
    return speed


def _run(chosen: argparse.Namespace) -> int:
    config = load(chosen.config) if chosen.config else Config()
    raise_limit()
    trio.run(play_until_signalled, config, DataDirectory(chosen.directory), chosen.speed, _tell)
    return 0


def _tell(address: Address) -> None:
    sys.stdout.write(f"tidegate ready http={address.http_url} ws={address.websocket_url}\n")
    sys.stdout.flush()


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
        found = survey(directory)
        if not found.starts():
            raise LogError(f"{directory.path}: there is nothing that these rules can replay")
        start = found.starts()[0]
        reader = reader_after(directory.log, start.sequence, start.chain)
        if reader is None:
            raise LogError(f"{directory.path}: there are no entries")
        replay, clock = start.replay(found.skips), RecordedClock(speed)
        keyring, metrics = _keyring(config, directory), Metrics()
        venue = build_venue(config, clock, replay.exchange, keyring, recorded=True)
        replay.observers += [metrics.applied, venue.feed.publish]
        descriptors = connection_quotas()
        slots = ConnectionLimiter(config.limits.connections_per_address, descriptors.websocket)
        front = Frontend(venue, CommandSource(), slots, metrics, quotas=descriptors)
        replay.observers.append(lambda *_: front.flush_scheduler.flush())
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
                helpers.start_soon(self.front.metrics.watch_loop)
                helpers.start_soon(self._play)
                await self.front.serve(bound, lambda: self.announce(where))
                helpers.cancel_scope.cancel()

    async def _play(self) -> None:
        started = False
        for entry in self._entries():
            # Nobody could watch while it was not running: the time in between is left out.
            if not started or isinstance(entry.command, EndSessions):
                self.clock.jump(entry.time)
                started = True
            await self.clock.reach(entry.time)
            self.replay.apply(entry)
        logger.info("the recording ends with entry %d, and stands still", self.last)
        self.ended.set()

    def _entries(self) -> Iterator[Entry]:
        for frame in self.reader.frames():
            yield from self.reader.entries(frame)
            if frame.last >= self.last:
                return


def _keyring(config: Config, directory: DataDirectory) -> Keyring:
    """Return the configured keys of those accounts that the recording has."""
    keyring, known = Keyring(), accounts(directory)
    for account in config.account:
        if account.name in known:
            scope = parse_scope(account.scope, strict=True)
            key = (account.client_id, account.client_secret, known[account.name], scope)
            keyring.add(ApiKey(*key))
    return keyring
