"""Tests of credentials: the grants of public/auth and the HTTP Authorization header."""

import base64
import hashlib
import hmac

import msgspec
import pytest

from gateway.access import authenticator as module
from gateway.access.authenticator import (
    HTTP,
    ApiKey,
    Authenticator,
    AuthError,
    AuthParams,
    AuthResult,
    Keyring,
    Principal,
)
from gateway.access.scope import parse_scope
from gateway.access.tokens import Tokens

NOW = 1_576_074_319_000
GOLDEN = "56590594f97921b09b18f166befe0d1319b198bbcdad7ca73382de2f88fe9aa1"
ADDRESS = "127.0.0.1"
SECRET = "AMANDASECRECT"


@pytest.fixture
def authenticator() -> Authenticator:
    keys = Keyring()
    scope = parse_scope("mainaccount account:read_write trade:read_write")
    keys.add(ApiKey("amanda", SECRET, 7, scope))
    keys.add(ApiKey("bob", "pa:ss", 8, parse_scope("trade:read ip:10.0.0.1")))
    return Authenticator(keys, Tokens(b"s" * 32))


def login(
    authenticator: Authenticator,
    params: AuthParams,
    now: int = NOW,
    connection: str = "c1",
    address: str = ADDRESS,
) -> tuple[AuthResult, Principal]:
    return authenticator.login(params, connection=connection, address=address, now=now)


def error_of(
    authenticator: Authenticator, params: AuthParams, now: int = NOW
) -> tuple[int, dict[str, str] | None]:
    with pytest.raises(AuthError) as error:
        login(authenticator, params, now)
    return error.value.code, error.value.data


CREDENTIALS = AuthParams("client_credentials", client_id="amanda", client_secret=SECRET)
SIGNATURE = AuthParams(
    "client_signature", client_id="amanda", timestamp=NOW, nonce="1iqt2wls", signature=GOLDEN
)


def signed(timestamp: int, nonce: str = "n", data: str = "") -> AuthParams:
    message = f"{timestamp}\n{nonce}\n{data}".encode()
    signature = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
    return AuthParams(
        "client_signature",
        client_id="amanda",
        timestamp=timestamp,
        nonce=nonce,
        data=data,
        signature=signature,
    )


def test_right_credentials_get_tokens(authenticator: Authenticator) -> None:
    """The result has the fields of the API, and its access token is valid on the connection."""
    result, principal = login(authenticator, CREDENTIALS)
    assert {
        "access_token": result.access_token,
        "refresh_token": result.refresh_token,
        "token_type": "bearer",
        "expires_in": 31_536_000,
        "scope": "connection mainaccount account:read_write trade:read_write",
        "enabled_features": [],
    } == msgspec.json.decode(msgspec.json.encode(result))
    assert 7 == principal.account
    assert principal == authenticator.verify(
        result.access_token, connection="c1", address=ADDRESS, now=NOW
    )


def test_state_and_session_are_returned(authenticator: Authenticator) -> None:
    """`state` is echoed, also when empty, and `sid` names the session."""
    params = msgspec.structs.replace(CREDENTIALS, state="", scope="session:bot-1 expires:900")
    result, _ = login(authenticator, params)
    assert ("", "bot-1", 900) == (result.state, result.sid, result.expires_in)
    assert result.scope.startswith("session:bot-1 mainaccount ")


@pytest.mark.parametrize("timestamp", [NOW, str(NOW)])
def test_the_reference_signature_is_accepted(
    authenticator: Authenticator, timestamp: int | str
) -> None:
    """The reference vector logs in, with its timestamp as a number or as text."""
    params = msgspec.structs.replace(SIGNATURE, timestamp=timestamp)
    assert 7 == login(authenticator, params)[1].account


def test_the_signature_covers_data(authenticator: Authenticator) -> None:
    """A signature does not match data that was changed after signing."""
    params = signed(NOW, data="order flow")
    assert (13004, None) == error_of(authenticator, msgspec.structs.replace(params, data="x"))
    assert 7 == login(authenticator, params)[1].account


@pytest.mark.parametrize(
    ("offset", "accepted"), [(60_000, 1), (-60_000, 1), (60_001, 0), (-60_001, 0)]
)
def test_a_signature_is_valid_for_a_minute_either_way(
    authenticator: Authenticator, offset: int, accepted: int
) -> None:
    """A signer's clock may be a minute off; beyond, the error gives the difference."""
    if accepted:
        assert 7 == login(authenticator, SIGNATURE, NOW + offset)[1].account
    else:
        reason = {"reason": f"timestamp is {offset} ms from the server's clock"}
        assert (13004, reason) == error_of(authenticator, SIGNATURE, NOW + offset)


def test_a_signature_is_valid_once(authenticator: Authenticator) -> None:
    """An intercepted log-in cannot be repeated; the key's next signature is accepted."""
    login(authenticator, SIGNATURE)
    used = (13004, {"reason": "this signature has been used"})
    assert used == error_of(authenticator, SIGNATURE, NOW + 60_000)
    assert 7 == login(authenticator, signed(NOW))[1].account


