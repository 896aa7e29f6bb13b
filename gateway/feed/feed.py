"""Deliver replies and publish the events of each entry. All calls are plain; none waits.

Each connection is sent the results of an entry in this order: reply, user.orders, user.trades,
user.changes, public channels, user.portfolio. Raw channels publish with each entry; conflated
ones publish what changed when the timer flushes them.
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
"""A change of marks changes every portfolio. At about 100 us each, this many take 6 ms of the
event loop; ten flushes a second refresh 640 portfolios a second, and further ones take turns."""

ENDED_CHANNELS_PER_CALL: Final = 256
"""Channels that are removed in one call, which takes a millisecond or two. A named session may
have 32 connections with a thousand channels each, and one log-out ends all of them."""

NO_SESSION: Final = 0
"""The session of HTTP requests, and of requests for another account than the connection's."""

_RAW: Final = Interval.RAW.value
_SLOW: Final = Interval.SLOW.value


RegisteredRequest = tuple[Origin, PendingRequest, MessageSink]
"""A request that awaits its answer, and the sink to send the reply to."""


@define(eq=False)
class Feed:
    """Answers requests and publishes events.

    Call `publish` right after each entry was applied and before the next one is, because snapshots
    are made from the live book. Call `flush` from a timer, once per interval. `json_cache` is
    shared with replies, which contain the same orders and trades. `login_subscriptions` ends
    private subscriptions together with their log-in. `encode` schedules the encoding of a large
    snapshot. `max_subscriptions` applies to each connection.
    """

    state: State
    archive: Archive
    max_subscriptions: int = 1_000
    login_subscriptions: LoginSubscriptions = field(factory=LoginSubscriptions)
    encode: Callable[[EncodingJob], None] = run_to_end
    json_cache: OrderJsonCache = field(init=False)
    # By session, and by the number of the request within it.
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
        """Remember where to send the answer to a request."""
        of_session = self._requests.get(origin.session)
        if of_session is None:
            of_session = self._requests[origin.session] = {}
        of_session[origin.request] = origin, pending, sink

    def unregister_request(self, origin: Origin) -> None:
        """Forget a request that did not reach the log."""
        self._pop_request(origin)

    def remove_connection(self, sink: MessageSink) -> None:
        """Remove a connection with its subscriptions and its pending requests.

        Only for WebSocket sinks: HTTP sinks share a number and await a single answer.
        """
        self._initial_snapshots.pop(sink.number, None)
        self.unsubscribe_all(sink)
        for _, pending, _ in self._requests.pop(sink.number, {}).values():
            pending.abandon()
        for origin, pending, waiting_sink in tuple(self._requests.get(NO_SESSION, {}).values()):
            if waiting_sink is sink:
                self._pop_request(origin)
                pending.abandon()

    def _pop_request(self, origin: Origin) -> RegisteredRequest | None:
        of_session = self._requests.get(origin.session)
        if of_session is None:
            return None
        registered = of_session.pop(origin.request, None)
        if registered is not None and registered[0] is not origin and registered[0] != origin:
            # Sessions of other nodes and of earlier starts may have the same number.
            of_session[origin.request] = registered
            return None
        if not of_session:
            del self._requests[origin.session]
        return registered

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
        """Subscribe to channels; return the names of those that exist, as they were spelled.

        The caller has checked scopes. The state of a channel follows with
        `send_initial_snapshots`, after the reply. An existing subscription gets the state again.
        Private channels end with `login`, which is the connection's `own` log-in or that of a
        token.
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
        """Send the state of the channels that a connection has newly subscribed to.

        Call it after every reply: without new subscriptions it costs one dictionary lookup.
        """
        new = self._initial_snapshots.pop(sink.number, None)
        if new is None:
            return
        self._end_logins()
        for stream in new:
            if stream in self._awaiting_snapshot and not self._send_snapshot(stream):
                self.encode(partial(self._send_snapshot, stream))

    def _send_snapshot(self, stream: ChannelStream) -> bool:
        """Send a channel's state if it is encoded; return whether nothing is left to do.

        The state of a large book is encoded over several calls. A subscription without room for it
        waits for the slow timer.
        """
        stream.send_snapshots()
        self._update_stream(stream)
        return all(stream.needs_snapshot.values())

    def unsubscribe(self, sink: MessageSink, names: Iterable[str]) -> list[str]:
        """Unsubscribe from channels; return those to which the connection was subscribed."""
        ended = []
        for name in dict.fromkeys(names):
            stream = self._subscriptions.unsubscribe(sink, name)
            if stream is not None:
                ended.append(name)
                self.login_subscriptions.remove(sink, name)
                self._update_stream(stream)
        return ended

    def unsubscribe_all(self, sink: MessageSink) -> None:
        """Remove all subscriptions of a connection."""
        self.login_subscriptions.remove_connection(sink)
        for stream in self._subscriptions.remove_connection(sink):
            self._update_stream(stream)

    def renew_login(self, sink: MessageSink, login: Principal) -> None:
        """Move private channels to the new tokens of a connection's own log-in."""
        self._apply_transfer(sink, self.login_subscriptions.renew_login(sink, login))

    def replace_login(self, sink: MessageSink, login: Principal) -> None:
        """Move private channels from a connection's previous log-in to another one.

        Channels of another account end, and so do those that the new scope does not allow.
        """
        self._apply_transfer(sink, self.login_subscriptions.replace_login(sink, login))

    def _apply_transfer(self, sink: MessageSink, transfer: ChannelTransfer) -> None:
        """Give the kept channels of a connection their new grant, and end the others."""
        for name in transfer.kept:
            self._subscriptions.of(sink)[name].subscription(sink, name).grant = transfer.target
        self.unsubscribe(sink, transfer.ended)

    def _end_logins(self) -> None:
        """Remove, a bounded number at a time, subscriptions whose log-in is no longer valid.

        All of them stop receiving at once. The client is not notified.
        """
        self._ended_logins += self.login_subscriptions.take_ended()
        for _ in range(ENDED_CHANNELS_PER_CALL):
            if not self._ended_logins:
                break
            grant = self._ended_logins[0]
            name, _ = grant.scopes.popitem()
            # The client may have subscribed again.
            if self._subscriptions.has_ended(grant.sink, name):
                self.unsubscribe(grant.sink, [name])
            if not grant.scopes:
                self._ended_logins.popleft()

    def subscribed(self, sink: MessageSink) -> list[str]:
        """Return the channels of a connection, oldest subscription first."""
        return list(self._subscriptions.of(sink))

    def change_id(self, instrument: str) -> int:
        """Return the number of the entry that last changed a book."""
        return self._subscriptions.change_id(instrument)

    def _update_stream(self, stream: ChannelStream) -> None:
        """Note whether a stream has snapshots to send, and drop one without subscriptions."""
        if stream.needs_snapshot:
            self._awaiting_snapshot[stream] = None
        else:
            self._awaiting_snapshot.pop(stream, None)
        if stream.unsubscribed:
            self._router.remove(stream)

    # Events

    def publish(self, entry: Entry, events: Sequence[Event]) -> None:
        """Answer requests and publish what an entry changed."""
        if entry.time >= self.login_subscriptions.next_check:
            self._end_logins()
        router = self._router
        router.sequence = entry.sequence
        handlers = self._handlers
        for event in events:
            handlers_of_type = handlers.get(type(event))
            if handlers_of_type is None:
                handlers_of_type = self._find_handlers(type(event))
            for handle in handlers_of_type:
                handle(event)
        if router.dirty_raw:
            self._flush(_RAW)

    def flush(self, interval: str) -> None:
        """Publish what changed on the channels of an interval, `100ms` or `agg2`.

        The slower one also sends snapshots to clients that had no room for a notification.
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
        """Return what to call for events of a type; cached until subscriptions change.

        Replies go first: the core emits answers before order events, which raw channels send at
        once. All other streams only record events until they are flushed.
        """
        candidates = (
            self.archive.handlers.get(kind),
            self._answer if issubclass(kind, Answer) else None,
            self._router.handler(kind),
        )
        handlers_of_type = self._handlers[kind] = tuple(handle for handle in candidates if handle)
        return handlers_of_type

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
        registered = self._pop_request(event.origin)
        if registered is not None:
            _, pending, sink = registered
            sink.reply(pending.answer(event))
