"""One channel's listeners, and what each kind of channel does with a reader who is too slow.

A stream collects what happened to it (`note…` methods of its subclasses) until it is flushed:
a raw one at the end of each entry, a thinned one by the timer. Its data is encoded once for all
listeners; only the channel's name, which clients may spell differently, is their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from attrs import define, field

from gateway.feed.channel_names import Channel
from gateway.feed.login_subscriptions import Lease
from gateway.protocol import jsonrpc
from gateway.protocol.close_codes import TOO_SLOW
from gateway.protocol.message_sink import MessageSink

_TAIL: Final = b"}}"


@define(eq=False)
class SubscriberGroup:
    """Those who listen to a channel under one spelling of its name, by their sinks' numbers."""

    name: str
    listeners: dict[int, Subscription] = field(factory=dict, init=False)
    _head: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._head = (
            b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":'
            + jsonrpc.encode(self.name)
            + b',"data":'
        )

    def frame(self, data: bytes) -> bytes:
        """A notification as they are to read it."""
        return b"".join((self._head, data, _TAIL))


@define(eq=False)
class Subscription:
    """One subscription; where its `lease` has ended it is told nothing, and will be removed."""

    sink: MessageSink
    audience: SubscriberGroup
    lease: Lease | None = None

    @property
    def silent(self) -> bool:
        """Whether it is told nothing."""
        return self.lease is not None and self.lease.ended


@define(eq=False)
class ChannelStream(ABC):
    """A channel with at least one listener; `account` is 0 where it is public.

    `behind` holds those who are to be sent the channel's state, because they are new or missed a
    change, and whether the last try to send it found no room.
    """

    channel: Channel
    account: int
    rank: int = field(init=False)
    interval: str = field(init=False)
    audiences: dict[str, SubscriberGroup] = field(factory=dict, init=False)
    behind: dict[Subscription, bool] = field(factory=dict, init=False)
    _everybody: tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...] | None = field(
        default=None, init=False
    )

    stateful: ClassVar[bool] = False
    """Whether listeners are sent the channel's state before they are sent changes of it."""

    def __attrs_post_init__(self) -> None:
        # Asked for with every event; an enumeration's attributes and hash are calls.
        self.rank, self.interval = self.channel.topic.rank, self.channel.interval.value

    @abstractmethod
    def take(self) -> list[bytes]:
        """The encoded data of each notification that is due; nothing is due afterwards."""

    @abstractmethod
    def push(self, data: bytes) -> None:
        """Send one notification to every listener."""

    def flush(self) -> None:
        """Send what is due."""
        for data in self.take():
            self.push(data)

    @abstractmethod
    def catch_up(self, *, retry: bool = False) -> None:
        """Send the channel's state, where it has one, to the listeners who are behind.

        Those who had no room for it are left out but for a `retry`: a state may be large, and
        readers that never read must not have it made for them over and over.
        """

    @property
    def unsubscribed(self) -> bool:
        """Whether nobody listens any more."""
        return not self.audiences

    def add(self, sink: MessageSink, name: str) -> None:
        """Listen under that name; who does so already starts anew."""
        self.remove(sink, name)
        self._everybody = None
        audience = self.audiences.get(name)
        if audience is None:
            audience = self.audiences[name] = SubscriberGroup(name)
        listener = audience.listeners[sink.number] = Subscription(sink, audience)
        if self.stateful:
            self.behind[listener] = False

    def remove(self, sink: MessageSink, name: str) -> None:
        """Listen no more; nothing happens to one who does not."""
        audience = self.audiences.get(name)
        listener = audience.listeners.pop(sink.number, None) if audience else None
        if audience and listener:
            self._everybody = None
            self.behind.pop(listener, None)
            if not audience.listeners:
                del self.audiences[name]

    def listener(self, sink: MessageSink, name: str) -> Subscription:
        """The subscription of a connection that listens under that name."""
        return self.audiences[name].listeners[sink.number]

    def everybody(self) -> tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...]:
        """Those who listen now, by spelling; kept until others do.

        Copies, because a sink that is cut may leave at once.
        """
        everybody = self._everybody
        if everybody is None:
            everybody = self._everybody = tuple(
                (audience, tuple(audience.listeners.values()))
                for audience in self.audiences.values()
            )
        return everybody


class StatelessStream(ChannelStream):
    """Tells what happens from now on."""

    def catch_up(self, *, retry: bool = False) -> None:
        """Nobody is ever behind."""


class PrivateStream(StatelessStream):
    """Belongs to an account: nothing is left out; the sink cuts who has no room for it."""

    def push(self, data: bytes) -> None:
        """Send one notification to every listener."""
        for audience, listeners in self._everybody or self.everybody():
            frame = audience.frame(data)
            for listener in listeners:
                lease = listener.lease
                if lease is None or not lease.ended:
                    listener.sink.send_private(frame)


class LosslessStream(StatelessStream):
    """Public, but useless with gaps: who has no room for it is cut."""

    def push(self, data: bytes) -> None:
        """Send one notification to every listener."""
        for audience, listeners in self.everybody():
            frame = audience.frame(data)
            for listener in listeners:
                if not listener.sink.try_send_public(frame):
                    listener.sink.disconnect(*TOO_SLOW)


class StateStream(ChannelStream):
    """Tells a state that a later one replaces: who misses one gets the next.

    Under the raw interval every state was asked for: there, who misses one is cut.
    """

    stateful: ClassVar[bool] = True
    whole: ClassVar[bool] = True
    """Whether each notification is all of the state, so that nobody is behind who got it."""

    @abstractmethod
    def snapshot(self) -> list[bytes]:
        """The data that brings a new listener up to date."""

    @property
    def conflated(self) -> bool:
        """Whether a listener may miss a state."""
        return not self.channel.needs_login

    def push(self, data: bytes) -> None:
        """Send one notification to those who can use it, and the state to those who are new."""
        waiting = {} if self.whole else self.behind.copy()
        if waiting:
            self.catch_up()
        behind = self.behind
        for audience, listeners in self.everybody():
            frame = audience.frame(data)
            for listener in listeners:
                if listener in waiting:
                    continue
                if not listener.sink.try_send_public(frame):
                    self._miss(listener)
                elif behind:
                    behind.pop(listener, None)

    def catch_up(self, *, retry: bool = False) -> None:
        """Send its state to the listeners who are behind, who missed it before only to `retry`."""
        behind = [listener for listener, missed in self.behind.items() if retry or not missed]
        if not behind:
            return
        state = self.snapshot()
        frames: dict[SubscriberGroup, list[bytes]] = {}
        for listener in behind:
            audience = listener.audience
            if audience not in frames:
                frames[audience] = [audience.frame(data) for data in state]
            for frame in frames[audience]:
                if not self._send(listener, frame):
                    break

    def _send(self, listener: Subscription, frame: bytes) -> bool:
        """Send the whole state or the next change of it; who has no room is behind, or cut."""
        if listener.sink.try_send_public(frame):
            self.behind.pop(listener, None)
            return True
        self._miss(listener)
        return False

    def _miss(self, listener: Subscription) -> None:
        self.behind[listener] = True
        if not self.conflated:
            listener.sink.disconnect(*TOO_SLOW)


def join(items: list[bytes]) -> bytes:
    """A JSON list of what is encoded already."""
    return b"[" + b",".join(items) + b"]"