def test_a_full_memory_of_signatures_accepts_no_replay(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that signs more than is remembered gets a narrower window, and no replay passes."""
    monkeypatch.setattr(module, "SIGNATURES_PER_KEY", 10)
    made = [signed(NOW + number) for number in range(100)]
    for number, params in enumerate(made):
        assert 7 == login(authenticator, params, NOW + number)[1].account
    assert 10 >= len(authenticator._replays["amanda"]._seen)
    assert {13004} == {error_of(authenticator, params, NOW + 100)[0] for params in made}


@pytest.mark.parametrize(
    ("params", "code", "data"),
    [
        (AuthParams(), -32602, {"reason": "must not be null", "param": "grant_type"}),
        (AuthParams("password"), -32602, {"reason": "value not in list", "param": "grant_type"}),
        (
            AuthParams("client_credentials", client_id="amanda"),
            -32602,
            {"reason": "must not be null", "param": "client_secret"},
        ),
        (
            AuthParams("client_signature", client_id="amanda", signature="x"),
            -32602,
            {"reason": "must not be null", "param": "timestamp"},
        ),
        (
            msgspec.structs.replace(SIGNATURE, timestamp="yesterday"),
            -32602,
            {"reason": "wrong format", "param": "timestamp"},
        ),
        (
            msgspec.structs.replace(SIGNATURE, timestamp="1" * 17),
            -32602,
            {"reason": "wrong format", "param": "timestamp"},
        ),
        (
            msgspec.structs.replace(CREDENTIALS, scope="expires:soon"),
            -32602,
            {"reason": "cannot read scope `expires:soon`", "param": "scope"},
        ),
        (msgspec.structs.replace(CREDENTIALS, client_secret="amandasecrect"), 13004, None),
        (msgspec.structs.replace(CREDENTIALS, client_id="nobody"), 13004, None),
        (msgspec.structs.replace(CREDENTIALS, client_secret="é\ud800"), 13004, None),
        (
            AuthParams("client_credentials", client_id="nobody", client_secret="no such key"),
            13004,
            None,
        ),
        (msgspec.structs.replace(SIGNATURE, signature=GOLDEN.upper()), 13004, None),
        (msgspec.structs.replace(SIGNATURE, nonce="other"), 13004, None),
        (msgspec.structs.replace(SIGNATURE, client_id="bob"), 13004, None),
        (msgspec.structs.replace(SIGNATURE, client_id="nobody"), 13004, None),
        (
            AuthParams("refresh_token", refresh_token="x.y"),
            13009,
            {"reason": "not a token of this venue"},
        ),
        (
            AuthParams("client_credentials", client_id="bob", client_secret="pa:ss"),
            13009,
            {"reason": "bound to another address"},
        ),
    ],
)
def test_errors_have_the_codes_of_the_api(
    authenticator: Authenticator, params: AuthParams, code: int, data: dict[str, str] | None
) -> None:
    """Parameters are -32602 with their name, credentials 13004, tokens 13009."""
    assert (code, data) == error_of(authenticator, params)


def test_a_refresh_token_logs_in_and_replaces_the_log_in(authenticator: Authenticator) -> None:
    """The refreshed principal is valid; the earlier one is not, neither stored nor as a token."""
    result, before = login(authenticator, CREDENTIALS)
    renewed, after = login(
        authenticator, AuthParams("refresh_token", refresh_token=result.refresh_token)
    )
    assert result.scope == renewed.scope
    authenticator.require_valid(after, NOW)
    assert [False, True] == [authenticator.is_valid(each, NOW) for each in (before, after)]
    with pytest.raises(AuthError) as error:
        authenticator.require_valid(before, NOW)
    assert 13009 == error.value.code


def test_giving_a_key_to_another_account_ends_its_tokens(authenticator: Authenticator) -> None:
    """The tokens of the earlier account and the log-ins of its connections are invalid."""
    result, principal = login(authenticator, CREDENTIALS)
    key = authenticator.keys.get("amanda")
    assert key is not None
    authenticator.keys.add(msgspec.structs.replace(key, account=key.account + 1))
    with pytest.raises(AuthError, match="the key no longer exists"):
        authenticator.verify(result.access_token, connection="c1", address=ADDRESS, now=NOW)
    with pytest.raises(AuthError, match="the key no longer exists"):
        authenticator.require_valid(principal, NOW)
    assert not authenticator.is_valid(principal, NOW)
    renewal = AuthParams("refresh_token", refresh_token=result.refresh_token)
    assert (13009, {"reason": "the key no longer exists"}) == error_of(authenticator, renewal)


def test_a_stored_log_in_expires(authenticator: Authenticator) -> None:
    """A connection's log-in ends with the lifetime that its scope requested."""
    params = msgspec.structs.replace(CREDENTIALS, scope="expires:60")
    _, principal = login(authenticator, params)
    authenticator.require_valid(principal, NOW + 59_999)
    assert [True, False] == [authenticator.is_valid(principal, NOW + at) for at in (59_999, 60_000)]
    with pytest.raises(AuthError, match="token has expired"):
        authenticator.require_valid(principal, NOW + 60_000)


URI = "/api/v2/private/buy?instrument_name=BTC-PERPETUAL&amount=10"


def authorize(
    authenticator: Authenticator,
    header: str | None,
    *,
    method: str = "GET",
    uri: str = URI,
    body: bytes = b"",
    address: str = ADDRESS,
) -> Principal:
    return authenticator.authorize(
        header, method=method, uri=uri, body=body, address=address, now=NOW
    )


def signed_header(
    order: str, *, separator: str = ",", body: bytes = b"", nonce: str = "n=1"
) -> str:
    message = f"{NOW}\n{nonce}\nGET\n{URI}\n".encode() + body + b"\n"
    signature = hmac.new(SECRET.encode(), message, hashlib.sha256).hexdigest()
    values = {"id": "amanda", "ts": str(NOW), "sig": signature, "nonce": nonce}
    return "deri-hmac-sha256 " + separator.join(f"{key}={values[key]}" for key in order.split())


@pytest.mark.parametrize(
    ("order", "separator"),
    [("id ts sig nonce", ","), ("nonce sig ts id", ", "), ("sig id nonce ts", " ,  ")],
)
def test_a_signed_request_is_read_in_any_order(
    authenticator: Authenticator, order: str, separator: str
) -> None:
    """The pairs of the header may have any order and blanks, and values may contain `=`."""
    header = signed_header(order, separator=separator)
    principal = authorize(authenticator, header, method="get")
    assert ("amanda", 7) == (principal.client_id, principal.account)
    assert principal.scope.allows("trade:read_write")


def test_a_signed_request_covers_target_and_body(authenticator: Authenticator) -> None:
    """Another amount, method or body does not match the signature."""
    body = b'{"amount": "\xc3\xa9"}'
    header = signed_header("id ts sig nonce", body=body)
    changed = [
        {"uri": URI + "0", "body": body},
        {"method": "POST", "body": body},
        {"body": b""},
    ]
    for change in changed:
        with pytest.raises(AuthError) as error:
            authorize(authenticator, header, **change)  # type: ignore[arg-type]
        assert 13004 == error.value.code
    assert 7 == authorize(authenticator, header, body=body).account


def test_a_signed_request_is_valid_once(authenticator: Authenticator) -> None:
    """A repeated request is rejected; another one with the same millisecond and nonce is not."""
    header = signed_header("id ts sig nonce", nonce=str(NOW))
    authorize(authenticator, header)
    with pytest.raises(AuthError, match="this signature has been used"):
        authorize(authenticator, header)
    other = signed_header("id ts sig nonce", nonce=str(NOW), body=b"{}")
    assert 7 == authorize(authenticator, other, body=b"{}").account


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_basic_credentials_are_accepted(authenticator: Authenticator) -> None:
    """The scheme has any letter case, and a secret may contain a colon."""
    assert 7 == authorize(authenticator, basic(f"amanda:{SECRET}")).account
    lower = basic("bob:pa:ss").replace("Basic", "basic")
    assert 8 == authorize(authenticator, lower, address="10.0.0.1").account


def test_a_bearer_token_is_accepted(authenticator: Authenticator) -> None:
    """Tokens of HTTP and of named sessions are valid; one of a WebSocket connection is not."""
    for connection, scope in ((HTTP, ""), ("c1", "session:bot")):
        params = msgspec.structs.replace(CREDENTIALS, scope=scope)
        result, principal = login(authenticator, params, connection=connection)
        assert principal == authorize(authenticator, f"Bearer {result.access_token}")
    result, _ = login(authenticator, CREDENTIALS)
    with pytest.raises(AuthError, match="token belongs to another connection"):
        authorize(authenticator, f"bearer {result.access_token}")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, 10000),
        ("", 10000),
        ("Digest username=amanda", 10000),
        ("Basic !!", 10000),
        ("Basic /w==", 10000),
        (basic("amanda:wrong"), 13004),
        (basic("amanda"), 13004),
        (basic("bob:pa:ss"), 13009),
        ("bearer", 13009),
        ("bearer x.y", 13009),
        ("deri-hmac-sha256", 10000),
        (f"deri-hmac-sha256 id=amanda,ts={NOW},nonce=n", 10000),
        (f"deri-hmac-sha256 id=amanda,ts={NOW},sig=00,nonce=n", 13004),
        ("deri-hmac-sha256 id=amanda,ts=now,sig=00,nonce=n", -32602),
    ],
)
def test_headers_without_valid_credentials_are_rejected(
    authenticator: Authenticator, header: str | None, code: int
) -> None:
    """An unreadable header is 10000, wrong credentials are 13004, an invalid token is 13009."""
    with pytest.raises(AuthError) as error:
        authorize(authenticator, header)
    assert code == error.value.code


def test_keys_do_not_show_their_secret(authenticator: Authenticator) -> None:
    """The text of a key, as a log or a traceback shows it, contains no secret."""
    assert "amanda" in repr(authenticator)
    assert SECRET not in repr(authenticator)
