"""The subscriptions of one channel, and how each kind of channel treats a slow reader.

A stream collects events (the `note…` methods of its subclasses) until it is flushed: a raw one at
the end of each entry, a conflated one by the timer. Its data is encoded once for all
subscriptions; only the channel name, which clients may spell differently, differs among them.
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
    """The subscriptions under one spelling of a channel's name, by the number of their sink."""

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
        """Return the whole notification for data that is encoded already."""
        return b"".join((self._head, data, _TAIL))


@define(eq=False)
class Subscription:
    """One subscription. It is sent nothing once its `grant` has ended, and is removed later."""

    sink: MessageSink
    group: SubscriberGroup
    grant: ChannelGrant | None = None

    @property
    def ended(self) -> bool:
        """Whether the log-in that it depends on has ended."""
        return self.grant is not None and self.grant.ended


@define(eq=False)
class ChannelStream(ABC):
    """A channel with at least one subscription; `account` is 0 where the channel is public.

    `needs_snapshot` holds the subscriptions to be sent the channel's state, because they are new
    or missed a change; the value says whether the last attempt found no room in the outbox.
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
    """Whether a subscription is sent the channel's state before changes of it."""

    def __attrs_post_init__(self) -> None:
        # Cached, because each event reads them and an attribute of an enum member is a call.
        self.rank, self.interval = self.channel.topic.rank, self.channel.interval.value

    @abstractmethod
    def take_due(self) -> list[bytes]:
        """Return the encoded data of each notification that is due, and forget it."""

    @abstractmethod
    def push(self, data: bytes) -> None:
        """Send one notification to every subscription."""

    def flush(self) -> None:
        """Send the notifications that are due."""
        for data in self.take_due():
            self.push(data)

    @abstractmethod
    def send_snapshots(self, *, retry: bool = False) -> None:
        """Send the channel's state to the subscriptions that need it.

        Those whose outbox had no room are skipped unless `retry` is set: a state may be large, and
        should not be encoded again and again for clients that never read.
        """

    @property
    def unsubscribed(self) -> bool:
        """Whether no subscription is left."""
        return not self.groups

    def add(self, sink: MessageSink, name: str) -> None:
        """Subscribe under a name; an existing subscription starts anew."""
        self.remove(sink, name)
        self._recipients = None
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = SubscriberGroup(name)
        subscription = group.subscriptions[sink.number] = Subscription(sink, group)
        if self.stateful:
            self.needs_snapshot[subscription] = False

    def remove(self, sink: MessageSink, name: str) -> None:
        """Remove a subscription, if there is one."""
        group = self.groups.get(name)
        subscription = group.subscriptions.pop(sink.number, None) if group else None
        if group and subscription:
            self._recipients = None
            self.needs_snapshot.pop(subscription, None)
            if not group.subscriptions:
                del self.groups[name]

    def subscription(self, sink: MessageSink, name: str) -> Subscription:
        """Return the subscription of a connection under a name."""
        return self.groups[name].subscriptions[sink.number]

    def recipients(self) -> tuple[tuple[SubscriberGroup, tuple[Subscription, ...]], ...]:
        """Return the subscriptions by spelling, cached until they change.

        They are copies, because a sink that is disconnected may unsubscribe during a push.
        """
        recipients = self._recipients
        if recipients is None:
            recipients = self._recipients = tuple(
                (group, tuple(group.subscriptions.values())) for group in self.groups.values()
            )
        return recipients


class StatelessStream(ChannelStream):
    """A channel whose notifications need no initial state."""

    def send_snapshots(self, *, retry: bool = False) -> None:
        """Do nothing: there is no state to send."""


class PrivateStream(StatelessStream):
    """A channel of one account. It loses nothing: the sink disconnects a client without room."""

    def push(self, data: bytes) -> None:
        """Send one notification to every subscription."""
        for group, subscriptions in self._recipients or self.recipients():
            message = group.notification(data)
            for subscription in subscriptions:
                grant = subscription.grant
                if grant is None or not grant.ended:
                    subscription.sink.send_private(message)


class LosslessStream(StatelessStream):
    """A public channel that is useless with gaps: a client without room is disconnected."""

    def push(self, data: bytes) -> None:
        """Send one notification to every subscription."""
        for group, subscriptions in self.recipients():
            message = group.notification(data)
            for subscription in subscriptions:
                if not subscription.sink.try_send_public(message):
                    subscription.sink.disconnect(*TOO_SLOW)


class StateStream(ChannelStream):
    """A channel of a state that a later one replaces: a client that misses one gets the next.

    A raw channel publishes every state: there, a client that misses one is disconnected.
    """

    stateful: ClassVar[bool] = True
    sends_full_state: ClassVar[bool] = True
    """Whether each notification holds the full state, and so replaces a snapshot."""

    @abstractmethod
    def snapshot(self) -> list[bytes]:
        """Return the data that gives a new subscription the present state."""

    @property
    def conflated(self) -> bool:
        """Whether a subscription may miss states."""
        return not self.channel.needs_login

    def push(self, data: bytes) -> None:
        """Send one notification; subscriptions that need a snapshot get that instead."""
        snapshot_only = {} if self.sends_full_state else self.needs_snapshot.copy()
        if snapshot_only:
            self.send_snapshots()
        needs_snapshot = self.needs_snapshot
        for group, subscriptions in self.recipients():
            message = group.notification(data)
            for subscription in subscriptions:
                if subscription in snapshot_only:
                    continue
                if not subscription.sink.try_send_public(message):
                    self._record_miss(subscription)
                elif needs_snapshot:
                    needs_snapshot.pop(subscription, None)

    def send_snapshots(self, *, retry: bool = False) -> None:
        """Send the state to subscriptions that need it; to those without room only on `retry`."""
        targets = [
            subscription
            for subscription, missed in self.needs_snapshot.items()
            if retry or not missed
        ]
        if not targets:
            return
        state = self.snapshot()
        messages: dict[SubscriberGroup, list[bytes]] = {}
        for subscription in targets:
            group = subscription.group
            if group not in messages:
                messages[group] = [group.notification(data) for data in state]
            for message in messages[group]:
                if not self._send(subscription, message):
                    break

    def _send(self, subscription: Subscription, message: bytes) -> bool:
        """Send the full state or a change; a subscription without room has missed it."""
        if subscription.sink.try_send_public(message):
            self.needs_snapshot.pop(subscription, None)
            return True
        self._record_miss(subscription)
        return False

    def _record_miss(self, subscription: Subscription) -> None:
        self.needs_snapshot[subscription] = True
        if not self.conflated:
            subscription.sink.disconnect(*TOO_SLOW)


def join(items: list[bytes]) -> bytes:
    """Return a JSON list of items that are encoded already."""
    return b"[" + b",".join(items) + b"]"
