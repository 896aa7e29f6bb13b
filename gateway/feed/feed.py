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
from gateway.feed.login_subscriptions import ChannelGrant, ChannelTransfer, LoginSubscriptions
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

ENDED_CHANNELS_PER_CALL: Final = 256
"""Channels that end in one go: a millisecond or two. A named session may be that of 32 connections
with a thousand channels each, which all end at one word."""

NO_SESSION: Final = 0
"""The session of HTTP clients, and of requests that act for another account than their client."""

_RAW: Final = Interval.RAW.value
_SLOW: Final = Interval.SLOW.value


RegisteredRequest = tuple[Origin, PendingRequest, MessageSink]
"""A request whose answer is still to come, and who wants it."""


@define(eq=False)
class Feed:
    """Answers requests and publishes events. `most` bounds the subscriptions of a connection.

    Call `publish` right after each entry was applied, before the next one is: snapshots are
    made from the live book. Call `flush` on a timer, once per interval. `texts` is for replies
    as well: they tell of what the channels tell of. `grants` knows the log-ins that listen to
    private channels, and when they end. `encode` has a large state written in slices.
    """

    state: State
    archive: Archive
    max_subscriptions: int = 1_000
    login_subscriptions: LoginSubscriptions = field(factory=LoginSubscriptions)
    encode: Callable[[EncodingJob], None] = run_to_end
    json_cache: OrderJsonCache = field(init=False)
    # By the session that asked, and by its number of the request.
    _requests: dict[int, dict[int, RegisteredRequest]] = field(factory=dict, init=False)
    _subscriptions: Subscriptions = field(init=False)
    _router: Router = field(init=False)
    _ended_logins: deque[ChannelGrant] = field(factory=deque, init=False)
    _awaiting_snapshot: dict[ChannelStream, None] = field(factory=dict, init=False)
    _initial_snapshots: dict[int, dict[ChannelStream, None]] = field(factory=dict, init=False)
    _handlers: dict[type[Event], tuple[Callable[[Any], None], ...]] = field(
        factory=dict, init=False
    )

    def __attrs_post_init__(self) -> None:
        self._subscriptions = Subscriptions(
            self.state,
            self.archive,
            self.max_subscriptions,
            self.state.sequence,
            self._handlers.clear,
        )
        self.json_cache = OrderJsonCache(self.archive)
        self._router = Router(self._subscriptions, self.json_cache)

    # Requests

    def register_request(self, origin: Origin, pending: PendingRequest, sink: MessageSink) -> None:
        """Remember who is to be told the answer to a request."""
        of_session = self._requests.get(origin.session)
        if of_session is None:
            of_session = self._requests[origin.session] = {}
        of_session[origin.request] = origin, pending, sink

    def unregister_request(self, origin: Origin) -> None:
        """Expect the answer no more: the request did not reach the log."""
        self._pop_request(origin)

    def remove_connection(self, sink: MessageSink) -> None:
        """Forget a connection: its subscriptions end, and nobody reads its answers any more.

        For WebSocket sinks: those of HTTP share a number, and expect nothing but one answer.
        """
        self._initial_snapshots.pop(sink.number, None)
        self.unsubscribe_all(sink)
        for _, pending, _ in self._requests.pop(sink.number, {}).values():
            pending.abandon()
        for origin, pending, teller in tuple(self._requests.get(NO_SESSION, {}).values()):
            if teller is sink:
                self._pop_request(origin)
                pending.abandon()

    def _pop_request(self, origin: Origin) -> RegisteredRequest | None:
        of_session = self._requests.get(origin.session)
        if of_session is None:
            return None
        waiting = of_session.pop(origin.request, None)
        if waiting is not None and waiting[0] is not origin and waiting[0] != origin:
            # Sessions of other nodes and of earlier starts may have the same numbers.
            of_session[origin.request] = waiting
            return None
        if not of_session:
            del self._requests[origin.session]
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
        grant = None if login is None else self.login_subscriptions.grant_for(sink, login, own=own)
        for name in dict.fromkeys(names):
            stream = self._subscriptions.subscribe(sink, account, name)
            if stream is not None:
                accepted.append(name)
                self._update_stream(stream)
                scope = stream.channel.scope
                if grant is not None and scope is not None:
                    self.login_subscriptions.add(grant, name, scope)
                    stream.subscription(sink, name).grant = grant
                if stream.stateful:
                    self._initial_snapshots.setdefault(sink.number, {})[stream] = None
        return accepted

    def send_initial_snapshots(self, sink: MessageSink) -> None:
        """Send a connection the state of the channels that it newly listens to.

        Call it after every reply: it costs nothing when there is nothing new.
        """
        new = self._initial_snapshots.pop(sink.number, None)
        if new is None:
            return
        self._end_logins()
        for stream in new:
            if stream in self._awaiting_snapshot and not self._send_snapshot(stream):
                self.encode(partial(self._send_snapshot, stream))

    def _send_snapshot(self, stream: ChannelStream) -> bool:
        """Send a channel's state as far as it is written; returns whether that was all of it.

        That of a large book is written over several calls. A listener without room for it waits
        for the slow timer.
        """
        stream.send_snapshots()
        self._update_stream(stream)
        return all(stream.needs_snapshot.values())

    def unsubscribe(self, sink: MessageSink, names: Iterable[str]) -> list[str]:
        """Listen to channels no more; returns those that the connection did listen to."""
        ended = []
        for name in dict.fromkeys(names):
            stream = self._subscriptions.unsubscribe(sink, name)
            if stream is not None:
                ended.append(name)
                self.login_subscriptions.remove(sink, name)
                self._update_stream(stream)
        return ended

    def unsubscribe_all(self, sink: MessageSink) -> None:
        """Listen to nothing any more."""
        self.login_subscriptions.remove_connection(sink)
        for stream in self._subscriptions.remove_connection(sink):
            self._update_stream(stream)

    def renew_login(self, sink: MessageSink, login: Principal) -> None:
        """A connection's own log-in has other tokens: its private channels go on under these."""
        self._apply_transfer(sink, self.login_subscriptions.renew_login(sink, login))

    def replace_login(self, sink: MessageSink, login: Principal) -> None:
        """A connection acts for another log-in: private channels of the one before go on under it.

        Those of another account do not, nor those for which its scope is not enough.
        """
        self._apply_transfer(sink, self.login_subscriptions.replace_login(sink, login))

    def _apply_transfer(self, sink: MessageSink, passed: ChannelTransfer) -> None:
        """Some channels of a connection have another grant, and others none."""
        for name in passed.kept:
            self._subscriptions.of(sink)[name].subscription(sink, name).grant = passed.target
        self.unsubscribe(sink, passed.ended)

    def _end_logins(self) -> None:
        """End what log-ins that do not count any more listen to, without a word.

        All of it is silent at once; what is left to do for each channel is done by and by.
        """
        self._ended_logins += self.login_subscriptions.take_ended()
        for _ in range(ENDED_CHANNELS_PER_CALL):
            if not self._ended_logins:
                break
            grant = self._ended_logins[0]
            name, _ = grant.scopes.popitem()
            # It may have been subscribed to again.
            if self._subscriptions.has_ended(grant.sink, name):
                self.unsubscribe(grant.sink, [name])
            if not grant.scopes:
                self._ended_logins.popleft()

    def subscribed(self, sink: MessageSink) -> list[str]:
        """The channels that a connection listens to, oldest first."""
        return list(self._subscriptions.of(sink))

    def change_id(self, instrument: str) -> int:
        """The number of the entry that last changed a book."""
        return self._subscriptions.change_id(instrument)

    def _update_stream(self, stream: ChannelStream) -> None:
        """Keep note of who is behind, and forget a stream that nobody listens to."""
        if stream.needs_snapshot:
            self._awaiting_snapshot[stream] = None
        else:
            self._awaiting_snapshot.pop(stream, None)
        if stream.unsubscribed:
            self._router.remove(stream)

    # Events

    def publish(self, entry: Entry, events: Sequence[Event]) -> None:
        """Tell everybody concerned what an entry did."""
        if entry.time >= self.login_subscriptions.next_check:
            self._end_logins()
        router = self._router
        router.sequence = entry.sequence
        handlers = self._handlers
        for event in events:
            known = handlers.get(type(event))
            if known is None:
                known = self._find_handlers(type(event))
            for handle in known:
                handle(event)
        if router.dirty_raw:
            self._flush(_RAW)

    def flush(self, interval: str) -> None:
        """Publish what changed on the channels of an interval, `100ms` or `agg2`.

        The slower one also makes good to readers who had no room what they missed.
        """
        slow = interval == _SLOW
        self._end_logins()
        for stream in list(self._awaiting_snapshot):
            stream.send_snapshots(retry=slow)
            self._update_stream(stream)
        if not slow:
            self._refresh_portfolios()
        self._flush(interval)

    def _find_handlers(self, kind: type[Event]) -> tuple[Callable[[Any], None], ...]:
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
        for stream in self._router.take_dirty(interval):
            stream.flush()
            if stream.stateful:
                self._update_stream(stream)

    def _refresh_portfolios(self) -> None:
        marked = self._router.stale_portfolios
        for stream in list(islice(marked, PORTFOLIOS_PER_FLUSH)):
            del marked[stream]
            stream.note_marks()
            stream.flush()
            self._update_stream(stream)

    def _answer(self, event: Answer) -> None:
        waiting = self._pop_request(event.origin)
        if waiting is not None:
            _, pending, sink = waiting
            sink.reply(pending.answer(event))
