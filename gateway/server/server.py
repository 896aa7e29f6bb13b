"""The nursery tree of a running venue, and the way to embed one.

Core (log, matcher) outside, then what feeds it (supervisor, timers), then connections, then
listeners: started from the outside in, stopped from the inside out.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

import trio
from attrs import define, field

from gateway.access.authenticator import Keyring
from gateway.api.context import VenueContext
from gateway.clock import Clock, RealClock, lead_of
from gateway.config.schema import Config
from gateway.config.toml_reader import Endpoint
from gateway.log import Log
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import StalledError
from gateway.log.file import FileLog
from gateway.log.memory import MemoryLog
from gateway.metrics import Metrics
from gateway.network.connection_limiter import ConnectionLimiter
from gateway.network.connection_services import ConnectionServices
from gateway.network.descriptors import connection_quotas
from gateway.network.frontend import Address, Frontend
from gateway.network.sockets import BoundSockets, bind_ports
from gateway.sequencer.bootstrap import Bootstrap, configuration_commands, fill_keyring, next_start
from gateway.sequencer.command_source import CommandSource
from gateway.sequencer.index_prices import IndexSources, open_index_sources
from gateway.sequencer.matcher import Matcher, Observer
from gateway.sequencer.supervisor import Supervisor
from gateway.server.assembly import build_venue
from gateway.server.failure import VENUE_ERRORS, Failure
from gateway.server.persistence import Persistence, open_keeper
from risk import liquidation
from risk.commands import Entry, Origin, Tick
from risk.exchange import Exchange

logger = logging.getLogger(__name__)

# From the decision to stop until the last snapshot is written or given up. What then ends a process
# within two seconds is gateway.server.process, a little later.
SNAPSHOT_SECONDS = 1.7


@define(eq=False)
class Running:
    """A venue that serves: where, and what whoever embeds it may read, move and stop.

    `observers` are told of every entry and its events from now on; whoever joins them must
    neither wait nor raise. `failure` is set when the venue must end: what still runs then, a
    client that reads nothing, say, does not matter.
    """

    http: Endpoint
    websocket: Endpoint
    venue: VenueContext
    board: IndexSources
    metrics: Metrics
    supervisor: Supervisor
    observers: list[Observer]
    stopping: trio.Event
    log_closed: trio.Event
    failure: Failure
    log: Log

    @property
    def address(self) -> Address:
        """Where clients find the venue."""
        encrypted = self.venue.config.server.tls is not None
        return Address(self.http, self.websocket, encrypted)

    @property
    def http_url(self) -> str:
        """The base URL of HTTP requests."""
        return self.address.http_url

    @property
    def websocket_url(self) -> str:
        """The URL that clients open a WebSocket to."""
        return self.address.websocket_url

    def stop(self) -> None:
        """Shut down in order: everything accepted is answered, everybody is told. A plain call."""
        self.stopping.set()

    def stalled(self) -> StalledError | None:
        """What keeps the log from being closed, where something has for a while."""
        return self.log.stalled() if isinstance(self.log, FileLog) else None

    def abandon(self) -> None:
        """The process ends without having closed the log: nothing may write to it any more."""
        if isinstance(self.log, FileLog):
            self.log.abandon()


async def serve(
    config: Config,
    *,
    clock: Clock | None = None,
    log: Log | None = None,
    disk: Disk | None = None,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a venue until it is stopped; reports `Running` once clients can connect.

    `clock` is venue time, the machine's by default. `log` takes the place of the configured one,
    and `disk` of the real one. Cancelled, it ends at once, without goodbyes.
    Raises ConfigError for a configuration that cannot be served, LogError for a data directory
    that cannot be used, DiskError when the disk fails, and ApplyError for an entry that cannot be
    applied; from inside the venue, wrapped in exception groups.
    """
    clock = clock or RealClock()
    with ExitStack() as stack:
        bound = stack.enter_context(bind_ports(config.server.http, config.server.websocket))
        keeper = None
        if log is None and config.server.data_dir is not None:
            directory = DataDirectory(config.server.data_dir)
            keeper = stack.enter_context(open_keeper(directory, config.log, clock, disk=disk))
            await keeper.replay_log()
            log = keeper.log
            if isinstance(clock, RealClock):
                clock.start_at(keeper.log.time)
        server = _Server.build(config, clock, log or MemoryLog(clock), keeper)
        # flake8-async wants to see the call.
        await server.run(bound, lambda running: task_status.started(running))  # noqa: PLW0108


