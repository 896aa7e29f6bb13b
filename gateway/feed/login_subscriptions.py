"""Private subscriptions, each of which ends with the log-in that made it.

A log-in ends when its token expires or is revoked. Ended log-ins are found before the next private
event is published. For each entry this costs one comparison of its time with `next_check`: the
clock is read only when an expiry is near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

from attrs import define, field, frozen
from sortedcontainers import SortedDict

from gateway.access.tokens import Principal
from gateway.protocol.message_sink import MessageSink

# The feed's fast timer checks ten times a second. An expiry that is nearer than this is checked
# with every entry instead, so that a late timer lets no event through.
NEAR_MILLIS: Final = 1_000

# Milliseconds; later than any token expires.
NO_EXPIRY: Final = 2**63


def _always(_login: Principal) -> bool:
    """Treat every log-in as valid, for a feed without a venue."""
    return True


def _never() -> int:
    """Return a constant time, for a feed without a venue."""
    return 0


@define(eq=False)
class ChannelGrant:
    """The private channels of one log-in on one connection.

    `own` distinguishes the connection's log-in from a token among the parameters of a request.
    `scopes` maps the name of each channel to the scope that it needs. A subscription with an
    `ended` grant is sent nothing.
    """

    sink: MessageSink
    login: Principal
    own: bool
    number: int
    scopes: dict[str, str] = field(factory=dict)
    ended: bool = False


@frozen
class ChannelTransfer:
    """Channels that moved to another log-in of their connection, and channels that ended."""

    target: ChannelGrant
    kept: list[str]
    ended: list[str]


@define(eq=False)
class LoginSubscriptions:
    """All grants. `is_valid` checks a log-in; `now` is the clock by which tokens expire.

    From `next_check` on, call `take_ended` before publishing private events. `next_check` is
    compared with venue time, which is the clock of the tokens too, unless the machine's clock was
    set or venue time is moved by hand; in that case the feed's timer finds what has expired.
    """

    is_valid: Callable[[Principal], bool] = _always
    now: Callable[[], int] = _never
    next_check: int = field(default=NO_EXPIRY, init=False)
    # By the number of the connection, then by the name of the channel.
    _by_name: dict[int, dict[str, ChannelGrant]] = field(factory=dict, init=False)
    _of_sink: dict[int, dict[ChannelGrant, None]] = field(factory=dict, init=False)
    _of_family: dict[int, dict[ChannelGrant, None]] = field(factory=dict, init=False)
    _by_expiry: SortedDict[tuple[int, int], ChannelGrant] = field(factory=SortedDict, init=False)
    _earliest_expiry: int = field(default=NO_EXPIRY, init=False)
    # Token families of which some tokens may have been revoked.
    _families_to_check: dict[int, None] = field(factory=dict, init=False)
    _numbers: Iterator[int] = field(factory=count, init=False)

    def __len__(self) -> int:
        """Return the number of grants that hold a channel."""
        return len(self._by_expiry)

    def grant_for(self, sink: MessageSink, login: Principal, *, own: bool) -> ChannelGrant:
        """Return the grant of a log-in on a connection; `add` registers a new one."""
        for grant in self._of_sink.get(sink.number, ()):
            if grant.own is own and grant.login == login:
                return grant
        return ChannelGrant(sink, login, own, next(self._numbers))

    def add(self, grant: ChannelGrant, name: str, scope: str) -> None:
        """Add a channel to a grant, and remove it from the grant that held it before."""
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
        """Remove a channel of a connection, if a grant holds it."""
        grant = self._by_name.get(sink.number, {}).get(name)
        if grant is None:
            return
        if len(grant.scopes) == 1:
            self._remove(grant)
        else:
            del self._by_name[sink.number][name]
        del grant.scopes[name]

    def remove_connection(self, sink: MessageSink) -> None:
        """Remove all grants of a connection."""
        for grant in tuple(self._of_sink.get(sink.number, ())):
            self._remove(grant)

    def renew_login(self, sink: MessageSink, login: Principal) -> ChannelTransfer:
        """Move channels from earlier tokens of a connection's own log-in to its new ones.

        Channels end that the scope of the new tokens does not allow.
        """
        held = self._of_sink.get(sink.number, ())
        family = [each for each in held if each.login.family == login.family]
        replaced = [each for each in family if each.own or each.login.generation < login.generation]
        return self._transfer(sink, login, replaced, renewed=True)

    def replace_login(self, sink: MessageSink, login: Principal) -> ChannelTransfer:
        """Move channels from a connection's own log-in to the one that replaces it.

        Channels end where the account differs, where the new scope does not allow them, or where
        the earlier log-in is no longer valid.
        """
        held = self._of_sink.get(sink.number, ())
        before = [each for each in held if each.own and each.login != login]
        return self._transfer(sink, login, before, renewed=False)

    def recheck_family(self, family: int | None) -> None:
        """Schedule a check of a token family, or of all (None), before the next private event.

        Validity is checked later, because a refresh revokes tokens of a connection that is about
        to get new ones.
        """
        families = self._of_family if family is None else (family,)
        for candidate in families:
            if candidate in self._of_family:
                self._families_to_check[candidate] = None
                self.next_check = 0

    def take_ended(self) -> Sequence[ChannelGrant]:
        """Remove and return the grants whose log-in is no longer valid."""
        now = self.now()
        if now < self._earliest_expiry and not self._families_to_check:
            self._schedule_check(now)
            return ()
        found = [self._by_expiry[key] for key in self._by_expiry.irange(None, (now, NO_EXPIRY))]
        for family in self._families_to_check:
            found += [grant for grant in self._of_family[family] if not self.is_valid(grant.login)]
        self._families_to_check.clear()
        ended = list(dict.fromkeys(found))
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
        transfer = ChannelTransfer(self.grant_for(sink, login, own=True), [], [])
        for grant in grants:
            same = grant.login.account == login.account
            follows = same and (renewed or self.is_valid(grant.login))
            for name, scope in grant.scopes.items():
                if follows and login.scope.allows(scope):
                    self.add(transfer.target, name, scope)
                    transfer.kept.append(name)
                else:
                    transfer.ended.append(name)
        return transfer

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
