"""One channel's listeners, and what each kind of channel does with a reader who is too slow.

A stream collects what happened to it (`note…` methods of its subclasses) until it is flushed:
a raw one at the end of each entry, a thinned one by the timer. Its data is encoded once for all
listeners; only the channel's name, which clients may spell differently, is their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from attrs import define, field

from gateway.api import wire
from gateway.feed.channels import Channel
from gateway.sink import Sink

TOO_SLOW: Final = "connection_too_slow"
POLICY_VIOLATION: Final = 1008

_TAIL: Final = b"}}"


@define(eq=False)
class Listener:
    """One subscription: who, and under which spelling of the channel's name.

    `behind` is set until it has been sent the channel's state, and again when it misses a change;
    `missed` is set while the last try found no room.
    """

    sink: Sink
    name: str
    behind: bool
    missed: bool = field(default=False, init=False)
    head: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.head = (
            b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":'
            + wire.encode(self.name)
            + b',"data":'
        )


@define(eq=False)
class Stream(ABC):
    """A channel with at least one listener; `account` is 0 where it is public."""

    channel: Channel
    account: int
    listeners: dict[tuple[int, str], Listener] = field(factory=dict, init=False)

    stateful: ClassVar[bool] = False
    """Whether listeners are sent the channel's state before they are sent changes of it."""

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
    def late(self) -> bool:
        """Whether a listener is behind."""
        return any(listener.behind for listener in self.listeners.values())

    def add(self, sink: Sink, name: str) -> None:
        """Listen under that name; who does so already starts anew."""
        self.listeners[sink.number, name] = Listener(sink, name, self.stateful)

    def remove(self, sink: Sink, name: str) -> None:
        """Listen no more; nothing happens to one who does not."""
        self.listeners.pop((sink.number, name), None)


class Framer:
    """Frames one notification's data, once for each spelling of the channel's name."""

    __slots__ = ("data", "frames")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.frames: dict[bytes, bytes] = {}

    def __call__(self, listener: Listener) -> bytes:
        """The frame as that listener is to read it."""
        frame = self.frames.get(listener.head)
        if frame is None:
            frame = self.frames[listener.head] = listener.head + self.data + _TAIL
        return frame


class StatelessStream(Stream):
    """Tells what happens from now on."""

    def catch_up(self, *, retry: bool = False) -> None:
        """Nobody is ever behind."""


class PrivateStream(StatelessStream):
    """Belongs to an account: nothing is left out; the sink cuts who has no room for it."""

    def push(self, data: bytes) -> None:
        """Send one notification to every listener."""
        frame = Framer(data)
        # A copy, because a sink that is cut may leave at once.
        for listener in tuple(self.listeners.values()):
            listener.sink.private(frame(listener))


class ExactStream(StatelessStream):
    """Public, but useless with gaps: who has no room for it is cut."""

    def push(self, data: bytes) -> None:
        """Send one notification to every listener."""
        frame = Framer(data)
        for listener in tuple(self.listeners.values()):
            if not listener.sink.offer(frame(listener)):
                listener.sink.cut(POLICY_VIOLATION, TOO_SLOW)


class StateStream(Stream):
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
    def thinned(self) -> bool:
        """Whether a listener may miss a state."""
        return not self.channel.needs_login

    def push(self, data: bytes) -> None:
        """Send one notification to those who can use it, and the state to those who are new."""
        ready = [each for each in self.listeners.values() if self.whole or not each.behind]
        if not self.whole:
            self.catch_up()
        frame = Framer(data)
        for listener in ready:
            self.send(listener, frame(listener))

    def send(self, listener: Listener, frame: bytes) -> None:
        """Send the whole state or the next change of it; who has no room is behind, or cut."""
        listener.behind = listener.missed = not listener.sink.offer(frame)
        if listener.missed and not self.thinned:
            listener.sink.cut(POLICY_VIOLATION, TOO_SLOW)

    def catch_up(self, *, retry: bool = False) -> None:
        """Send its state to the listeners who are behind, who missed it before only to `retry`."""
        behind = [
            listener
            for listener in self.listeners.values()
            if listener.behind and (retry or not listener.missed)
        ]
        if behind:
            frames = [Framer(data) for data in self.snapshot()]
            for listener in behind:
                for frame in frames:
                    self.send(listener, frame(listener))
                    if listener.behind:
                        break


def join(items: list[bytes]) -> bytes:
    """A JSON list of what is encoded already."""
    return b"[" + b",".join(items) + b"]"
