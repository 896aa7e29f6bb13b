"""The tasks of a running venue, in nested nurseries.

The core (log and matcher) is outermost, then the supervisor and timers that propose commands to
it, then connections, then listeners. They start from the outside in and stop from the inside out,
so that each part outlives those that use it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack

import trio
from attrs import define, field

from gateway.access.authenticator import Keyring
from gateway.api.context import VenueContext
from gateway.clock import Clock, RealClock, lead_millis
from gateway.config.schema import Config
from gateway.config.toml_reader import Endpoint
from gateway.log import Log
from gateway.log.data_directory import DataDirectory
from gateway.log.disk import Disk
from gateway.log.errors import StalledError
from gateway.log.file import FileLog
from gateway.log.memory import MemoryLog
from gateway.metrics import Metrics
from gateway.network.frontend import Address, Frontend
from gateway.network.sockets import BoundSockets, bind_ports
from gateway.sequencer.bootstrap import Bootstrap, configuration_commands, fill_keyring, next_start
from gateway.sequencer.command_source import CommandSource
from gateway.sequencer.index_prices import IndexSources, open_index_sources
from gateway.sequencer.matcher import Matcher, Observer
from gateway.sequencer.supervisor import Supervisor
from gateway.server.assembly import build_frontend, build_venue
from gateway.server.failure import VENUE_ERRORS, Failure
from gateway.server.persistence import Persistence, open_persistence
from risk import liquidation
from risk.commands import Entry, Origin, Tick
from risk.exchange import Exchange

logger = logging.getLogger(__name__)

# From the decision to stop until the last snapshot is written or given up. A little later,
# gateway.server.process ends the process, within two seconds of the signal.
SNAPSHOT_SECONDS = 1.7


@define(eq=False)
class Running:
    """A running venue: its addresses, and what embedding code may read, change and stop.

    `observers` are called with every entry and its events from now on, and must neither wait nor
    raise. `log_closed` is set once nothing more is written to the log. `failure` is set when the
    venue must end; tasks that still run then, such as that of a client that does not read, can be
    abandoned.
    """

    http: Endpoint
    websocket: Endpoint
    venue: VenueContext
    index_sources: IndexSources
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
        """Begin an orderly shutdown: accepted requests are answered, clients get a close frame."""
        self.stopping.set()

    def stalled(self) -> StalledError | None:
        """Return why the log cannot be closed, or None unless a write has hung for a while."""
        return self.log.stalled() if isinstance(self.log, FileLog) else None

    def abandon(self) -> None:
        """Stop all writing to the log, before the process ends without having closed it."""
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
    """Run a venue until it is stopped; report `Running` once clients can connect.

    `clock` gives venue time, by default that of the machine. `log` replaces the configured log and
    `disk` the real disk. When cancelled, the venue ends at once, without close frames.
    Raises ConfigError for a configuration that cannot be served, LogError for a data directory
    that cannot be used, DiskError when the disk fails, and ApplyError for an entry that cannot be
    applied; from inside the venue, wrapped in exception groups.
    """
    clock = clock or RealClock()
    with ExitStack() as stack:
        bound = stack.enter_context(bind_ports(config.server.http, config.server.websocket))
        persistence = None
        if log is None and config.server.data_dir is not None:
            directory = DataDirectory(config.server.data_dir)
            persistence = stack.enter_context(
                open_persistence(directory, config.log, clock, disk=disk)
            )
            await persistence.replay_log()
            log = persistence.log
            if isinstance(clock, RealClock):
                clock.start_at(persistence.log.time)
        server = _Server.build(config, clock, log or MemoryLog(clock), persistence)
        # The lambda is for flake8-async, which requires a visible call of `started`.
        await server.run(bound, lambda running: task_status.started(running))  # noqa: PLW0108


@define(eq=False)
class _Server:
    """The parts of a venue and the tasks that run them."""

    venue: VenueContext
    log: Log
    persistence: Persistence | None
    index_sources: IndexSources
    commands: CommandSource
    metrics: Metrics
    matcher: Matcher
    supervisor: Supervisor
    frontend: Frontend
    log_closed: trio.Event = field(factory=trio.Event)
    failure: Failure = field(factory=Failure)

    @classmethod
    def build(
        cls, config: Config, clock: Clock, log: Log, persistence: Persistence | None
    ) -> _Server:
        """Connect the parts to each other. Nothing runs yet."""
        index_sources = open_index_sources(config.index)
        exchange = persistence.exchange if persistence else Exchange()
        state = exchange.state
        start = next_start(state)
        metrics = Metrics()
        commands = CommandSource(Origin(start=start), metrics.inbox_wait.observe)
        keyring = Keyring()
        fill_keyring(keyring, config, state)
        archive = persistence.archive if persistence else None
        venue = build_venue(config, clock, exchange, keyring, archive=archive, start=start)
        supervisor = _build_supervisor(venue, index_sources, commands, metrics)
        frontend = build_frontend(venue, commands, metrics)
        limiter = frontend.services.limiter
        matcher = Matcher(
            exchange,
            propose=commands.propose,
            on_session_end=limiter.free,
            observers=[venue.feed.publish],
            notable_observers=[metrics.count_events, supervisor.observe],
            counts=metrics.commands.counts,
            on_slice_done=frontend.flush_and_retry,
        )
        metrics.inbox_depth.set_function(lambda: commands.inbox.depth)
        metrics.clock_lead.set_function(lambda: lead_millis(clock) / 1_000)
        metrics.connections.set_function(lambda: len(limiter))
        if persistence:
            matcher.observers.insert(0, persistence.observer(commands.propose))
            persistence.log.observe_write = metrics.log_write.observe
            prices = {name: index.price for name, index in state.indices.items()}
            index_sources.resume(prices, clock.now())
        return cls(
            venue,
            log,
            persistence,
            index_sources,
            commands,
            metrics,
            matcher,
            supervisor,
            frontend,
        )

    async def run(self, bound: BoundSockets, ready: Callable[[Running], None]) -> None:
        """Run until stopped, then write a snapshot; call `ready` once clients can connect."""
        await self._run_core(bound, ready)
        self.log_closed.set()
        if self.persistence:
            left = self.frontend.stopped_at + SNAPSHOT_SECONDS - trio.current_time()
            await self._run_vital(self.persistence.write_final_snapshot, max(left, 0.0))

    async def _run_vital(self, run: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Run a part without which the venue must end at once."""
        try:
            await run(*arguments)
        except VENUE_ERRORS as error:
            self.failure.set(error)
            raise

    async def _run_core(self, bound: BoundSockets, ready: Callable[[Running], None]) -> None:
        """Run log and matcher around everything else.

        They end by themselves after `commands` is closed: the log sends its last batch and closes
        the channel to the matcher, which applies what is left.
        """
        durable, entries = trio.open_memory_channel[Sequence[Entry]](1)
        try:
            async with trio.open_nursery() as core:
                core.start_soon(self._run_vital, self.log.run, self.commands, durable)
                core.start_soon(self._run_vital, self.matcher.run, entries)
                await self._bootstrap()
                async with trio.open_nursery() as helpers:
                    helpers.start_soon(self.supervisor.run)
                    helpers.start_soon(self.metrics.measure_loop_lag)
                    helpers.start_soon(self.frontend.flush_feed)
                    running = self._running(bound)
                    await self.frontend.serve(bound, lambda: ready(running))
                    helpers.cancel_scope.cancel()
                self.commands.close()
        finally:
            self.commands.abort()

    async def _bootstrap(self) -> None:
        venue = self.venue
        bootstrap = Bootstrap(
            [
                *configuration_commands(venue.config, venue.exchange.state, venue.start),
                # Clients can trade only while the indices have prices.
                Tick(prices=self.index_sources.prices(venue.clock.now())),
            ],
            Origin(venue.node, venue.start),
        )
        self.matcher.observers.append(bootstrap.observe)
        await bootstrap.run(self.commands.inbox)
        self.matcher.observers.remove(bootstrap.observe)

    def _running(self, bound: BoundSockets) -> Running:
        return Running(
            bound.http_endpoint,
            bound.websocket_endpoint,
            self.venue,
            self.index_sources,
            self.metrics,
            self.supervisor,
            self.matcher.observers,
            self.frontend.stopping,
            self.log_closed,
            self.failure,
            self.log,
        )


def _build_supervisor(
    venue: VenueContext, index_sources: IndexSources, commands: CommandSource, metrics: Metrics
) -> Supervisor:
    exchange = venue.exchange
    return Supervisor(
        clock=venue.clock,
        index_sources=index_sources,
        find_candidates=lambda tried: liquidation.pending(exchange.state, tried=tried),
        propose=commands.propose,
        on_crash=metrics.crashes.labels("supervisor").inc,
        busy=lambda: exchange.busy,
        strict=venue.config.server.strict,
    )