@define(eq=False)
class _Server:
    venue: VenueContext
    log: Log
    keeper: Persistence | None
    board: IndexSources
    intake: CommandSource
    metrics: Metrics
    matcher: Matcher
    supervisor: Supervisor
    front: Frontend
    log_closed: trio.Event = field(factory=trio.Event)
    failure: Failure = field(factory=Failure)

    @classmethod
    def build(cls, config: Config, clock: Clock, log: Log, keeper: Persistence | None) -> _Server:
        """Every part, wired; nothing runs yet."""
        board = open_index_sources(config.index)
        exchange = keeper.exchange if keeper else Exchange()
        state = exchange.state
        start = next_start(state)
        metrics = Metrics()
        intake = CommandSource(Origin(start=start), metrics.inbox_wait.observe)
        metrics.inbox_depth.set_function(lambda: intake.inbox.depth)
        keyring = Keyring()
        fill_keyring(keyring, config, state)
        metrics.clock_lead.set_function(lambda: lead_of(clock) / 1_000)
        archive = keeper.archive if keeper else None
        venue = build_venue(config, clock, exchange, keyring, archive=archive, start=start)
        supervisor = Supervisor(
            clock=clock,
            index_sources=board,
            find_candidates=lambda tried: liquidation.pending(state, tried=tried),
            propose=intake.propose,
            on_crash=metrics.crashes.labels("supervisor").inc,
            busy=lambda: exchange.busy,
            strict=config.server.strict,
        )
        descriptors = connection_quotas()
        slots = ConnectionLimiter(config.limits.connections_per_address, descriptors.websocket)
        metrics.connections.set_function(lambda: len(slots))
        front = Frontend(ConnectionServices(venue, intake, slots, metrics), descriptors)
        matcher = Matcher(
            exchange,
            propose=intake.propose,
            on_session_end=slots.free,
            observers=[venue.feed.publish],
            notable_observers=[metrics.count_events, supervisor.observe],
            counts=metrics.commands.counts,
            on_slice_done=front.flush_and_retry,
        )
        if keeper:
            matcher.observers.insert(0, keeper.observer(intake.propose))
            keeper.log.observe = metrics.log_write.observe
            board.resume({name: i.price for name, i in state.indices.items()}, clock.now())
        return cls(venue, log, keeper, board, intake, metrics, matcher, supervisor, front)

    async def run(self, bound: BoundSockets, ready: Callable[[Running], None]) -> None:
        """The tree. It ends from the inside, by the end of the stream through the core."""
        await self._run_core(bound, ready)
        self.log_closed.set()
        if self.keeper:
            left = self.front.stopped_at + SNAPSHOT_SECONDS - trio.current_time()
            await self._vital(self.keeper.write_final_snapshot, max(left, 0.0))

    async def _vital(self, run: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run a part without which the venue must end at once."""
        try:
            await run(*arguments)
        except VENUE_ERRORS as error:
            self.failure.set(error)
            raise

    async def _run_core(self, bound: BoundSockets, ready: Callable[[Running], None]) -> None:
        durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
        try:
            async with trio.open_nursery() as core:
                core.start_soon(self._vital, self.log.run, self.intake, durable)
                core.start_soon(self._vital, self.matcher.run, entries)
                await self._bootstrap()
                async with trio.open_nursery() as helpers:
                    helpers.start_soon(self.supervisor.run)
                    helpers.start_soon(self.metrics.measure_loop_lag)
                    helpers.start_soon(self.front.flush_feed)
                    running = self._running(bound)
                    await self.front.serve(bound, lambda: ready(running))
                    helpers.cancel_scope.cancel()
                self.intake.close()
        finally:
            self.intake.abort()

    async def _bootstrap(self) -> None:
        venue = self.venue
        bootstrap = Bootstrap(
            [
                *configuration_commands(venue.config, venue.exchange.state, venue.start),
                # With prices from the first moment on, a client can trade at once.
                Tick(prices=self.board.prices(venue.clock.now())),
            ],
            Origin(venue.node, venue.start),
        )
        self.matcher.observers.append(bootstrap.observe)
        await bootstrap.run(self.intake.inbox)
        self.matcher.observers.remove(bootstrap.observe)

    def _running(self, bound: BoundSockets) -> Running:
        return Running(
            bound.http_endpoint,
            bound.websocket_endpoint,
            self.venue,
            self.board,
            self.metrics,
            self.supervisor,
            self.matcher.observers,
            self.front.stopping,
            self.log_closed,
            self.failure,
            self.log,
        )
