"""One WebSocket connection after its handshake: four tasks in one nursery.

The reader passes requests to the session, the submitter waits for a full inbox, and the heartbeat
loop watches the client's silence. The writer is the only task that sends, so that no frame is
interrupted by another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio
from attrs import define, field

from gateway.api.session import Session
from gateway.network.connection_services import ConnectionServices
from gateway.network.outbox import Outbox
from gateway.network.read_scheduler import ReadResult
from gateway.network.transport import DisconnectedError, Transport
from gateway.network.writer import Writer
from gateway.protocol.close_codes import CLOSED_BY_PEER, SERVER_STOPPING, CloseReason
from gateway.protocol.outcome import Close, Push, Reply, Submit
from gateway.sequencer.inbox import COMMANDS_PER_LIST, Inbox
from risk.commands import EndSession
from tidegate.auto_reset_event import AutoResetEvent

# How long a command waits for a full inbox. A client that is rejected sooner only tries again; one
# that is rejected later has stopped waiting.
INBOX_SECONDS: Final = 2.0
# From the decision to close a connection until its socket is closed; queued replies are written
# within this time.
CLOSE_SECONDS: Final = 1.0
# How long requests in flight may take once nothing more is read: many times what it takes to log
# and apply a full inbox.
REPLY_GRACE_SECONDS: Final = 0.5

# What is processed of one connection in its turn: twice as many requests as an account may have in
# flight, or as many as begin within SLICE_SECONDS.
REQUESTS_PER_SLICE: Final = 16
SLICE_SECONDS: Final = 0.001
# A chunk of more than REQUESTS_PER_SLICE requests waits up to this long for in-flight capacity
# before requests are rejected. A rejection costs a sixth of an execution, and most of such a chunk
# would be rejected.
THROTTLE_SECONDS: Final = 0.02

QUEUE_FULL: Final = 10047
MAINTENANCE: Final = 11051


@define(eq=False)
class Connection:
    """A WebSocket connection from the end of its handshake to its closing handshake.

    However `run` ends, also when it is cancelled, a session that was started is ended by a system
    command. The slot of a connection that never started one is freed here.
    """

    session: Session
    outbox: Outbox
    transport: Transport
    services: ConnectionServices
    # The messages of the last chunk, and how many of them have been processed.
    _messages: Sequence[str | bytes] = field(default=(), init=False)
    _messages_read: int = field(default=0, init=False)
    _throttled_until: float = field(default=0.0, init=False)
    # Commands that the inbox had no room for, with their deadlines.
    _unsubmitted: deque[tuple[Submit, float]] = field(factory=deque, init=False)
    _submit_wakeup: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _read_blocked: bool = field(default=False, init=False)
    _closing: bool = field(default=False, init=False)
    _logged_out: bool = field(default=False, init=False)
    _reading: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _heartbeat_sleep: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _writer: Writer = field(init=False)
    _inbox: Inbox = field(init=False)
    _close_reason: CloseReason = field(default=SERVER_STOPPING, init=False)

    def __attrs_post_init__(self) -> None:
        services = self.services
        self._inbox = services.commands.inbox
        self._writer = Writer(
            self.outbox, self.transport, services.venue.config.limits.send_seconds
        )
        self.outbox.on_filled = partial(services.flush_scheduler.schedule, self._writer)

    def stop(self) -> None:
        """Stop reading; close with 1001 once all requests read are answered. A plain call."""
        self._reading.cancel()

    async def run(self) -> None:
        """Serve the client until either side ends the connection. `close` has to follow."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_loop, nursery.cancel_scope)
                nursery.start_soon(self._submit_loop)
                nursery.start_soon(self._heartbeat_loop)
                await self._writer.run()
                nursery.cancel_scope.cancel()
        finally:
            self._end_session()

    def _end_session(self) -> None:
        number = self.outbox.number
        if self.session.started:
            self.services.commands.propose(EndSession(session=number, quietly=self._logged_out))
        else:
            self.services.limiter.free(number)
        self.session.venue.feed.remove_connection(self.outbox)
        self.outbox.drop_unfinished_replies()

    async def close(self) -> None:
        """Run the closing handshake within what is left of CLOSE_SECONDS, cancelled or not."""
        code, reason = self.outbox.close_reason or CLOSED_BY_PEER
        now = trio.current_time()
        with trio.CancelScope(
            shield=True, deadline=min(self._writer.close_deadline, now + CLOSE_SECONDS)
        ):
            await self.transport.close(code, reason)

    async def _read_loop(self, connection: trio.CancelScope) -> None:
        with self._reading:
            try:
                while not self._finished():
                    if self.outbox.replies_full:
                        await self._wait_for_reply_capacity()
                    await self._serve_reads()
            except DisconnectedError:
                connection.cancel()
        with trio.move_on_after(REPLY_GRACE_SECONDS):
            await self.outbox.wait_replies_sent()
        self.outbox.disconnect(*self._close_reason)

    def _finished(self) -> bool:
        """Return whether nothing more is to be read: by a log-out, the peer or a disconnect."""
        return self._closing or self.outbox.close_reason is not None

    async def _serve_reads(self) -> None:
        """Let the read scheduler read until something other than data has to be waited for."""
        reader = self.transport.nonblocking_reader
        scheduler = self.services.read_scheduler
        if reader is not None and scheduler.has_epoll:
            await scheduler.serve_reads(
                partial(self._read_slice, reader.receive), reader.descriptor
            )
            return
        if self._messages_read == len(self._messages):
            messages = await self.transport.receive()
            if self._read_slice(lambda: messages) is not ReadResult.MORE:
                return
        await scheduler.serve_reads(partial(self._read_slice, tuple))

    def _read_slice(self, receive: Callable[[], Sequence[str | bytes]]) -> ReadResult:
        """Process a slice of the last chunk, or of the next one, and write the replies."""
        now = trio.current_time()
        if self._closing or self.outbox.close_reason is not None:
            return ReadResult.BLOCKED
        if self._messages_read == len(self._messages):
            self._messages, self._messages_read = receive(), 0
        # A chunk of no more than a slice is processed whole, and its rejections are sent at once.
        flood = len(self._messages) > REQUESTS_PER_SLICE
        full = flood and self.session.in_flight_full
        if full and now < self._throttled_until:
            return ReadResult.THROTTLED
        if self._messages:
            submits = self._process_messages(now, stop_when_full=flood and not full)
            if submits:
                self._submit_nowait(submits, now + INBOX_SECONDS)
        self._writer.flush()
        drained = self._messages_read == len(self._messages)
        if drained and self.transport.closing:
            # The replies to this chunk are written before the close frame.
            self._closing, self._close_reason = True, CLOSED_BY_PEER
        if self._closing or self.outbox.replies_full:
            return ReadResult.BLOCKED
        if drained:
            return ReadResult.DRAINED
        self._throttled_until = now + THROTTLE_SECONDS
        return ReadResult.MORE

    def _process_messages(self, now: float, *, stop_when_full: bool) -> list[Submit]:
        """Process a slice of messages; return the commands to put into the inbox.

        With `stop_when_full`, stop before a request that in-flight capacity would reject.
        """
        session, outbox = self.session, self.outbox
        until = time.perf_counter() + SLICE_SECONDS
        submits: list[Submit] = []
        session.on_chunk(now)
        end = self._messages_read + REQUESTS_PER_SLICE
        for message in self._messages[self._messages_read : end]:
            if outbox.replies_full or self._closing or (stop_when_full and session.in_flight_full):
                break
            self._messages_read += 1
            answered = False
            for outcome in session.receive(message):
                if isinstance(outcome, Submit):
                    outbox.reserve()
                    submits.append(outcome)
                else:
                    self._handle_outcome(outcome)
                    answered = True
            # A command takes a few microseconds here; a request answered from the state may take
            # many more, so only those read the clock.
            if answered and time.perf_counter() >= until:
                break
        return submits

    async def _wait_for_reply_capacity(self) -> None:
        """Wait until a reply can be queued. Meanwhile the client does not count as silent."""
        self._read_blocked = True
        await self.outbox.wait_for_reply_capacity()
        self._read_blocked = False

    def _handle_outcome(self, outcome: Reply | Close) -> None:
        if isinstance(outcome, Reply):
            self.outbox.reserve()
            self.outbox.reply(outcome.data)
            # Initial snapshots follow the reply to the request that subscribed to them.
            self.session.venue.feed.send_initial_snapshots(self.outbox)
            # The request may have set a heartbeat interval that ends before the present sleep.
            due = self.session.next_wake()
            if due < self._heartbeat_sleep.deadline:
                self._heartbeat_sleep.deadline = due
        else:
            self._closing = True
            self._logged_out = outcome.quietly
            self._close_reason = CloseReason(outcome.code, outcome.reason)

    def _submit_nowait(self, submits: list[Submit], deadline: float) -> None:
        """Put commands into the inbox as far as it has room; leave the rest to the submitter.

        Commands keep their order: while the submitter waits with earlier ones, these queue up
        behind them.
        """
        put = 0
        if not self._unsubmitted:
            if self.outbox.replies_reserved == 1 and self._inbox.put_priority(submits[0]):
                return
            try:
                while put < len(submits):
                    self._inbox.put_nowait(submits[put : put + COMMANDS_PER_LIST])
                    put += COMMANDS_PER_LIST
            except (trio.WouldBlock, trio.ClosedResourceError):
                pass
            else:
                return
        self._unsubmitted += ((submit, deadline) for submit in submits[put:])
        self._submit_wakeup.set()

    async def _submit_loop(self) -> None:
        while True:
            await self._submit_wakeup.wait()
            while self._unsubmitted:
                _, deadline = self._unsubmitted[0]
                commands = [
                    self._unsubmitted.popleft()[0]
                    for _ in range(min(COMMANDS_PER_LIST, len(self._unsubmitted)))
                ]
                # The first deadline holds for the whole list: its commands were read together, or
                # nearly so.
                with trio.CancelScope(deadline=deadline) as waiting:
                    try:
                        await self._inbox.put(commands)
                    except trio.ClosedResourceError:
                        self._reject(commands, MAINTENANCE)
                if waiting.cancelled_caught:
                    self._reject(commands, QUEUE_FULL)

    def _reject(self, commands: list[Submit], code: int) -> None:
        for command in commands:
            self.session.venue.feed.unregister_request(command.origin)
            self.outbox.reply(command.pending.refuse(code))
        self.services.flush_scheduler.flush()

    async def _heartbeat_loop(self) -> None:
        while True:
            with trio.CancelScope(deadline=self.session.next_wake()) as self._heartbeat_sleep:
                await self.outbox.disconnect_requested.wait()
                self._writer.set_close_deadline(trio.current_time() + CLOSE_SECONDS)
                return
            now = trio.current_time()
            if self._read_blocked:
                self.session.on_chunk(now)
            for outcome in self.session.check_heartbeat(now):
                match outcome:
                    case Push(data=data):
                        self.outbox.send_private(data)
                    case Close(code=code, reason=reason):
                        self.outbox.disconnect(code, reason)
            self.services.flush_scheduler.flush()
