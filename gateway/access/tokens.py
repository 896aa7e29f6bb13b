"""Access and refresh tokens. They are signed, so that only revocations need to be stored.

Every log-in opens a family of tokens. A refresh continues it with the next generation and
invalidates the earlier ones. The secret is drawn at start: a restart invalidates all tokens, as it
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
"""The connection of every HTTP request: a token issued over HTTP is valid for all of HTTP."""

# What the API grants to API keys today. Tokens end with the process, so years never pass.
LIFETIME_SECONDS: Final = 31_536_000

TOKEN_SECRET_BYTES: Final = 32
"""As long as the signature that it makes."""

# The API's number; a further session replaces the oldest named session of its key.
SESSIONS_PER_KEY: Final = 16

# Revoked families remembered: about 10 MB. Only a refresh or an invalidating log-out adds one.
MAX_REVOKED_FAMILIES: Final = 100_000


class AuthError(Exception):
    """A rejected log-in or token, with the `code`, `message` and `data` of the API."""

    def __init__(self, code: int, message: str, data: dict[str, str] | None = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data


def unauthorized(reason: str) -> AuthError:
    """Return the error for a rejected token: 13009."""
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
    """The contents of a token; `connection` is None in a named session."""

    kind: Literal["access", "refresh"]
    client_id: str
    account: int
    scope: str
    connection: str | None
    expires_at: int
    family: int
    generation: int


class TokenPair(msgspec.Struct, frozen=True, gc=False):
    """One generation of a family, with the principal of its access token."""

    access: str
    refresh: str
    expires_seconds: int
    principal: Principal


def _ignore(_family: int | None) -> None:
    """Do nothing, for tokens without an observer."""


@define
class Tokens:
    """Issues, verifies, refreshes and revokes tokens. `secret` signs them: 32 random bytes.

    All times are milliseconds, passed in. `on_revoked` is called at once with each family of which
    tokens were revoked, or with None where it may be any.
    """

    secret: bytes = field(repr=False)
    on_revoked: Callable[[int | None], None] = field(default=_ignore, repr=False)
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
        """Return the tokens of a new log-in, which joins an existing session of the same name."""
        family = self._family(client_id, scope.session)
        return self._pair(client_id, account, scope, connection, now, family)

    def read(self, token: str, connection: str, address: str, now: int) -> Principal:
        """Return the principal of an access token. Raises AuthError 13009 unless it is valid here.

        A token of `connection` scope is valid on the connection that it was issued on; one with an
        `ip:` bound, from that address.
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
        """Return the next generation of a family, narrowed to `scope`, and revoke the earlier ones.

        Raises AuthError 13009 unless `token` is a valid refresh token, and ScopeError.
        """
        claims = self._verified(token, "refresh", connection, now)
        held = parse_scope(claims.scope)
        require_address(held, address)
        # The session stays, because the family belongs to it.
        granted = msgspec.structs.replace(parse_scope(scope).within(held), session=held.session)
        self._revoke(claims.family, claims.generation + 1)
        return self._pair(claims.client_id, claims.account, granted, connection, now, claims.family)

    def is_valid(self, principal: Principal, now: int) -> bool:
        """Whether the token of a stored principal has neither expired nor been revoked."""
        family = principal.family
        within = now < principal.expires_at and family >= self._oldest_family
        return within and principal.generation >= self._oldest_valid.get(family, 0)

    def require_valid(self, principal: Principal, now: int) -> None:
        """Raise AuthError 13009 if the token of a stored principal has expired or was revoked."""
        if principal.expires_at <= now:
            raise unauthorized("token has expired")
        if not self._is_current(principal.family, principal.generation):
            raise unauthorized("token was replaced or invalidated")

    def invalidate(self, principal: Principal) -> None:
        """Revoke all tokens of a family and remove its named session."""
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
        # `expires:` shortens the access token; the refresh token has to outlive it.
        refresh = msgspec.structs.replace(
            access, kind="refresh", expires_at=now + LIFETIME_SECONDS * 1_000
        )
        principal = Principal(client_id, account, scope, access.expires_at, family, generation)
        return TokenPair(self._signed(access), self._signed(refresh), seconds, principal)

    def _family(self, client_id: str, session: str | None) -> int:
        """Return the family of a log-in: that of its named session, or a new one."""
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
        """Invalidate generations below `oldest_valid` of a family.

        When the memory is full, the older half of the families is dropped and all families up to
        there are invalidated: their clients have to log in again, but no revoked token becomes
        valid.
        """
        if family < self._oldest_family:
            return
        self._oldest_valid[family] = oldest_valid
        self.on_revoked(family)
        if len(self._oldest_valid) > MAX_REVOKED_FAMILIES:
            remaining = sorted(self._oldest_valid)[len(self._oldest_valid) // 2 :]
            self._oldest_family = remaining[0]
            self._oldest_valid = {each: self._oldest_valid[each] for each in remaining}
            self.on_revoked(None)

    def _is_current(self, family: int, generation: int) -> bool:
        return family >= self._oldest_family and generation >= self._oldest_valid.get(family, 0)

    def _verified(
        self, token: str, kind: Literal["access", "refresh"], connection: str, now: int
    ) -> _Claims:
        payload, _, _ = token.rpartition(".")
        # Compared whole, as bytes and in constant time, before anything is decoded.
        if not hmac.compare_digest(encode_text(token), encode_text(self._sealed(payload))):
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
        seal = hmac.digest(self.secret, encode_text(payload), hashlib.sha256)
        return f"{payload}.{base64.urlsafe_b64encode(seal).decode().rstrip('=')}"


def require_address(scope: Scope, address: str) -> None:
    """Raise AuthError 13009 if `scope` is bound to another address than the client's."""
    if scope.address is not None and scope.address != canonical_address(address):
        raise unauthorized("bound to another address")


def encode_text(text: str) -> bytes:
    """Encode text of a client, which may contain lone surrogates: JSON can escape them."""
    return text.encode("utf-8", "surrogatepass")
