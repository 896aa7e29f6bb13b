"""The connection methods: hello, test, heartbeats, cancel-on-disconnect."""

import pytest

from gateway.api.methods.connection import VERSION
from tests.gateway.harness import Client, Harness, Json

ORDER = {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 64_500}


@pytest.fixture
def harness() -> Harness:
    return Harness()


def open_orders(harness: Harness) -> int:
    return len(harness.connect("alice").call("private/get_open_orders"))


def test_hello_and_test_return_the_version(harness: Harness) -> None:
    """hello requires the client's name; test can return an error."""
    client = harness.connect()
    hello = {"client_name": "bot", "client_version": "1"}
    assert {"version": VERSION} == client.call("public/hello", **hello)
    assert {"version": VERSION} == client.call("public/test")
    assert 10001 == client.error("public/test", expected_result="exception")["code"]
    assert "client_name" == client.error("public/hello")["data"]["param"]


def test_the_status_is_given_as_strings(harness: Harness) -> None:
    """Clients compare `locked` with "false", not with false."""
    status, body = harness.get("/api/v2/public/status")
    assert (200, {"locked": "false", "locked_indices": []}) == (status, body["result"])


@pytest.mark.parametrize("interval", [9, -1, 1e300, "often", None])
def test_a_heartbeat_interval_is_at_least_ten_seconds(harness: Harness, interval: object) -> None:
    """The interval must be a number."""
    client = harness.connect()
    params: Json = {} if interval is None else {"interval": interval}
    assert "interval" == client.error("public/set_heartbeat", **params)["data"]["param"]
    assert 600.0 == client.session.next_wake()


def test_disable_heartbeat_stops_the_heartbeats(harness: Harness) -> None:
    """The idle timeout remains."""
    client = harness.connect()
    assert "ok" == client.call("public/set_heartbeat", interval=10.5)
    assert 10.5 == client.session.next_wake()
    assert "ok" == client.call("public/disable_heartbeat")
    assert 600.0 == client.session.next_wake()


def test_cancel_on_disconnect_cancels_orders_with_their_connection(harness: Harness) -> None:
    """Only this connection's orders are cancelled, with the reason."""
    staying, leaving = harness.connect("alice"), harness.connect("alice")
    staying.call("private/buy", **ORDER)
    order_id = leaving.call("private/buy", **ORDER)["order"]["order_id"]
    assert "ok" == leaving.call("private/enable_cancel_on_disconnect")
    enabled = {"scope": "connection", "enabled": True}
    assert enabled == leaving.call("private/get_cancel_on_disconnect")
    assert not staying.call("private/get_cancel_on_disconnect")["enabled"]
    leaving.hang_up()
    ended = staying.call("private/get_order_state", order_id=order_id)
    assert ("cancelled", "cancel_on_disconnect") == (ended["order_state"], ended["cancel_reason"])
    assert 1 == open_orders(harness)


def test_orders_stay_open_without_cancel_on_disconnect(harness: Harness) -> None:
    """Cancel-on-disconnect is off by default and can be disabled again."""
    client = harness.connect("alice")
    client.call("private/enable_cancel_on_disconnect", scope="connection")
    client.call("private/disable_cancel_on_disconnect", scope="connection")
    client.call("private/buy", **ORDER)
    client.hang_up()
    assert 1 == open_orders(harness)


def test_the_default_of_the_account_applies_to_later_connections(harness: Harness) -> None:
    """It can be set over HTTP; open connections keep their setting."""
    before = harness.connect("alice")
    token = before.login("alice", scope="session:http")["access_token"]
    target = f"access_token={token}&scope=account"
    status, body = harness.get(f"/api/v2/private/enable_cancel_on_disconnect?{target}")
    assert (200, "ok") == (status, body["result"])
    after = harness.connect("alice")
    for client, enabled in ((before, False), (after, True)):
        result = client.call("private/get_cancel_on_disconnect", scope="connection")
        assert {"scope": "connection", "enabled": enabled} == result
    _, body = harness.get(f"/api/v2/private/get_cancel_on_disconnect?{target}")
    assert {"scope": "account", "enabled": True} == body["result"]


def test_the_connection_scope_needs_a_login_of_the_connection(harness: Harness) -> None:
    """A token in the request identifies an account but no session of the connection."""
    token = harness.connect().login("alice", scope="session:one")["access_token"]
    client: Client = harness.connect()
    for method in ("enable_cancel_on_disconnect", "get_cancel_on_disconnect"):
        assert 10000 == client.error(f"private/{method}", access_token=token)["code"]
    account = client.call("private/get_cancel_on_disconnect", scope="account", access_token=token)
    assert {"scope": "account", "enabled": False} == account
    wrong = client.error("private/get_cancel_on_disconnect", scope="house", access_token=token)
    assert {"reason": "value not in list", "param": "scope"} == wrong["data"]
