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
NO_EXPIRY: Final = 2**63


def _always(_login: Principal) -> bool:
    """For feeds without a venue, whose log-ins do not end."""
    return True


def _never() -> int:
    """For feeds without a venue: no time passes."""
    return 0


@define(eq=False)
class ChannelGrant:
    """What one log-in listens to on one connection.

    `own` says that `login` is the connection's, and not that of a token among the parameters.
    `scopes` are what its channels need, by the names that they are listened to under. What holds a
    grant that has `ended` is told nothing.
    """

    sink: MessageSink
    login: Principal
    own: bool
    number: int
    scopes: dict[str, str] = field(factory=dict)
    ended: bool = False


@frozen
class ChannelTransfer:
    """Channels of a connection that another log-in of it took over, and those that have ended."""

    target: ChannelGrant
    kept: list[str]
    ended: list[str]


@define(eq=False)
class LoginSubscriptions:
    """All grants. `counts` says whether a log-in still does, `now` the time that tokens go by.

    From `look_at` on, `ended` is to be asked before anything private is published. It is compared
    with venue time, which is that of the tokens as well unless the machine's clock was set or the
    venue's is moved by hand; then the feed's timer asks.
    """

    is_valid: Callable[[Principal], bool] = _always
    now: Callable[[], int] = _never
    next_check: int = field(default=NO_EXPIRY, init=False)
    # By connection and name, and those of each connection.
    _by_name: dict[int, dict[str, ChannelGrant]] = field(factory=dict, init=False)
    _of_sink: dict[int, dict[ChannelGrant, None]] = field(factory=dict, init=False)
    _of_family: dict[int, dict[ChannelGrant, None]] = field(factory=dict, init=False)
    _by_expiry: SortedDict[tuple[int, int], ChannelGrant] = field(factory=SortedDict, init=False)
    _earliest_expiry: int = field(default=NO_EXPIRY, init=False)
    # Lines of tokens of which some may count no more.
    _families_to_check: dict[int, None] = field(factory=dict, init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._by_expiry)

    def grant_for(self, sink: MessageSink, login: Principal, *, own: bool) -> ChannelGrant:
        """That of a log-in on a connection; it counts as soon as `take` puts a channel into it."""
        for grant in self._of_sink.get(sink.number, ()):
            if grant.own is own and grant.login == login:
                return grant
        return ChannelGrant(sink, login, own, next(self._numbers))

    def add(self, grant: ChannelGrant, name: str, scope: str) -> None:
        """Its log-in listens to a channel, instead of the one that did before."""
        number = grant.sink.number
        self.remove(grant.sink, name)
        if not grant.scopes:
            self._of_sink.setdefault(number, {})[grant] = None
            self._of_family.setdefault(grant.login.family, {})[grant] = None
            self._by_expiry[grant.login.expires_at, grant.number] = grant
            self._schedule_check(self.now())
        grant.scopes[name] = scope
        self._by_name.setdefault(number, {})[name] = grant

    def remove(self, sink: MessageSink, name: str) -> None:
        """A connection listens to a channel no more; nothing happens if it did not."""
        grant = self._by_name.get(sink.number, {}).get(name)
        if grant is None:
            return
        if len(grant.scopes) == 1:
            self._remove(grant)
        else:
            del self._by_name[sink.number][name]
        del grant.scopes[name]

    def remove_connection(self, sink: MessageSink) -> None:
        """A connection listens to nothing any more."""
        for grant in tuple(self._of_sink.get(sink.number, ())):
            self._remove(grant)

    def renew_login(self, sink: MessageSink, login: Principal) -> ChannelTransfer:
        """A connection's own log-in got other tokens: what was held by them goes on under these.

        But for the channels for which their scope is not enough.
        """
        held = self._of_sink.get(sink.number, ())
        family = [each for each in held if each.login.family == login.family]
        replaced = [each for each in family if each.own or each.login.generation < login.generation]
        return self._transfer(sink, login, replaced, renewed=True)

    def replace_login(self, sink: MessageSink, login: Principal) -> ChannelTransfer:
        """Another log-in takes the place of a connection's own, and of what that listened to.

        But for channels of another account, those for which its scope is not enough, and all of a
        log-in that counts no more.
        """
        held = self._of_sink.get(sink.number, ())
        before = [each for each in held if each.own and each.login != login]
        return self._transfer(sink, login, before, renewed=False)

    def recheck_family(self, family: int | None) -> None:
        """Check a family of tokens, or all (None), before the next private event is published.

        Which of them still count is asked later: a refresh revokes the tokens of a connection
        that is about to have the next.
        """
        families = self._of_family if family is None else (family,)
        for each in families:
            if each in self._of_family:
                self._families_to_check[each] = None
                self.next_check = 0

    def take_ended(self) -> Sequence[ChannelGrant]:
        """The grants whose log-in does not count any more; they have ended, with their channels."""
        now = self.now()
        if now < self._earliest_expiry and not self._families_to_check:
            self._schedule_check(now)
            return ()
        late = [self._by_expiry[key] for key in self._by_expiry.irange(None, (now, NO_EXPIRY))]
        for family in self._families_to_check:
            late += [grant for grant in self._of_family[family] if not self.is_valid(grant.login)]
        self._families_to_check.clear()
        ended = list(dict.fromkeys(late))
        for grant in ended:
            grant.ended = True
            self._remove(grant)
        self._schedule_check(now)
        return ended

    def _transfer(
        self, sink: MessageSink, login: Principal, grants: Sequence[ChannelGrant], *, renewed: bool
    ) -> ChannelTransfer:
        for grant in grants:
            grant.ended = True
            self._remove(grant)
        passed = ChannelTransfer(self.grant_for(sink, login, own=True), [], [])
        for grant in grants:
            same = grant.login.account == login.account
            follows = same and (renewed or self.is_valid(grant.login))
            for name, scope in grant.scopes.items():
                if follows and login.scope.allows(scope):
                    self.add(passed.target, name, scope)
                    passed.kept.append(name)
                else:
                    passed.ended.append(name)
        return passed

    def _remove(self, grant: ChannelGrant) -> None:
        number, login = grant.sink.number, grant.login
        mine, grants, family = (
            self._by_name[number],
            self._of_sink[number],
            self._of_family[login.family],
        )
        for name in grant.scopes:
            del mine[name]
        del grants[grant], family[grant], self._by_expiry[login.expires_at, grant.number]
        if not grants:
            del self._of_sink[number], self._by_name[number]
        if not family:
            del self._of_family[login.family]
            self._families_to_check.pop(login.family, None)

    def _schedule_check(self, now: int) -> None:
        self._earliest_expiry = self._by_expiry.peekitem(0)[0][0] if self._by_expiry else NO_EXPIRY
        near = self._earliest_expiry - NEAR_MILLIS
        self.next_check = 0 if self._families_to_check or near <= now else near
