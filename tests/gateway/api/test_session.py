"""Sessions: permissions, credits, requests in flight and the origins of commands."""

from typing import Any

import msgspec
import pytest

from gateway.protocol.outcome import Close, Outcome, Reply, Submit
from risk.commands import StartSession
from tests.gateway.harness import START, Client, Harness, whole

ORDER = {"instrument_name": "BTC-PERPETUAL", "amount": 10, "price": 60_000}


def only_reply(outcomes: list[Outcome]) -> dict[str, Any]:
    (outcome,) = outcomes
    assert isinstance(outcome, Reply)
    reply: dict[str, Any] = msgspec.json.decode(whole(outcome.data))
    return reply


def only_submit(outcomes: list[Outcome]) -> Submit:
    (outcome,) = outcomes
    assert isinstance(outcome, Submit)
    return outcome


def test_without_a_login_only_public_methods_are_available() -> None:
    """10000 without a login; unknown and unimplemented methods have different codes."""
    client = Harness().connect()
    assert START + 1_000 == client.call("public/get_time")
    assert 10000 == client.error("private/get_open_orders")["code"]
    assert -32601 == client.error("private/get_everything")["code"]
    assert 10033 == client.error("private/mass_quote")["code"]


def test_a_read_scope_cannot_trade() -> None:
    """13021 if the scope is not sufficient, before the parameters are checked."""
    client = Harness().connect("reader")
    assert [] == client.call("private/get_open_orders")
    assert {"code": 13021, "message": "forbidden"} == client.error("private/buy")
    error = client.error("private/enable_cancel_on_disconnect")
    assert 13021 == error["code"]


def test_a_narrower_scope_is_granted_as_requested() -> None:
    """A login gets the scope that it requests, not all that its key allows."""
    client = Harness().connect()
    granted = client.login("alice", scope="trade:read")
    assert "connection mainaccount trade:read" == granted["scope"]
    assert 13021 == client.error("private/buy", **ORDER)["code"]


def test_a_login_applies_to_requests_sent_before_its_reply() -> None:
    """Clients send login, subscription and order without waiting for replies."""
    harness = Harness()
    client = harness.connect()
    credentials = {"client_id": "alice-key", "client_secret": "alice-secret"}
    login = client.send(
        client.frame("public/auth", {"grant_type": "client_credentials", **credentials})
    )
    channel = "user.orders.BTC-PERPETUAL.raw"
    subscribed = client.send(client.frame("private/subscribe", {"channels": [channel]}))
    order = client.send(client.frame("private/buy", ORDER))
    assert [channel] == only_reply(subscribed)["result"]
    start = only_submit(login).command
    assert StartSession(session=client.sink.number, account=101) == start
    for outcomes in (login, order):
        client.carry_out(outcomes)
    auth, bought = client.sink.replies
    assert "bearer" == auth["result"]["token_type"]
    assert "open" == bought["result"]["order"]["order_state"]


def test_requests_of_a_session_are_numbered_from_one() -> None:
    """Numbers increase, and requests without a command take none."""
    client = Harness().connect("alice")
    client.call("public/get_time")
    origins = [only_submit(client.send(client.frame("private/buy", ORDER))).origin for _ in "ab"]
    assert [2, 3] == [origin.request for origin in origins]
    assert [client.sink.number] * 2 == [origin.session for origin in origins]


def test_a_request_with_a_token_acts_for_the_owner_of_the_token() -> None:
    """The connection's login does not change, and the command is outside its session."""
    harness = Harness()
    token = harness.connect().login("bob", scope="session:one")["access_token"]
    client = harness.connect("alice")
    submit = only_submit(client.send(client.frame("private/buy", ORDER | {"access_token": token})))
    assert (102, 0) == (getattr(submit.command, "account", None), submit.origin.session)
    client.carry_out([submit])
    assert [] == client.call("private/get_open_orders")
    assert 1 == len(client.call("private/get_open_orders", access_token=token))


def test_a_token_of_the_connections_own_account_stays_in_its_session() -> None:
    """Some clients send the token with every request; cancel-on-disconnect still applies."""
    client = Harness().connect()
    token = client.login("alice")["access_token"]
    submit = only_submit(client.send(client.frame("private/buy", ORDER | {"access_token": token})))
    assert client.sink.number == submit.origin.session


@pytest.mark.parametrize("token", ["nonsense", "a.b", ""])
def test_a_bad_token_is_unauthorized(token: str) -> None:
    """13009, even if the connection is logged in."""
    client = Harness().connect("alice")
    error = client.error("private/get_open_orders", access_token=token)
    assert (13009, "unauthorized") == (error["code"], error["message"])


def test_a_connection_token_is_invalid_on_other_connections() -> None:
    """The token is bound to the connection on which it was issued."""
    harness = Harness()
    token = harness.connect().login("alice")["access_token"]
    elsewhere = harness.connect().error("private/get_open_orders", access_token=token)
    status, body = harness.get(f"/api/v2/private/get_open_orders?access_token={token}")
    assert (13009, 401, 13009) == (elsewhere["code"], status, body["error"]["code"])


