"""public/auth as clients call it; signatures are tested in test_authenticator."""

from hashlib import sha256
from hmac import HMAC
from urllib.parse import urlencode

import pytest

from tests.gateway.harness import Client, Harness, Json


@pytest.fixture
def client() -> Client:
    return Harness().connect()


def signature(stamp: int, nonce: str = "abc", data: str = "") -> Json:
    message = f"{stamp}\n{nonce}\n{data}".encode()
    return {
        "grant_type": "client_signature",
        "client_id": "alice-key",
        "timestamp": stamp,
        "nonce": nonce,
        "data": data,
        "signature": HMAC(b"alice-secret", message, sha256).hexdigest(),
    }


def test_a_login_returns_every_field_that_clients_read(client: Client) -> None:
    """Tokens, their type, their lifetime in whole seconds, and the scope that was granted."""
    granted = client.login("alice", state="mine")
    types = {name: type(granted[name]) for name in ("access_token", "refresh_token", "expires_in")}
    assert {"access_token": str, "refresh_token": str, "expires_in": int} == types
    assert ("bearer", "mine") == (granted["token_type"], granted["state"])
    assert granted["scope"].startswith("connection ")


@pytest.mark.parametrize("as_text", [False, True])
def test_a_signature_logs_in_with_its_timestamp_as_number_or_text(
    client: Client, as_text: bool
) -> None:
    """ccxt sends milliseconds rendered as a string."""
    params = signature(client.harness.clock.time)
    if as_text:
        params["timestamp"] = str(params["timestamp"])
    assert "access_token" in client.call("public/auth", **params)
    assert [] == client.call("private/get_open_orders")


def test_a_refresh_revokes_the_earlier_tokens(client: Client) -> None:
    """The new token is valid; the old one and the used refresh token are not."""
    first = client.login("alice", scope="session:one")
    renewal = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = client.call("public/auth", **renewal)
    assert 13009 == client.error("public/auth", **renewal)["code"]
    stranger = client.harness.connect()
    for token, code in ((first["access_token"], 13009), (second["access_token"], None)):
        reply = stranger.request("private/get_open_orders", access_token=token)
        assert code == reply.get("error", {}).get("code")
    assert "session:one" == second["scope"].split()[0] == "session:" + second["sid"]


def test_a_refresh_does_not_start_a_new_session(client: Client) -> None:
    """The session's own choice of cancel-on-disconnect survives it."""
    granted = client.login("alice")
    client.call("private/enable_cancel_on_disconnect")
    client.call("public/auth", grant_type="refresh_token", refresh_token=granted["refresh_token"])
    assert client.call("private/get_cancel_on_disconnect")["enabled"]


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({}, -32602, "grant_type"),
        ({"grant_type": "password"}, -32602, "grant_type"),
        ({"grant_type": "client_credentials"}, -32602, "client_id"),
        ({"grant_type": "client_credentials", "client_id": "alice-key"}, -32602, "client_secret"),
        (
            {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"},
            13004,
            None,
        ),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 13009, None),
        (signature(0) | {"timestamp": "noon"}, -32602, "timestamp"),
        (signature(0), 13004, None),
        ({"grant_type": 5}, -32602, "grant_type"),
    ],
)
def test_a_failed_login_has_a_reason_and_leaves_no_login(
    client: Client, params: Json, code: int, param: str | None
) -> None:
    """-32602 names the parameter; wrong credentials are 13004 for known and unknown keys."""
    error = client.error("public/auth", **params)
    found = (error.get("data") or {}).get("param")
    assert (code, param) == (error["code"], found)
    assert 10000 == client.error("private/get_open_orders")["code"]


CREDENTIALS: Json = {
    "grant_type": "client_credentials",
    "client_id": "alice-key",
    "client_secret": "alice-secret",
}
RENEWAL: Json = {"grant_type": "refresh_token", "refresh_token": "x.y"}
_STAMPS = ("1.0", "1e3", "+1", " 1", "1_0", "", "\u0661", "9" * 17, -1)


