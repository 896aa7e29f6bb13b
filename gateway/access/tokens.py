"""Access and refresh tokens: signed, so that nothing is stored but what was taken back.

Every log-in opens a *family* of tokens; a refresh continues it with the next generation, and the
generations before stop counting. The secret is drawn per process: a restart ends all tokens, as it
ends all sessions.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from attrs import Factory, define, field

from gateway.access.scope import Scope, canonical_address, parse_scope

HTTP: Final = "http"
"""The connection of every HTTP request: a token issued over HTTP is good for all of HTTP."""

# What the API grants to API keys today. Our tokens end with the process, so years never pass.
LIFETIME_SECONDS: Final = 31_536_000

TOKEN_SECRET_BYTES: Final = 32
"""As long as the signature that it makes."""

# The API's number; the oldest named session of a key gives way.
SESSIONS_PER_KEY: Final = 16

# Lines remembered as cut: some 10 MB. Only a refresh or a log-out with invalidation adds one.
MAX_REVOKED_FAMILIES: Final = 100_000


class AuthError(Exception):
    """A log-in or a token refused, as the API says it: `code`, `message`, `data`."""

    def __init__(self, code: int, message: str, data: dict[str, str] | None = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data


def unauthorized(reason: str) -> AuthError:
    """The refusal of a token: 13009."""
    return AuthError(13009, "unauthorized", {"reason": reason})


class Principal(msgspec.Struct, frozen=True, gc=False):
    """The account and scope that a request is authorized for.

    `expires_at` is in milliseconds. `family` is 0 where a request brought its own credentials.
    """

    client_id: str
    account: int
    scope: Scope
    expires_at: int
    family: int = 0
    generation: int = 0


class _Claims(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What a token says; `connection` is None in a named session."""

    kind: Literal["access", "refresh"]
    client_id: str
    account: int
    scope: str
    connection: str | None
    expires_at: int
    family: int
    generation: int


class TokenPair(msgspec.Struct, frozen=True, gc=False):
    """One generation of a family, with the principal that its access token stands for."""

    access: str
    refresh: str
    expires_seconds: int
    principal: Principal


def _ignore(_line: int | None) -> None:
    """For tokens that nothing hangs on."""


