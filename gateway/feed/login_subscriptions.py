"""Private subscriptions belong to the log-in that made them, and end with it.

A log-in ends by itself when its token expires, and by a plain call when its token is revoked; which
of them have ended is found out before the next private event is published. An entry costs no more
than to compare its time with `look_at`: the clock is read only when an end is near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

from attrs import define, field, frozen
from sortedcontainers import SortedDict

from gateway.access.tokens import Principal
from gateway.protocol.message_sink import MessageSink

# The feed's fast timer asks ten times a second. Ends that are nearer than this are asked for with
# every entry instead, so that a timer that is late costs no event more.
NEAR_MILLIS: Final = 1_000

# Milliseconds, after the end of every token.
NEVER: Final = 2**63


def _always(_login: Principal) -> bool:
    """For feeds without a venue, whose log-ins do not end."""
    return True


def _never() -> int:
    """For feeds without a venue: no time passes."""
    return 0


@define(eq=False)
class Lease:
    """What one log-in listens to on one connection.

    `own` says that `login` is the connection's, and not that of a token among the parameters.
    `scopes` are what its channels need, by the names that they are listened to under. What holds a
    lease that has `ended` is told nothing.
    """

    sink: MessageSink
    login: Principal
    own: bool
    number: int
    scopes: dict[str, str] = field(factory=dict)
    ended: bool = False


@frozen
class Passed:
    """Channels of a connection that another log-in of it took over, and those that have ended."""

    lease: Lease
    kept: list[str]
    ended: list[str]


@define(eq=False)
class Leases:
    """All leases. `counts` says whether a log-in still does, `now` the time that tokens go by.

    From `look_at` on, `ended` is to be asked before anything private is published. It is compared
    with venue time, which is that of the tokens as well unless the machine's clock was set or the
    venue's is moved by hand; then the feed's timer asks.
    """

    counts: Callable[[Principal], bool] = _always
    now: Callable[[], int] = _never
    look_at: int = field(default=NEVER, init=False)
    # By connection and name, and those of each connection.
    _held: dict[int, dict[str, Lease]] = field(factory=dict, init=False)
    _of_sink: dict[int, dict[Lease, None]] = field(factory=dict, init=False)
    _of_line: dict[int, dict[Lease, None]] = field(factory=dict, init=False)
    _by_expiry: SortedDict[tuple[int, int], Lease] = field(factory=SortedDict, init=False)
    _soonest: int = field(default=NEVER, init=False)
    # Lines of tokens of which some may count no more.
    _doubted: dict[int, None] = field(factory=dict, init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_expiry)

    def lease(self, sink: MessageSink, login: Principal, *, own: bool) -> Lease:
        """That of a log-in on a connection; it counts as soon as `take` puts a channel into it."""
        for lease in self._of_sink.get(sink.number, ()):
            if lease.own is own and lease.login == login:
                return lease
        return Lease(sink, login, own, next(self._numbers))

    def take(self, lease: Lease, name: str, scope: str) -> None:
        """Its log-in listens to a channel, instead of the one that did before."""
        number = lease.sink.number
        self.end(lease.sink, name)
        if not lease.scopes:
            self._of_sink.setdefault(number, {})[lease] = None
            self._of_line.setdefault(lease.login.line, {})[lease] = None
            self._by_expiry[lease.login.expires_at, lease.number] = lease
            self._look_ahead(self.now())
        lease.scopes[name] = scope
        self._held.setdefault(number, {})[name] = lease

    def end(self, sink: MessageSink, name: str) -> None:
        """A connection listens to a channel no more; nothing happens if it did not."""
        lease = self._held.get(sink.number, {}).get(name)
        if lease is None:
            return
        if len(lease.scopes) == 1:
            self._remove(lease)
        else:
            del self._held[sink.number][name]
        del lease.scopes[name]

    def forget(self, sink: MessageSink) -> None:
        """A connection listens to nothing any more."""
        for lease in tuple(self._of_sink.get(sink.number, ())):
            self._remove(lease)

    def renew(self, sink: MessageSink, login: Principal) -> Passed:
        """A connection's own log-in got other tokens: what was held by them goes on under these.

        But for the channels for which their scope is not enough.
        """
        held = self._of_sink.get(sink.number, ())
        line = [each for each in held if each.login.line == login.line]
        replaced = [each for each in line if each.own or each.login.generation < login.generation]
        return self._pass(sink, login, replaced, renewed=True)

    def succeed(self, sink: MessageSink, login: Principal) -> Passed:
        """Another log-in takes the place of a connection's own, and of what that listened to.

        But for channels of another account, those for which its scope is not enough, and all of a
        log-in that counts no more.
        """
        held = self._of_sink.get(sink.number, ())
        before = [each for each in held if each.own and each.login != login]
        return self._pass(sink, login, before, renewed=False)

    def doubt(self, line: int | None) -> None:
        """Tokens of a line, or any (None), may have been revoked. A plain call, at once in effect.

        Which of them still count is asked later: a refresh revokes the tokens of a connection
        that is about to have the next.
        """
        lines = self._of_line if line is None else (line,)
        for each in lines:
            if each in self._of_line:
                self._doubted[each] = None
                self.look_at = 0

    def ended(self) -> Sequence[Lease]:
        """The leases whose log-in does not count any more; they have ended, with their channels."""
        now = self.now()
        if now < self._soonest and not self._doubted:
            self._look_ahead(now)
            return ()
        late = [self._by_expiry[key] for key in self._by_expiry.irange(None, (now, NEVER))]
        for line in self._doubted:
            late += [lease for lease in self._of_line[line] if not self.counts(lease.login)]
        self._doubted.clear()
        ended = list(dict.fromkeys(late))
        for lease in ended:
            lease.ended = True
            self._remove(lease)
        self._look_ahead(now)
        return ended

    def _pass(
        self, sink: MessageSink, login: Principal, leases: Sequence[Lease], *, renewed: bool
    ) -> Passed:
        for lease in leases:
            lease.ended = True
            self._remove(lease)
        passed = Passed(self.lease(sink, login, own=True), [], [])
        for lease in leases:
            same = lease.login.account == login.account
            follows = same and (renewed or self.counts(lease.login))
            for name, scope in lease.scopes.items():
                if follows and login.scope.allows(scope):
                    self.take(passed.lease, name, scope)
                    passed.kept.append(name)
                else:
                    passed.ended.append(name)
        return passed

    def _remove(self, lease: Lease) -> None:
        number, login = lease.sink.number, lease.login
        mine, leases, line = self._held[number], self._of_sink[number], self._of_line[login.line]
        for name in lease.scopes:
            del mine[name]
        del leases[lease], line[lease], self._by_expiry[login.expires_at, lease.number]
        if not leases:
            del self._of_sink[number], self._held[number]
        if not line:
            del self._of_line[login.line]
            self._doubted.pop(login.line, None)

    def _look_ahead(self, now: int) -> None:
        self._soonest = self._by_expiry.peekitem(0)[0][0] if self._by_expiry else NEVER
        near = self._soonest - NEAR_MILLIS
        self.look_at = 0 if self._doubted or near <= now else near