def _wrong_types() -> list[tuple[Json, str, object]]:
    """Yield each parameter of each grant with a JSON value of each wrong type."""
    optional = {"state": "", "scope": ""}
    wrong: tuple[object, ...] = (5, 1.5, True, [], {}, ["x"])
    stamps: tuple[object, ...] = (1.5, 1e12, True, [], {}, *_STAMPS)
    table: list[tuple[Json, str, object]] = []
    for grant in (CREDENTIALS, signature(0), RENEWAL):
        for name in grant | optional:
            table += [(grant, name, each) for each in (stamps if name == "timestamp" else wrong)]
    return table


@pytest.mark.parametrize(("grant", "name", "value"), _wrong_types())
def test_a_parameter_of_the_wrong_type_is_named(
    client: Client, grant: Json, name: str, value: object
) -> None:
    """-32602 with the parameter for every grant type."""
    error = client.error("public/auth", **(grant | {name: value}))
    data = {"reason": "wrong format", "param": name}
    assert (-32602, data) == (error["code"], error["data"])


@pytest.mark.parametrize("text", ["1760000001000.0", "1760000001000.5", "1.760000001e12"])
def test_a_fractional_timestamp_is_rejected_even_if_signed(client: Client, text: str) -> None:
    """A float does not preserve the signed text, even if its value is whole."""
    params = signature(client.harness.clock.time)
    message = f"{text}\nabc\n".encode()
    params["signature"] = HMAC(b"alice-secret", message, sha256).hexdigest()
    for stamp in (float(text), text):
        error = client.error("public/auth", **(params | {"timestamp": stamp}))
        data = {"reason": "wrong format", "param": "timestamp"}
        assert (-32602, data) == (error["code"], error["data"])


@pytest.mark.parametrize("text", [*map(str, _STAMPS), "1760000001000.0", "1e12", "true", "null"])
def test_a_timestamp_in_a_query_is_parsed_as_in_json(client: Client, text: str) -> None:
    """Values of a query are text; the digits of an integer are verified as signed."""
    params = signature(client.harness.clock.time)
    target = "/api/v2/public/auth?" + urlencode(params)
    assert 200 == client.harness.get(target)[0]
    status, body = client.harness.get(
        target.split("?")[0] + "?" + urlencode({**params, "timestamp": text})
    )
    data = {"reason": "wrong format", "param": "timestamp"}
    assert (400, -32602, data) == (status, body["error"]["code"], body["error"]["data"])


@pytest.mark.parametrize("scope", ["ip:banana", "expires:soon", "session:a/b", "trade:write"])
def test_an_invalid_scope_is_named(client: Client, scope: str) -> None:
    """-32602 quotes the scope token, and there is no login."""
    error = client.error("public/auth", **(CREDENTIALS | {"scope": scope}))
    assert (-32602, "scope") == (error["code"], error["data"]["param"])
    assert f"`{scope}`" in error["data"]["reason"]
    assert 10000 == client.error("private/get_open_orders")["code"]


def test_a_failed_login_keeps_the_previous_login(client: Client) -> None:
    """A logged-in connection stays logged in."""
    client.login("alice")
    wrong = {"grant_type": "client_credentials", "client_id": "bob-key", "client_secret": "?"}
    assert 13004 == client.error("public/auth", **wrong)["code"]
    assert [] == client.call("private/get_open_orders")


def test_a_login_over_http_starts_no_session(client: Client) -> None:
    """The token is for later requests; there is no connection whose end could end a session."""
    harness = client.harness
    status, body = harness.get(
        "/api/v2/public/auth?grant_type=client_credentials"
        "&client_id=alice-key&client_secret=alice-secret&scope=session:one"
    )
    assert 200 == status
    assert {} == harness.exchange.state.sessions
    token = body["result"]["access_token"]
    assert [] == client.call("private/get_open_orders", access_token=token)