def test_an_expired_login_can_be_renewed() -> None:
    """Private methods return 13009 from the time of expiry; public ones, logins too, still work."""
    harness = Harness()
    client = harness.connect()
    granted = client.login("alice", scope="trade:read expires:60")
    assert 60 == granted["expires_in"]
    harness.clock.time += 60_000
    assert 13009 == client.error("private/get_open_orders")["code"]
    client.call("public/test")
    client.call("public/auth", grant_type="refresh_token", refresh_token=granted["refresh_token"])
    assert [] == client.call("private/get_open_orders")


def test_without_limits_requests_are_not_counted() -> None:
    """Credits can be switched off in the configuration."""
    client = Harness().connect()
    assert [START + 1_000] * 300 == [client.call("public/get_time") for _ in range(300)]


def test_a_client_without_credits_gets_an_error_and_is_disconnected() -> None:
    """A burst of 100, then 10028 and a close, as in the API; malformed requests cost too."""
    harness = Harness("[limits]\nenabled = true\n")
    client = harness.connect()
    for _ in range(50):
        assert "result" in only_reply(client.send(client.frame("public/get_time", {})))
        assert "error" in only_reply(client.send(b"{"))
    reply, close = client.send(client.frame("public/get_time", {}))
    assert isinstance(reply, Reply)
    error = {"code": 10028, "message": "too_many_requests"}
    assert error == msgspec.json.decode(whole(reply.data))["error"]
    assert Close(1008, "too_many_requests") == close
    harness.seconds += 0.05
    assert "result" in only_reply(client.send(client.frame("public/get_time", {})))


def test_orders_have_separate_credits_whose_exhaustion_keeps_the_connection() -> None:
    """A bot at its order limit stays connected and can still cancel all orders."""
    harness = Harness("[limits]\nenabled = true\nmatching_burst = 2\n")
    client = harness.connect("alice")
    replies = [client.request("private/buy", **ORDER) for _ in range(3)]
    assert [True, True, False] == ["result" in reply for reply in replies]
    assert 10028 == replies[2]["error"]["code"]
    assert client.closed is None
    assert 2 == client.call("private/cancel_all")


def test_the_order_requests_in_flight_of_an_account_are_bounded() -> None:
    """10047 beyond the limit on any connection; the answer to a request releases its place."""
    harness = Harness("[limits]\nenabled = true\nundecided_requests = 2\n")
    client, other = harness.connect("alice"), harness.connect("alice")
    first = only_submit(client.send(client.frame("private/buy", ORDER)))
    second = only_submit(other.send(other.frame("private/buy", ORDER)))
    error = only_reply(client.send(client.frame("private/buy", ORDER)))["error"]
    assert {"code": 10047, "message": "matching_engine_queue_full"} == error
    client.carry_out([first])
    third = only_submit(client.send(client.frame("private/buy", ORDER)))
    other.carry_out([second])
    client.carry_out([third])
    assert 3 == client.call("private/cancel_all")


def test_an_order_beyond_the_in_flight_limit_costs_credits() -> None:
    """10028 once the credits are used up; an account without the scope gets 13021."""
    harness = Harness("[limits]\nenabled = true\nundecided_requests = 1\nmatching_burst = 3\n")
    client = harness.connect("alice")
    only_submit(client.send(client.frame("private/buy", ORDER)))
    refused = [client.error("private/buy", amount="much")["code"] for _ in range(3)]
    assert [10047, 10047, 10028] == refused
    assert client.closed is None
    reader = harness.connect("reader")
    assert 13021 == reader.error("private/buy", **ORDER)["code"]


def test_a_repeated_request_is_answered_at_the_in_flight_limit() -> None:
    """With a known key the first answer is repeated; a new key gets 10047."""
    harness = Harness("[limits]\nenabled = true\nundecided_requests = 1\n")
    client = harness.connect("alice")
    order = client.call("private/buy", **ORDER, idempotency_key="k")["order"]
    only_submit(client.send(client.frame("private/buy", ORDER)))
    assert order == client.call("private/buy", **ORDER, idempotency_key="k")["order"]
    assert 10047 == client.error("private/buy", **ORDER, idempotency_key="new")["code"]
    assert 10047 == client.error("private/cancel", order_id=order["order_id"])["code"]


def test_a_login_is_not_counted_in_flight() -> None:
    """A client can send its login and all its orders at once."""
    client = Harness("[limits]\nenabled = true\nundecided_requests = 1\n").connect()
    credentials = {"client_id": "alice-key", "client_secret": "alice-secret"}
    params = {"grant_type": "client_credentials", **credentials}
    login = only_submit(client.send(client.frame("public/auth", params)))
    order = only_submit(client.send(client.frame("private/buy", ORDER)))
    client.carry_out([login, order])
    assert "open" == client.sink.replies[1]["result"]["order"]["order_state"]