@define
class Tokens:
    """Issues, reads, continues and cuts tokens. `secret` signs them: 32 random bytes.

    All times are wall-clock milliseconds, passed in. `revoked` is told at once of each family of
    which tokens have been cut, and None where that may be any.
    """

    secret: bytes = field(repr=False)
    revoked: Callable[[int | None], None] = field(default=_ignore, repr=False)
    _next_family: int = field(default=1, init=False)
    # The oldest valid generation of families of which some were revoked. Families older than
    # `_oldest_family` are invalid altogether.
    _oldest_valid: dict[int, int] = field(default=Factory(dict), init=False)
    _oldest_family: int = field(default=1, init=False)
    # Client id to its named sessions and their families, oldest first.
    _sessions: dict[str, dict[str, int]] = field(default=Factory(dict), init=False)

    def issue(
        self, client_id: str, account: int, scope: Scope, connection: str, now: int
    ) -> TokenPair:
        """Tokens of a new log-in. A named session that exists already is joined."""
        family = self._family(client_id, scope.session)
        return self._pair(client_id, account, scope, connection, now, family)

    def read(self, token: str, connection: str, address: str, now: int) -> Principal:
        """The principal of an access token. Raises AuthError 13009 unless it counts here and now.

        `connection` scope counts on the connection that it was issued on; `ip:` from its address.
        """
        claims = self._verified(token, "access", connection, now)
        principal = Principal(
            claims.client_id,
            claims.account,
            parse_scope(claims.scope),
            claims.expires_at,
            claims.family,
            claims.generation,
        )
        require_address(principal.scope, address)
        return principal

    def refresh(
        self, token: str, connection: str, address: str, now: int, scope: str = ""
    ) -> TokenPair:
        """The next generation of a family, narrowed to `scope`; the one before stops counting.

        Raises AuthError 13009 unless `token` is a refresh token that counts, and ScopeError.
        """
        claims = self._verified(token, "refresh", connection, now)
        held = parse_scope(claims.scope)
        require_address(held, address)
        # The session stays: its name is in the family.
        granted = msgspec.structs.replace(parse_scope(scope).within(held), session=held.session)
        self._revoke(claims.family, claims.generation + 1)
        return self._pair(claims.client_id, claims.account, granted, connection, now, claims.family)

    def is_valid(self, principal: Principal, now: int) -> bool:
        """Whether the token behind a held principal has neither expired nor been cut."""
        family = principal.family
        within = now < principal.expires_at and family >= self._oldest_family
        return within and principal.generation >= self._oldest_valid.get(family, 0)

    def require_valid(self, principal: Principal, now: int) -> None:
        """Raise AuthError 13009 if the token behind a held principal has expired or was cut."""
        if principal.expires_at <= now:
            raise unauthorized("token has expired")
        if not self._is_current(principal.family, principal.generation):
            raise unauthorized("token was replaced or invalidated")

    def invalidate(self, principal: Principal) -> None:
        """End a family: none of its tokens counts any more, and its named session is gone."""
        sessions = self._sessions.get(principal.client_id, {})
        session = principal.scope.session
        if session is not None and sessions.get(session) == principal.family:
            del sessions[session]
        self._revoke(principal.family, principal.generation + 1)

    def _pair(
        self, client_id: str, account: int, scope: Scope, connection: str, now: int, family: int
    ) -> TokenPair:
        generation = self._oldest_valid.get(family, 0)
        seconds = min(scope.expires_seconds or LIFETIME_SECONDS, LIFETIME_SECONDS)
        access = _Claims(
            kind="access",
            client_id=client_id,
            account=account,
            scope=str(scope),
            connection=None if scope.session else connection,
            expires_at=now + seconds * 1_000,
            family=family,
            generation=generation,
        )
        # `expires:` shortens the access token; the refresh token is there to outlive it.
        refresh = msgspec.structs.replace(
            access, kind="refresh", expires_at=now + LIFETIME_SECONDS * 1_000
        )
        principal = Principal(client_id, account, scope, access.expires_at, family, generation)
        return TokenPair(self._signed(access), self._signed(refresh), seconds, principal)

    def _family(self, client_id: str, session: str | None) -> int:
        """The family of a log-in: that of its named session, or a new one."""
        if session is None:
            return self._open_family()
        sessions = self._sessions.setdefault(client_id, {})
        family = sessions.pop(session, None)
        if family is None or family < self._oldest_family:
            family = self._open_family()
        sessions[session] = family
        if len(sessions) > SESSIONS_PER_KEY:
            oldest = sessions.pop(next(iter(sessions)))
            self._revoke(oldest, self._oldest_valid.get(oldest, 0) + 1)
        return family

    def _open_family(self) -> int:
        family = self._next_family
        self._next_family += 1
        return family

    def _revoke(self, family: int, oldest_valid: int) -> None:
        """Let generations below `oldest_valid` of a family count no more.

        A full memory forgets the older half of the families and refuses all up to there: who held
        one has to log in again, but nothing that was taken back comes to life.
        """
        if family < self._oldest_family:
            return
        self._oldest_valid[family] = oldest_valid
        self.revoked(family)
        if len(self._oldest_valid) > MAX_REVOKED_FAMILIES:
            kept = sorted(self._oldest_valid)[len(self._oldest_valid) // 2 :]
            self._oldest_family = kept[0]
            self._oldest_valid = {each: self._oldest_valid[each] for each in kept}
            self.revoked(None)

    def _is_current(self, family: int, generation: int) -> bool:
        return family >= self._oldest_family and generation >= self._oldest_valid.get(family, 0)

    def _verified(
        self, token: str, kind: Literal["access", "refresh"], connection: str, now: int
    ) -> _Claims:
        payload, _, _ = token.rpartition(".")
        # Compared as bytes, whole and in constant time, before anything is decoded.
        if not hmac.compare_digest(_bytes(token), _bytes(self._sealed(payload))):
            raise unauthorized("not a token of this venue")
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload), type=_Claims)
        if claims.kind != kind:
            raise unauthorized(f"token is of kind {claims.kind}, not {kind}")
        if claims.expires_at <= now:
            raise unauthorized("token has expired")
        if claims.connection is not None and claims.connection != connection:
            raise unauthorized("token belongs to another connection")
        if not self._is_current(claims.family, claims.generation):
            raise unauthorized("token was replaced or invalidated")
        return claims

    def _signed(self, claims: _Claims) -> str:
        return self._sealed(base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode())

    def _sealed(self, payload: str) -> str:
        seal = hmac.digest(self.secret, _bytes(payload), hashlib.sha256)
        return f"{payload}.{base64.urlsafe_b64encode(seal).decode().rstrip('=')}"


def require_address(scope: Scope, address: str) -> None:
    """Raise AuthError 13009 if `scope` is bound to another address than the client's."""
    if scope.address is not None and scope.address != canonical_address(address):
        raise unauthorized("bound to another address")


def _bytes(text: str) -> bytes:
    """Bytes of what a client sent; lone surrogates, which JSON can escape, included."""
    return text.encode("utf-8", "surrogatepass")
