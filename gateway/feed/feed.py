"""The feed: from an entry's events to the clients. Plain calls; nothing in here waits.

Each connection is told of an entry in this order: reply, user.orders, user.trades,
user.changes, public channels, user.portfolio. Raw channels speak when an entry is published,
thinned ones when the timer flushes them, and only of what has changed in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from attrs import define, field

from gateway.access.tokens import Principal
from gateway.feed.channel import ChannelStream
from gateway.feed.channel_names import Interval
from gateway.feed.login_subscriptions import Lease, Leases, Passed
from gateway.feed.router import Router
from gateway.feed.subscriptions import Subscriptions
from gateway.history.archive import Archive
from gateway.protocol.large_results import EncodingJob, run_to_end
from gateway.protocol.message_sink import MessageSink
from gateway.protocol.order_json_cache import OrderJsonCache
from gateway.protocol.pending_request import PendingRequest
from risk.commands import Entry, Origin
from risk.events import Answer, Event
from risk.state import State

PORTFOLIOS_PER_FLUSH: Final = 64
"""A mark moves every portfolio at once. At some 100 us each, so many hold the loop for 6 ms; ten
flushes a second refresh 640 a second, and more than those take turns."""

ENDS: Final = 256
"""Channels that end in one go: a millisecond or two. A named session may be that of 32 connections
with a thousand channels each, which all end at one word."""

NOBODY: Final = 0
"""The session of HTTP clients, and of requests that act for another account than their client."""

_RAW: Final = Interval.RAW.value
_SLOW: Final = Interval.SLOW.value


Waiting = tuple[Origin, PendingRequest, MessageSink]
"""A request whose answer is still to come, and who wants it."""


@define(eq=False)
class Feed:
    """Answers requests and publishes events. `most` bounds the subscriptions of a connection.

    Call `publish` right after each entry was applied, before the next one is: snapshots are
    made from the live book. Call `flush` on a timer, once per interval. `texts` is for replies
    as well: they tell of what the channels tell of. `leases` knows the log-ins that listen to
    private channels, and when they end. `encode` has a large state written in slices.
    """

    state: State
    archive: Archive
    most: int = 1_000
    leases: Leases = field(factory=Leases)
    encode: Callable[[EncodingJob], None] = run_to_end
    texts: OrderJsonCache = field(init=False)
    # By the session that asked, and by its number of the request.
    _waiting: dict[int, dict[int, Waiting]] = field(factory=dict, init=False)
    _subscriptions: Subscriptions = field(init=False)
    _router: Router = field(init=False)
    _ending: deque[Lease] = field(factory=deque, init=False)
    _late: dict[ChannelStream, None] = field(factory=dict, init=False)
    _new: dict[int, dict[ChannelStream, None]] = field(factory=dict, init=False)
    _handlers: dict[type[Event], tuple[Callable[[Any], None], ...]] = field(
        factory=dict, init=False
    )

    def __attrs_post_init__(self) -> None:
        self._subscriptions = Subscriptions(
            self.state, self.archive, self.most, self.state.sequence, self._handlers.clear
        )
        self.texts = OrderJsonCache(self.archive)
        self._router = Router(self._subscriptions, self.texts)

    # Requests

    def register_request(self, origin: Origin, pending: PendingRequest, sink: MessageSink) -> None:
        """Remember who is to be told the answer to a request."""
        of_session = self._waiting.get(origin.session)
        if of_session is None:
            of_session = self._waiting[origin.session] = {}
        of_session[origin.request] = origin, pending, sink

    def unregister_request(self, origin: Origin) -> None:
        """Expect the answer no more: the request did not reach the log."""
        self._take(origin)

    def remove_connection(self, sink: MessageSink) -> None:
        """Forget a connection: its subscriptions end, and nobody reads its answers any more.

        For WebSocket sinks: those of HTTP share a number, and expect nothing but one answer.
        """
        self._new.pop(sink.number, None)
        self.unsubscribe_all(sink)
        for _, pending, _ in self._waiting.pop(sink.number, {}).values():
            pending.abandon()
        for origin, pending, teller in tuple(self._waiting.get(NOBODY, {}).values()):
            if teller is sink:
                self._take(origin)
                pending.abandon()

    def _take(self, origin: Origin) -> Waiting | None:
        of_session = self._waiting.get(origin.session)
        if of_session is None:
            return None
        waiting = of_session.pop(origin.request, None)
        if waiting is not None and waiting[0] is not origin and waiting[0] != origin:
            # Sessions of other nodes and of earlier starts may have the same numbers.
            of_session[origin.request] = waiting
            return None
        if not of_session:
            del self._waiting[origin.session]
        return waiting

    # Subscriptions

    def subscribe(
        self,
        sink: MessageSink,
        account: int | None,
        names: Iterable[str],
        login: Principal | None = None,
        *,
        own: bool = True,
    ) -> list[str]:
        """Listen to channels; returns those that are to be had, as they were spelled.

        Scopes have been checked. The state of a channel follows with `greet`, so that the reply
        can go first. Who listens already gets the state once more. Private channels end with
        `login`, which is the connection's `own` or that of a token.
        """
        accepted = []
        lease = None if login is None else self.leases.lease(sink, login, own=own)
        for name in dict.fromkeys(names):
            stream = self._subscriptions.subscribe(sink, account, name)
            if stream is not None:
                accepted.append(name)
                self._settle(stream)
                scope = stream.channel.scope
                if lease is not None and scope is not None:
                    self.leases.take(lease, name, scope)
                    stream.listener(sink, name).lease = lease
                if stream.stateful:
                    self._new.setdefault(sink.number, {})[stream] = None
        return accepted

    def send_initial_snapshots(self, sink: MessageSink) -> None:
        """Send a connection the state of the channels that it newly listens to.

        Call it after every reply: it costs nothing when there is nothing new.
        """
        new = self._new.pop(sink.number, None)
        if new is None:
            return
        self._end_leases()
        for stream in new:
            if stream in self._late and not self._greeted(stream):
                self.encode(partial(self._greeted, stream))

    def _greeted(self, stream: ChannelStream) -> bool:
        """Send a channel's state as far as it is written; returns whether that was all of it.

        That of a large book is written over several calls. A listener without room for it waits
        for the slow timer.
        """
        stream.catch_up()
        self._settle(stream)
        return all(stream.behind.values())

    def unsubscribe(self, sink: MessageSink, names: Iterable[str]) -> list[str]:
        """Listen to channels no more; returns those that the connection did listen to."""
        ended = []
        for name in dict.fromkeys(names):
            stream = self._subscriptions.unsubscribe(sink, name)
            if stream is not None:
                ended.append(name)
                self.leases.end(sink, name)
                self._settle(stream)
        return ended

    def unsubscribe_all(self, sink: MessageSink) -> None:
        """Listen to nothing any more."""
        self.leases.forget(sink)
        for stream in self._subscriptions.forget(sink):
            self._settle(stream)

    def renew(self, sink: MessageSink, login: Principal) -> None:
        """A connection's own log-in has other tokens: its private channels go on under these."""
        self._hand_on(sink, self.leases.renew(sink, login))

    def succeed(self, sink: MessageSink, login: Principal) -> None:
        """A connection acts for another log-in: private channels of the one before go on under it.

        Those of another account do not, nor those for which its scope is not enough.
        """
        self._hand_on(sink, self.leases.succeed(sink, login))

    def _hand_on(self, sink: MessageSink, passed: Passed) -> None:
        """Some channels of a connection have another lease, and others none."""
        for name in passed.kept:
            self._subscriptions.of(sink)[name].listener(sink, name).lease = passed.lease
        self.unsubscribe(sink, passed.ended)

    def _end_leases(self) -> None:
        """End what log-ins that do not count any more listen to, without a word.

        All of it is silent at once; what is left to do for each channel is done by and by.
        """
        self._ending += self.leases.ended()
        for _ in range(ENDS):
            if not self._ending:
                break
            lease = self._ending[0]
            name, _ = lease.scopes.popitem()
            # It may have been subscribed to again.
            if self._subscriptions.silent(lease.sink, name):
                self.unsubscribe(lease.sink, [name])
            if not lease.scopes:
                self._ending.popleft()

    def subscribed(self, sink: MessageSink) -> list[str]:
        """The channels that a connection listens to, oldest first."""
        return list(self._subscriptions.of(sink))

    def change_id(self, instrument: str) -> int:
        """The number of the entry that last changed a book."""
        return self._subscriptions.change_id(instrument)

    def _settle(self, stream: ChannelStream) -> None:
        """Keep note of who is behind, and forget a stream that nobody listens to."""
        if stream.behind:
            self._late[stream] = None
        else:
            self._late.pop(stream, None)
        if stream.unsubscribed:
            self._router.forget(stream)

    # Events

    def publish(self, entry: Entry, events: Sequence[Event]) -> None:
        """Tell everybody concerned what an entry did."""
        if entry.time >= self.leases.look_at:
            self._end_leases()
        router = self._router
        router.sequence = entry.sequence
        handlers = self._handlers
        for event in events:
            known = handlers.get(type(event))
            if known is None:
                known = self._learn(type(event))
            for handle in known:
                handle(event)
        if router.raw:
            self._flush(_RAW)

    def flush(self, interval: str) -> None:
        """Publish what changed on the channels of an interval, `100ms` or `agg2`.

        The slower one also makes good to readers who had no room what they missed.
        """
        slow = interval == _SLOW
        self._end_leases()
        for stream in list(self._late):
            stream.catch_up(retry=slow)
            self._settle(stream)
        if not slow:
            self._refresh_portfolios()
        self._flush(interval)

    def _learn(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
        """What is to be done with events of a type, looked up once until somebody else listens.

        Replies go first because the core answers before it tells of orders, which raw channels
        are sent at once, and because all others only take note of events until they are flushed.
        """
        found = (
            self.archive.handlers.get(kind),
            self._answer if issubclass(kind, Answer) else None,
            self._router.handler(kind),
        )
        known = self._handlers[kind] = tuple(handle for handle in found if handle)
        return known

    def _flush(self, interval: str) -> None:
        for stream in self._router.take(interval):
            stream.flush()
            if stream.stateful:
                self._settle(stream)

    def _refresh_portfolios(self) -> None:
        marked = self._router.marked
        for stream in list(islice(marked, PORTFOLIOS_PER_FLUSH)):
            del marked[stream]
            stream.note_marks()
            stream.flush()
            self._settle(stream)

    def _answer(self, event: Answer) -> None:
        waiting = self._take(event.origin)
        if waiting is not None:
            _, pending, sink = waiting
            sink.reply(pending.answer(event))
