"""Authenticate clients: API keys, the grants of public/auth, and the HTTP Authorization header.

This module does no I/O and reads no clock: times are milliseconds, passed in. `now` is the clock
by which tokens expire, which never goes back. `signers` is the machine's wall clock, by which
clients sign; venue time may be moved by hand, or be catching up with a clock that was set. Where
it is omitted, `now` is used.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
from attrs import Factory, define, field
from msgspec import UNSET, UnsetType

from gateway.access.login_attempts import LoginGuard
from gateway.access.scope import Scope, ScopeError, parse_scope
from gateway.access.tokens import (
    HTTP,
    LIFETIME_SECONDS,
    AuthError,
    Principal,
    TokenPair,
    Tokens,
    encode_text,
    require_address,
    unauthorized,
)

__all__ = [
    "HTTP",
    "ApiKey",
    "AuthError",
    "AuthParams",
    "AuthResult",
    "Authenticator",
    "Keyring",
    "Principal",
]

GRANTS: Final = ("client_credentials", "client_signature", "refresh_token")

# Largest difference between a signer's timestamp and the clock, in either direction.
WINDOW_MILLIS: Final = 60_000

# Signatures remembered for each key: 160 a second for two minutes, about 3 MB.
SIGNATURES_PER_KEY: Final = 20_000


class ApiKey(msgspec.Struct, frozen=True, gc=False):
    """A key of an account. The secret is stored as it is: both sides compute signatures from it."""

    client_id: str
    client_secret: str
    account: int
    max_scope: Scope

    def __repr__(self) -> str:
        """Omit the secret, so that no log or traceback shows it."""
        return f"ApiKey(client_id={self.client_id!r}, account={self.account})"


def _ignore() -> None:
    """Do nothing, for a keyring without an observer."""


@define
class Keyring:
    """The API keys by client id. `on_key_changed` is called when one is replaced."""

    on_key_changed: Callable[[], None] = field(default=_ignore, repr=False)
    _keys: dict[str, ApiKey] = field(default=Factory(dict), init=False)

    def add(self, key: ApiKey) -> None:
        """Add a key, or replace the one with its client id."""
        replaced = key.client_id in self._keys
        self._keys[key.client_id] = key
        if replaced:
            self.on_key_changed()

    def get(self, client_id: str) -> ApiKey | None:
        """Return the key, or None."""
        return self._keys.get(client_id)


class AuthParams(msgspec.Struct, frozen=True, gc=False):
    """Parameters of public/auth, as they arrive.

    `timestamp` may be a float here, so that it can be rejected: converted to an integer, it would
    differ from the text that the client signed.
    """

    grant_type: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    refresh_token: str | None = None
    timestamp: int | float | str | None = None
    signature: str | None = None
    nonce: str | None = None
    data: str | None = None
    state: str | None = None
    scope: str | None = None


class AuthResult(msgspec.Struct, frozen=True, gc=False):
    """Result of public/auth. `expires_in` is in seconds from now; `sid` is the session name."""

    access_token: str
    expires_in: int
    refresh_token: str
    scope: str
    token_type: str = "bearer"  # noqa: S105 - the API's constant
    enabled_features: tuple[str, ...] = ()
    sid: str | UnsetType = UNSET
    state: str | UnsetType = UNSET


@define
class Authenticator:
    """Turns credentials into principals, or raises AuthError.

    `connection` is an id that is never reused, or `HTTP`; `address` is the client's.
    """

    keys: Keyring
    tokens: Tokens
    login_guard: LoginGuard = field(default=Factory(LoginGuard))
    _replays: dict[str, "_Signatures"] = field(default=Factory(dict), init=False)

    def login(
        self,
        params: AuthParams,
        *,
        connection: str,
        address: str,
        now: int,
        signers: int | None = None,
    ) -> tuple[AuthResult, Principal]:
        """Process public/auth.

        Raises AuthError: 13004 for wrong credentials, 12003 after too many of them, 13009 for a
        refresh token, -32602 for parameters.
        """
        if params.grant_type not in GRANTS:
            raise _invalid("grant_type", "value not in list" if params.grant_type else _MISSING)
        try:
            if params.grant_type == "refresh_token":
                token = _required("refresh_token", params.refresh_token)
                pair = self.tokens.refresh(token, connection, address, now, params.scope or "")
                self._require_key(pair.principal)
            else:
                key = self._key_of(params, address, now if signers is None else signers)
                scope = parse_scope(params.scope or "").within(key.max_scope)
                require_address(scope, address)
                pair = self.tokens.issue(key.client_id, key.account, scope, connection, now)
        except ScopeError as error:
            raise _invalid("scope", str(error)) from error
        return _result(pair, params.state), pair.principal

    def verify(self, token: str, *, connection: str, address: str, now: int) -> Principal:
        """Return the principal of an access token. Raises AuthError 13009."""
        principal = self.tokens.read(token, connection, address, now)
        self._require_key(principal)
        return principal

    def is_valid(self, principal: Principal, now: int) -> bool:
        """Whether a connection's log-in is still valid; `require_valid` gives the reason."""
        key = self.keys.get(principal.client_id)
        same = key is not None and key.account == principal.account
        return same and self.tokens.is_valid(principal, now)

    def require_valid(self, principal: Principal, now: int) -> None:
        """Raise AuthError 13009 if a connection's log-in has expired or was invalidated."""
        self.tokens.require_valid(principal, now)
        self._require_key(principal)

    def authorize(
        self,
        header: str | None,
        *,
        method: str,
        uri: str,
        body: bytes,
        address: str,
        now: int,
        signers: int | None = None,
    ) -> Principal:
        """Return the principal of an HTTP request, from its Authorization header.

        `uri` is path and query exactly as sent. Raises AuthError: 10000 without a readable header,
        13004 for wrong credentials, 12003 after too many of them, 13009 for a token, -32602 for a
        timestamp.
        """
        scheme, _, rest = (header or "").strip().partition(" ")
        match scheme.lower():
            case "bearer":
                return self.verify(rest.strip(), connection=HTTP, address=address, now=now)
            case "basic":
                key = self._key_with_secret(*_basic(rest), address)
            case "deri-hmac-sha256":
                at = now if signers is None else signers
                key = self._signed_request(_pairs(rest), method, uri, body, address, at)
            case _:
                raise _required_login("expected Basic, bearer or deri-hmac-sha256")
        require_address(key.max_scope, address)
        expires_at = now + LIFETIME_SECONDS * 1_000
        return Principal(key.client_id, key.account, key.max_scope, expires_at)

    def _key_of(self, params: AuthParams, address: str, now: int) -> ApiKey:
        client_id = _required("client_id", params.client_id)
        if params.grant_type == "client_credentials":
            secret = _required("client_secret", params.client_secret)
            return self._key_with_secret(client_id, secret, address)
        timestamp = _required("timestamp", params.timestamp)
        if isinstance(timestamp, float):
            raise _invalid("timestamp", "wrong format")
        stamp = str(timestamp)
        signature = _required("signature", params.signature)
        message = f"{stamp}\n{params.nonce or ''}\n{params.data or ''}"
        return self._key_with_signature(
            client_id, stamp, signature, encode_text(message), address, now
        )

    def _signed_request(
        self,
        fields: Mapping[str, str],
        method: str,
        uri: str,
        body: bytes,
        address: str,
        now: int,
    ) -> ApiKey:
        for name in ("id", "ts", "sig"):
            if name not in fields:
                raise _required_login(f"no {name} in the deri-hmac-sha256 header")
        head = f"{fields['ts']}\n{fields.get('nonce', '')}\n{method.upper()}\n{uri}\n"
        message = encode_text(head) + body + b"\n"
        client_id, stamp, signature = fields["id"], fields["ts"], fields["sig"]
        return self._key_with_signature(client_id, stamp, signature, message, address, now)

    def _key_with_secret(self, client_id: str, secret: str, address: str) -> ApiKey:
        key = self._key_to_try(client_id, address)
        # An unknown id costs a comparison too, so that the time taken does not reveal which ids
        # exist.
        expected = key.client_secret if key else "no such key"
        right = hmac.compare_digest(encode_text(secret), encode_text(expected))
        return self._checked_key(key, client_id, address, right=right)

    def _key_with_signature(
        self, client_id: str, stamp: str, signature: str, message: bytes, address: str, now: int
    ) -> ApiKey:
        """Return the key that signed `message`, once, and within a minute of its timestamp."""
        at = _timestamp(stamp)
        key = self._key_to_try(client_id, address)
        secret = key.client_secret if key else "no such key"
        expected = hmac.digest(encode_text(secret), message, hashlib.sha256)
        right = hmac.compare_digest(encode_text(signature), encode_text(expected.hex()))
        key = self._checked_key(key, client_id, address, right=right)
        # Only the holder of the secret gets one of these two reasons.
        if abs(now - at) > WINDOW_MILLIS:
            raise _bad_credentials(f"timestamp is {now - at} ms from the server's clock")
        if not self._replays.setdefault(client_id, _Signatures()).is_new(expected, at):
            raise _bad_credentials("this signature has been used")
        return key

    def _key_to_try(self, client_id: str, address: str) -> ApiKey | None:
        """Return the key to compare with. Raises AuthError 12003 where the guard blocks it."""
        key = self.keys.get(client_id)
        if self.login_guard.blocks(client_id, address, known=key is not None):
            raise _over_limit()
        return key

    def _checked_key(
        self, key: ApiKey | None, client_id: str, address: str, *, right: bool
    ) -> ApiKey:
        """Return the key if its secret was right; else count the failure and raise AuthError."""
        if right and key is not None:
            self.login_guard.record_success(client_id, address)
            return key
        if self.login_guard.record_failure(client_id, address, known=key is not None):
            raise _over_limit()
        raise _bad_credentials()

    def _require_key(self, principal: Principal) -> None:
        key = self.keys.get(principal.client_id)
        if key is None or key.account != principal.account:
            raise unauthorized("the key no longer exists")


