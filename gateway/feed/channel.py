"""One channel's subscriptions, and what each kind of channel does with a reader who is too slow.

A stream collects what happened to it (`note…` methods of its subclasses) until it is flushed:
a raw one at the end of each entry, a thinned one by the timer. Its data is encoded once for all
subscriptions; only the channel's name, which clients may spell differently, is their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from attrs import define, field

from gateway.feed.channel_names import Channel
from gateway.feed.login_subscriptions import ChannelGrant
from gateway.protocol import jsonrpc
from gateway.protocol.close_codes import TOO_SLOW
from gateway.protocol.message_sink import MessageSink

_TAIL: Final = b"}}"


@define(eq=False)
class SubscriberGroup:
    """Those who listen to a channel under one spelling of its name, by their sinks' numbers."""

    name: str
    subscriptions: dict[int, Subscription] = field(factory=dict, init=False)
    _head: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._head = (
            b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":'
            + jsonrpc.encode(self.name)
            + b',"data":'
        )

    def notification(self, data: bytes) -> bytes:
        """A notification as they are to read it."""
        return b"".join((self._head, data, _TAIL))


@define(eq=False)
class Subscription:
    """One subscription; where its `grant` has ended it is told nothing, and will be removed."""

    sink: MessageSink
    group: SubscriberGroup
    grant: ChannelGrant | None = None

    @property
    def ended(self) -> bool:
        """Whether it is told nothing."""
        return self.grant is not None and self.grant.ended


@define(eq=False)
class ChannelStream(ABC):
    """A channel with at least one subscription; `account` is 0 where it is public.

    `behind` holds those who are to be sent the channel's state, because they are new or missed a
    change, and whether the last try to send it found no room.
    """

    channel: Channel
    account: int
    rank: int = field(init=False)
    interval: str = field(init=False)
    groups: dict[str, SubscriberGroup] = field(factory=dict, init=False)
    needs_snapshot: dict[Subscription, bool] = field(factory=dict, init=False)
    _recipients: tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...] | None = field(
        default=None, init=False
    )

    stateful: ClassVar[bool] = False
    """Whether subscriptions are sent the channel's state before they are sent changes of it."""

    def __attrs_post_init__(self) -> None:
        # Asked for with every event; an enumeration's attributes and hash are calls.
        self.rank, self.interval = self.channel.topic.rank, self.channel.interval.value

    @abstractmethod
    def take_due(self) -> list[bytes]:
        """The encoded data of each notification that is due; nothing is due afterwards."""

    @abstractmethod
    def push(self, data: bytes) -> None:
        """Send one notification to every subscription."""

    def flush(self) -> None:
        """Send what is due."""
        for data in self.take_due():
            self.push(data)

    @abstractmethod
    def send_snapshots(self, *, retry: bool = False) -> None:
        """Send the channel's state, where it has one, to the subscriptions who are behind.

        Those who had no room for it are left out but for a `retry`: a state may be large, and
        readers that never read must not have it made for them over and over.
        """

    @property
    def unsubscribed(self) -> bool:
        """Whether nobody listens any more."""
        return not self.groups

    def add(self, sink: MessageSink, name: str) -> None:
        """Listen under that name; who does so already starts anew."""
        self.remove(sink, name)
        self._recipients = None
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = SubscriberGroup(name)
        subscription = group.subscriptions[sink.number] = Subscription(sink, group)
        if self.stateful:
            self.needs_snapshot[subscription] = False

    def remove(self, sink: MessageSink, name: str) -> None:
        """Listen no more; nothing happens to one who does not."""
        group = self.groups.get(name)
        subscription = group.subscriptions.pop(sink.number, None) if group else None
        if group and subscription:
            self._recipients = None
            self.needs_snapshot.pop(subscription, None)
            if not group.subscriptions:
                del self.groups[name]

    def subscription(self, sink: MessageSink, name: str) -> Subscription:
        """The subscription of a connection that listens under that name."""
        return self.groups[name].subscriptions[sink.number]

    def recipients(self) -> tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...]:
        """Those who listen now, by spelling; kept until others do.

        Copies, because a sink that is cut may leave at once.
        """
        everybody = self._recipients
        if everybody is None:
            everybody = self._recipients = tuple(
                (group, tuple(group.subscriptions.values())) for group in self.groups.values()
            )
        return everybody


class StatelessStream(ChannelStream):
    """Tells what happens from now on."""

    def send_snapshots(self, *, retry: bool = False) -> None:
        """Nobody is ever behind."""


class PrivateStream(StatelessStream):
    """Belongs to an account: nothing is left out; the sink cuts who has no room for it."""

    def push(self, data: bytes) -> None:
        """Send one notification to every subscription."""
        for group, subscriptions in self._recipients or self.recipients():
            frame = group.notification(data)
            for subscription in subscriptions:
                grant = subscription.grant
                if grant is None or not grant.ended:
                    subscription.sink.send_private(frame)


class LosslessStream(StatelessStream):
    """Public, but useless with gaps: who has no room for it is cut."""

    def push(self, data: bytes) -> None:
        """Send one notification to every subscription."""
        for group, subscriptions in self.recipients():
            frame = group.notification(data)
            for subscription in subscriptions:
                if not subscription.sink.try_send_public(frame):
                    subscription.sink.disconnect(*TOO_SLOW)


class StateStream(ChannelStream):
    """Tells a state that a later one replaces: who misses one gets the next.

    Under the raw interval every state was asked for: there, who misses one is cut.
    """

    stateful: ClassVar[bool] = True
    sends_full_state: ClassVar[bool] = True
    """Whether each notification is all of the state, so that nobody is behind who got it."""

    @abstractmethod
    def snapshot(self) -> list[bytes]:
        """The data that brings a new subscription up to date."""

    @property
    def conflated(self) -> bool:
        """Whether a subscription may miss a state."""
        return not self.channel.needs_login

    def push(self, data: bytes) -> None:
        """Send one notification to those who can use it, and the state to those who are new."""
        waiting = {} if self.sends_full_state else self.needs_snapshot.copy()
        if waiting:
            self.send_snapshots()
        behind = self.needs_snapshot
        for group, subscriptions in self.recipients():
            frame = group.notification(data)
            for subscription in subscriptions:
                if subscription in waiting:
                    continue
                if not subscription.sink.try_send_public(frame):
                    self._record_miss(subscription)
                elif behind:
                    behind.pop(subscription, None)

    def send_snapshots(self, *, retry: bool = False) -> None:
        """Send the state to subscriptions that need it; those without room before, on `retry`."""
        behind = [
            subscription
            for subscription, missed in self.needs_snapshot.items()
            if retry or not missed
        ]
        if not behind:
            return
        state = self.snapshot()
        frames: dict[SubscriberGroup, list[bytes]] = {}
        for subscription in behind:
            group = subscription.group
            if group not in frames:
                frames[group] = [group.notification(data) for data in state]
            for frame in frames[group]:
                if not self._send(subscription, frame):
                    break

    def _send(self, subscription: Subscription, frame: bytes) -> bool:
        """Send the whole state or the next change of it; who has no room is behind, or cut."""
        if subscription.sink.try_send_public(frame):
            self.needs_snapshot.pop(subscription, None)
            return True
        self._record_miss(subscription)
        return False

    def _record_miss(self, subscription: Subscription) -> None:
        self.needs_snapshot[subscription] = True
        if not self.conflated:
            subscription.sink.disconnect(*TOO_SLOW)


def join(items: list[bytes]) -> bytes:
    """A JSON list of what is encoded already."""
    return b"[" + b",".join(items) + b"]"
