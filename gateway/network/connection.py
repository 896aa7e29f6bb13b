"""One client's conversation over a WebSocket: reader, submitter, writer and pulse in one nursery.

The reader asks the session what each frame comes to, the submitter waits for the inbox, the
writer alone touches the sending side, so that no frame is ever cut in two by another.
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
from gateway.network.outbox import Outbox
from gateway.network.read_scheduler import ReadResult, ReadScheduler
from gateway.network.transport import DisconnectedError, Transport
from gateway.network.writer import FlushScheduler, Writer
from gateway.protocol.close_codes import CLOSED_BY_PEER, SERVER_STOPPING, CloseReason
from gateway.protocol.outcome import Close, Push, Reply, Submit
from gateway.sequencer.inbox import COMMANDS_PER_LIST, Inbox
from gateway.sequencer.system_queue import SystemCommand
from risk.commands import EndSession
from tidegate.auto_reset_event import AutoResetEvent

# A client that is told sooner would only try again; one that is told later has stopped waiting.
INBOX_SECONDS: Final = 2.0
# From the decision to part until the socket is closed, written replies included.
CLOSE_SECONDS: Final = 1.0
# How long a parting client's undecided requests may take: many times what a full inbox takes.
REPLY_GRACE_SECONDS: Final = 0.5

# What is heard of a client in its turn: a burst of an ordinary one, twice as many requests as an
# account may have undecided; of those that take long, as many as begin within some time.
REQUESTS_PER_SLICE: Final = 16
SLICE_SECONDS: Final = 0.001
# Whoever comes with more is a flood, which waits so long for room among what its account has
# undecided, and is refused only after that. Most of it would be refused otherwise, and each of
# these takes a sixth of the time of a decision, which would be missing for deciding.
THROTTLE_SECONDS: Final = 0.02

QUEUE_FULL: Final = 10047
MAINTENANCE: Final = 11051


@define(eq=False)
class Connection:
    """A conversation from the end of the handshake to the beginning of the goodbye.

    However `run` ends, also when it is cancelled, the end of a session that was started is put
    into the lane with `propose`; `unstarted` is told of one that never was.
    `writers` and `hearing` are the same for all connections of a venue.
    """

    session: Session
    outbox: Outbox
    transport: Transport
    inbox: Inbox
    propose: Callable[[SystemCommand], None]
    release_slot: Callable[[int], None]
    flush_scheduler: FlushScheduler
    read_scheduler: ReadScheduler
    send_seconds: float
    # What the last chunk held, and how much of it has been heard.
    _frames: Sequence[str | bytes] = field(default=(), init=False)
    _frames_read: int = field(default=0, init=False)
    _throttled_until: float = field(default=0.0, init=False)
    _unsubmitted: deque[tuple[Submit, float]] = field(factory=deque, init=False)
    _submit_wakeup: AutoResetEvent = field(factory=AutoResetEvent, init=False)
    _read_blocked: bool = field(default=False, init=False)
    _closing: bool = field(default=False, init=False)
    _quietly: bool = field(default=False, init=False)
    _reading: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _heartbeat_sleep: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _writer: Writer = field(init=False)
    _close_reason: CloseReason = field(default=SERVER_STOPPING, init=False)

    def __attrs_post_init__(self) -> None:
        self._writer = Writer(self.outbox, self.transport, self.send_seconds)
        self.outbox.on_filled = partial(self.flush_scheduler.schedule, self._writer)

    def stop(self) -> None:
        """Read no more; part with 1001 once all that was read is answered. A plain call."""
        self._reading.cancel()

    async def run(self) -> None:
        """Converse until either side ends it. What is left to do then is `part`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, nursery.cancel_scope)
                nursery.start_soon(self._submit_loop)
                nursery.start_soon(self._heartbeat_loop)
                await self._writer.run()
                nursery.cancel_scope.cancel()
        finally:
            self._end_session()

    def _end_session(self) -> None:
        number = self.outbox.number
        if self.session.started:
            self.propose(EndSession(session=number, quietly=self._quietly))
        else:
            self.release_slot(number)
        self.session.venue.feed.remove_connection(self.outbox)
        self.outbox.drop_unfinished_replies()

    async def close(self) -> None:
        """Say goodbye within what is left of its second, cancelled or not."""
        farewell = self.outbox.close_reason or CLOSED_BY_PEER
        now = trio.current_time()
        with trio.CancelScope(
            shield=True, deadline=min(self._writer.close_deadline, now + CLOSE_SECONDS)
        ):
            await self.transport.close(farewell.code, farewell.reason)

    async def _read(self, conversation: trio.CancelScope) -> None:
        with self._reading:
            try:
                while not self._finished():
                    if self.outbox.replies_full:
                        await self._wait_for_reply_capacity()
                    await self._serve_reads()
            except DisconnectedError:
                conversation.cancel()
        with trio.move_on_after(REPLY_GRACE_SECONDS):
            await self.outbox.wait_replies_sent()
        self.outbox.disconnect(self._close_reason.code, self._close_reason.reason)

    def _finished(self) -> bool:
        """Whether nothing more is to be read: by a log-out, by the peer, or because it is cut."""
        return self._closing or self.outbox.close_reason is not None

    async def _serve_reads(self) -> None:
        """Have the client heard, for as long as nothing else than its socket is waited for."""
        direct = self.transport.nonblocking_reader
        if direct is not None and self.read_scheduler.has_epoll:
            await self.read_scheduler.serve_reads(
                partial(self._read_slice, direct.receive), direct.descriptor
            )
            return
        if self._frames_read == len(self._frames):
            frames = await self.transport.receive()
            if self._read_slice(lambda: frames) is not ReadResult.MORE:
                return
        await self.read_scheduler.serve_reads(partial(self._read_slice, tuple))

    def _read_slice(self, receive: Callable[[], Sequence[str | bytes]]) -> ReadResult:
        """A slice of the chunk, or of the next one; then do what can be done without waiting."""
        now = trio.current_time()
        if self._closing or self.outbox.close_reason is not None:
            return ReadResult.BLOCKED
        if self._frames_read == len(self._frames):
            self._frames, self._frames_read = receive(), 0
        # Whoever came with no more than a slice is heard out, and told at once what is refused.
        flood = len(self._frames) > REQUESTS_PER_SLICE
        full = flood and self.session.full
        if full and now < self._throttled_until:
            return ReadResult.THROTTLED
        if self._frames:
            submits = self._process_frames(now, patiently=flood and not full)
            if submits:
                self._submit_nowait(submits, now + INBOX_SECONDS)
        self._writer.flush()
        all_heard = self._frames_read == len(self._frames)
        if all_heard and self.transport.closing:
            # Answered, all of it, before the goodbye.
            self._closing, self._close_reason = True, CLOSED_BY_PEER
        if self._closing or self.outbox.replies_full:
            return ReadResult.BLOCKED
        if all_heard:
            return ReadResult.DRAINED
        self._throttled_until = now + THROTTLE_SECONDS
        return ReadResult.MORE

    def _process_frames(self, now: float, *, patiently: bool) -> list[Submit]:
        """A slice; `patiently` only as much as is not refused for what is undecided already.

        Returns what is to be put into the inbox.
        """
        session, outbox = self.session, self.outbox
        until = time.perf_counter() + SLICE_SECONDS
        submits: list[Submit] = []
        session.heard(now)
        for frame in self._frames[self._frames_read : self._frames_read + REQUESTS_PER_SLICE]:
            if outbox.replies_full or self._closing or (patiently and session.full):
                break
            self._frames_read += 1
            answered = False
            for outcome in session.receive(frame):
                if isinstance(outcome, Submit):
                    outbox.reserve()
                    submits.append(outcome)
                else:
                    self._handle_outcome(outcome)
                    answered = True
            # A command takes a few microseconds; what is answered at once may take many.
            if answered and time.perf_counter() >= until:
                break
        return submits

    async def _wait_for_reply_capacity(self) -> None:
        """Wait for a place for the next reply; a client that we do not hear is not silent."""
        self._read_blocked = True
        await self.outbox.wait_for_reply_capacity()
        self._read_blocked = False

    def _handle_outcome(self, outcome: Reply | Close) -> None:
        if isinstance(outcome, Reply):
            self.outbox.reserve()
            self.outbox.reply(outcome.data)
            # What the request subscribed to follows its reply.
            self.session.venue.feed.send_initial_snapshots(self.outbox)
            # Heartbeats that were just asked for begin before the nap of the pulse would end.
            due = self.session.due()
            if due < self._heartbeat_sleep.deadline:
                self._heartbeat_sleep.deadline = due
        else:
            self._closing = True
            self._quietly = outcome.quietly
            self._close_reason = CloseReason(outcome.code, outcome.reason)

    def _submit_nowait(self, submits: list[Submit], deadline: float) -> None:
        """Where there is room nobody waits; for the rest the submitter does, in turn.

        Nothing overtakes what it waits with: until that is in, there is room for nobody.
        """
        put = 0
        if not self._unsubmitted:
            if self.outbox.replies_reserved == 1 and self.inbox.put_priority(submits[0]):
                return
            try:
                while put < len(submits):
                    self.inbox.put_nowait(submits[put : put + COMMANDS_PER_LIST])
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
                turn = [
                    self._unsubmitted.popleft()[0]
                    for _ in range(min(COMMANDS_PER_LIST, len(self._unsubmitted)))
                ]
                # The whole turn by its first deadline: it was read in one go, or nearly so.
                with trio.CancelScope(deadline=deadline) as patience:
                    try:
                        await self.inbox.put(turn)
                    except trio.ClosedResourceError:
                        self._reject(turn, MAINTENANCE)
                if patience.cancelled_caught:
                    self._reject(turn, QUEUE_FULL)

    def _reject(self, turn: list[Submit], code: int) -> None:
        for each in turn:
            self.session.venue.feed.unregister_request(each.origin)
            self.outbox.reply(each.pending.refuse(code))
        self.flush_scheduler.flush()

    async def _heartbeat_loop(self) -> None:
        while True:
            with trio.CancelScope(deadline=self.session.due()) as self._heartbeat_sleep:
                await self.outbox.disconnect_requested.wait()
                self._writer.set_close_deadline(trio.current_time() + CLOSE_SECONDS)
                return
            now = trio.current_time()
            if self._read_blocked:
                self.session.heard(now)
            for outcome in self.session.wake(now):
                match outcome:
                    case Push(data=data):
                        self.outbox.send_private(data)
                    case Close(code=code, reason=reason):
                        self.outbox.disconnect(code, reason)
            self.flush_scheduler.flush()