@define
class _Signatures:
    """Accepted signatures of one key, so that an intercepted request cannot be replayed.

    They are stored by signature rather than by nonce, because ccxt uses its millisecond clock as
    the nonce, and two different requests may fall into one millisecond.
    """

    _seen: dict[bytes, int] = field(default=Factory(dict), init=False)
    _oldest_accepted: int = field(default=0, init=False)

    def is_new(self, signature: bytes, at: int) -> bool:
        """Return whether a signature made at `at`, within the window, is new, and store it.

        When the memory is full, the older half is dropped and timestamps up to there are rejected:
        a key that signs too often narrows its own window, and no replay is accepted.
        """
        if at <= self._oldest_accepted or signature in self._seen:
            return False
        self._seen[signature] = at
        if len(self._seen) > SIGNATURES_PER_KEY:
            times = sorted(self._seen.values())
            self._oldest_accepted = times[len(times) // 2]
            self._seen = {
                each: made for each, made in self._seen.items() if made > self._oldest_accepted
            }
        return True


def _result(pair: TokenPair, state: str | None) -> AuthResult:
    scope = pair.principal.scope
    return AuthResult(
        access_token=pair.access,
        expires_in=pair.expires_seconds,
        refresh_token=pair.refresh,
        scope=str(scope),
        sid=UNSET if scope.session is None else scope.session,
        state=UNSET if state is None else state,
    )


def _timestamp(stamp: str) -> int:
    # 16 digits hold milliseconds until the year 300,000; int() of a long text is slow.
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 16):
        raise _invalid("timestamp", "wrong format")
    return int(stamp)


def _basic(encoded: str) -> tuple[str, str]:
    """Return client id and secret of a Basic header; the secret may contain colons."""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _required_login("the Basic header is not base64 of UTF-8 text") from error
    client_id, _, secret = text.partition(":")
    return client_id, secret


def _pairs(text: str) -> dict[str, str]:
    """Return key=value pairs in any order; values may contain `=`."""
    pairs = (part.strip().partition("=") for part in text.split(","))
    return {name: value for name, _, value in pairs}


_MISSING: Final = "must not be null"


T = TypeVar("T")


def _required(name: str, value: T | None) -> T:
    if value is None:
        raise _invalid(name, _MISSING)
    return value


def _invalid(param: str, reason: str) -> AuthError:
    return AuthError(-32602, "Invalid params", {"reason": reason, "param": param})


def _bad_credentials(reason: str | None = None) -> AuthError:
    return AuthError(13004, "invalid_credentials", {"reason": reason} if reason else None)


def _over_limit() -> AuthError:
    return AuthError(12003, "login_over_limit")


def _required_login(reason: str) -> AuthError:
    return AuthError(10000, "authorization_required", {"reason": reason})
