"""The scope of a log-in: parse, narrow, check and format the scope string of the API.

A scope is blank-separated tokens: the lifetime of the log-in (`connection`, or `session:<name>`),
permissions (`trade:read_write`), and bounds (`expires:<seconds>`, `ip:<address>`).
"""

import re
from functools import cache, lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

import msgspec

AREAS: Final = ("account", "trade", "wallet", "block_trade", "block_rfq", "custody")
LEVELS: Final = ("none", "read", "read_write")

# The API documents no levels for this area: any level is ignored and grants nothing.
_UNDOCUMENTED: Final = "custody"

# A UUID has 36 characters, which leaves room for a prefix. Names are stored by key, hence a bound.
_SESSION_NAME = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_LABEL = re.compile(r"[\w.:-]{1,64}", re.ASCII)
_SECONDS = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)


class ScopeError(ValueError):
    """A scope token that cannot be parsed; the message names it."""


class Scope(msgspec.Struct, frozen=True, gc=False):
    """A parsed scope. `levels` maps an area to an index into LEVELS; omitted areas are absent.

    `session` None is the `connection` scope: the log-in ends with its connection.
    """

    levels: dict[str, int]
    mainaccount: bool = False
    session: str | None = None
    expires_seconds: int | None = None
    address: str | None = None
    name: str | None = None

    def allows(self, need: str) -> bool:
        """Whether a method that needs `need` (`trade:read`, `mainaccount`) may be called."""
        if need == "mainaccount":
            return self.mainaccount
        area, level = _area_and_level(need)
        return self.levels.get(area, 0) >= level

    def within(self, limit: "Scope") -> "Scope":
        """Return this requested scope reduced to a key's `limit`; a request is never rejected.

        A request that names no area gets all areas of the key, because bots that only name a
        session expect to trade. A request that names areas gets only those. `mainaccount` always
        comes with the key, and a key that is bound to an address stays bound to it.
        """
        requested = self.levels or limit.levels
        return Scope(
            levels={
                area: min(level, limit.levels.get(area, 0))
                for area, level in requested.items()
                if min(level, limit.levels.get(area, 0))
            },
            mainaccount=limit.mainaccount,
            session=self.session,
            expires_seconds=min(
                (each for each in (self.expires_seconds, limit.expires_seconds) if each),
                default=None,
            ),
            address=limit.address or self.address,
            name=self.name or limit.name,
        )

    def __str__(self) -> str:
        """Format the scope as the API does: session or connection first."""
        tokens = [f"session:{self.session}" if self.session else "connection"]
        if self.mainaccount:
            tokens.append("mainaccount")
        tokens += [f"{area}:{LEVELS[self.levels[area]]}" for area in AREAS if area in self.levels]
        if self.expires_seconds:
            tokens.append(f"expires:{self.expires_seconds}")
        if self.address:
            tokens.append(f"ip:{self.address}")
        if self.name:
            tokens.append(f"name:{self.name}")
        return " ".join(tokens)


@cache
def _area_and_level(need: str) -> tuple[str, int]:
    """Return the area and level of a method's scope, cached: there are few."""
    area, _, level = need.partition(":")
    return area, LEVELS.index(level)


def parse_scope(text: str, *, strict: bool = False) -> Scope:
    """Parse a scope string; of two tokens about the same thing, the later one applies.

    An unknown permission grants nothing and is no error, because clients request what other venues
    have. It still counts as naming an area, so a request for it alone does not get all areas of the
    key. `strict` rejects it, for scopes in a configuration. Raises ScopeError for a session,
    lifetime, address, label or level outside its grammar, which would otherwise be misread.
    """
    levels: dict[str, int] = {}
    mainaccount = False
    session: str | None = None
    expires: int | None = None
    address: str | None = None
    name: str | None = None
    for token in text.split():
        head, _, tail = token.partition(":")
        if token == "connection":  # noqa: S105 - the API calls it so; not a secret
            session = None
        elif token == "mainaccount":  # noqa: S105
            mainaccount = True
        elif head == "session":
            session = _matched(_SESSION_NAME, tail, token)
        elif head == "expires":
            expires = int(_matched(_SECONDS, tail, token))
        elif head == "ip":
            address = None if tail == "*" else _address(tail, token)
        elif head == "name":
            name = _matched(_LABEL, tail, token)
        elif head in AREAS and tail in LEVELS:
            levels[head] = LEVELS.index(tail)
        elif strict:
            raise ScopeError(
                f"unknown scope `{token}`: areas are {', '.join(AREAS)}, levels {', '.join(LEVELS)}"
            )
        elif head in AREAS and head != _UNDOCUMENTED:
            raise ScopeError(f"cannot read scope `{token}`: levels are {', '.join(LEVELS)}")
        else:
            levels[head] = 0
    return Scope(levels, mainaccount, session, expires, address, name)


@lru_cache(maxsize=4_096)
def canonical_address(address: str) -> str:
    """Return an IP address in the form in which addresses are compared.

    An IPv4-mapped IPv6 address becomes its IPv4 address. Text that is no IP address (a Unix socket)
    is returned as it is.
    """
    try:
        return _canonical(address)
    except ValueError:
        return address


def _canonical(address: str) -> str:
    parsed = ip_address(address)
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def _address(value: str, token: str) -> str:
    try:
        return _canonical(value)
    except ValueError as error:
        raise ScopeError(f"cannot read scope `{token}`: expected an IP address, or *") from error


def _matched(pattern: re.Pattern[str], value: str, token: str) -> str:
    if not pattern.fullmatch(value):
        raise ScopeError(f"cannot read scope `{token}`")
    return value