def test_a_request_that_never_reached_the_exchange_releases_its_place() -> None:
    """Whether the inbox was full or the connection ended, the place is released."""
    harness = Harness("[limits]\nenabled = true\nundecided_requests = 1\n")
    client = harness.connect("alice")
    submit = only_submit(client.send(client.frame("private/buy", ORDER)))
    harness.venue.feed.unregister_request(submit.origin)
    refused = msgspec.json.decode(submit.pending.refuse(10047))
    assert (10047, 2) == (refused["error"]["code"], refused["id"])
    only_submit(client.send(client.frame("private/buy", ORDER)))
    client.hang_up()
    again = harness.connect("alice")
    assert "result" in again.request("private/buy", **ORDER)


def test_a_login_whose_session_does_not_start_is_reverted() -> None:
    """The login fails, and so does the next private request."""
    client = Harness().connect()
    credentials = {"client_id": "alice-key", "client_secret": "alice-secret"}
    frame = client.frame("public/auth", {"grant_type": "client_credentials", **credentials})
    pending = only_submit(client.send(frame)).pending
    assert 10047 == msgspec.json.decode(pending.refuse(10047))["error"]["code"]
    assert 10000 == client.error("private/get_open_orders")["code"]


def test_a_second_login_succeeds_after_the_first_failed() -> None:
    """Both were sent at once; only the second StartSession was taken."""
    client = Harness().connect()
    credentials = {"client_id": "alice-key", "client_secret": "alice-secret"}
    params = {"grant_type": "client_credentials", **credentials}
    first, second = (only_submit(client.send(client.frame("public/auth", params))) for _ in "ab")
    client.harness.venue.feed.unregister_request(first.origin)
    first.pending.refuse(10047)
    client.carry_out([second])
    assert "open" == client.call("private/buy", **ORDER)["order"]["order_state"]


def test_a_closing_venue_rejects_commands_and_answers_queries() -> None:
    """11051 tells clients to retry later."""
    harness = Harness()
    client = harness.connect("alice")
    harness.venue.closing = True
    assert {"code": 11051, "message": "system_maintenance"} == client.error("private/buy", **ORDER)
    assert [] == client.call("private/get_open_orders")


def test_logout_closes_quietly_and_revokes_the_tokens() -> None:
    """No reply and no cancel-on-disconnect; the refresh token is invalid."""
    harness = Harness()
    client = harness.connect()
    granted = client.login("alice")
    (close,) = client.send(client.frame("private/logout", {}))
    assert Close(1000, "logout", quietly=True) == close
    assert 13009 == client.error("private/get_open_orders")["code"]
    refresh = {"grant_type": "refresh_token", "refresh_token": granted["refresh_token"]}
    assert 13009 == client.error("public/auth", **refresh)["code"]


def test_a_connection_may_log_in_to_another_account() -> None:
    """The last login applies; later orders belong to the new account."""
    harness = Harness()
    client = harness.connect("alice")
    mine = client.call("private/buy", **ORDER)["order"]["order_id"]
    client.login("bob")
    assert 10004 == client.error("private/cancel", order_id=mine)["code"]
    theirs = client.call("private/buy", **ORDER)["order"]
    assert 102 == theirs["user_id"]


def test_an_idle_client_gets_a_test_request_and_is_then_disconnected() -> None:
    """A heartbeat while there is input, then a test request, then the close."""
    client = Harness().connect()
    session = client.session
    session.on_chunk(0.0)
    client.call("public/set_heartbeat", interval=10)
    assert 10.0 == session.next_wake()
    session.on_chunk(5.0)
    said = [_pushed(client, at) for at in (9.9, 10.0, 20.0)]
    assert [None, "heartbeat", "test_request"] == said
    session.on_chunk(25.0)
    assert ["heartbeat", "test_request", 1008] == [_pushed(client, at) for at in (30, 40, 50)]


def test_a_connection_without_input_is_closed_after_ten_minutes() -> None:
    """The timeout applies without heartbeats, too."""
    client = Harness().connect()
    client.session.on_chunk(0.0)
    assert 600.0 == client.session.next_wake()
    assert [None, 1008] == [_pushed(client, at) for at in (599.0, 600.0)]


def _pushed(client: Client, now: float) -> object:
    """Return the type of the heartbeat sent at `now`, the close code, or None."""
    outcomes = client.session.check_heartbeat(now)
    if not outcomes:
        return None
    (outcome,) = outcomes
    if isinstance(outcome, Close):
        return outcome.code
    return msgspec.json.decode(whole(outcome.data))["params"]["type"]


def test_a_deeply_nested_request_gets_a_reply() -> None:
    """Including the depth that one decoder accepts and the other does not."""
    client = Harness().connect("alice")
    start = b'{"id":1,"method":"private/buy","params":{"access_token":null,"x":'
    for depth in range(0, 1_100, 1):
        reply = only_reply(client.send(start + b"[" * depth + b"1" + b"]" * depth + b"}}"))
        assert reply["error"]["code"] in (-32602, -32700)
