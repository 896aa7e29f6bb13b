"""Tests of the limits on wrong secrets, by address and by key."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from hmac import HMAC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import login_attempts
from gateway.access.login_attempts import ADDRESSES_PER_KEY, FailureCounter, LoginGuard
from gateway.api.context import HttpRequest
from tests.gateway.harness import Client, Harness, Json

ORDER = "instrument_name=BTC-PERPETUAL&amount=10&price=60000"


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


def signed(harness: Harness, target: str, secret: str) -> str:
    stamp = harness.clock.time
    message = f"{stamp}\n{secret}\nGET\n{target}\n\n".encode()
    signature = HMAC(secret.encode(), message, sha256).hexdigest()
    return f"deri-hmac-sha256 id=alice-key,ts={stamp},nonce={secret},sig={signature}"


def code(reply: Json) -> int | None:
    error: Json = reply.get("error", {})
    return error.get("code")


def log_in_with_wrong_secret(
    harness: Harness, key: str = "alice-key", address: str = "127.0.0.1"
) -> int | None:
    """Log in with a wrong secret; return the error code."""
    request = HttpRequest(
        verb="GET",
        target="/api/v2/private/get_open_orders",
        method="private/get_open_orders",
        authorization=basic(key, "wrong"),
    )
    return code(harness.http(request, address)[1])


def log_in_with_right_secret(
    harness: Harness, key: str = "alice-key", address: str = "127.0.0.1"
) -> int | None:
    """Log in with the right secret; return the error code."""
    request = HttpRequest(
        verb="GET",
        target="/api/v2/private/get_open_orders",
        method="private/get_open_orders",
        authorization=basic(key, key.replace("key", "secret")),
    )
    return code(harness.http(request, address)[1])


WAYS = ("client_credentials", "client_signature", "basic", "hmac")


def by(way: str, client: Client, secret: str) -> int | None:
    """Log in by one of the ways of presenting a secret."""
    harness = client.harness
    target = "/api/v2/private/get_open_orders"
    stamp = harness.clock.time
    match way:
        case "client_credentials":
            params: Json = {"client_secret": secret}
        case "client_signature":
            message = f"{stamp}\n{secret}\n".encode()
            signature = HMAC(secret.encode(), message, sha256).hexdigest()
            params = {"timestamp": stamp, "nonce": secret, "signature": signature}
        case "basic":
            return code(harness.get(target, basic("alice-key", secret))[1])
        case _:
            return code(harness.get(target, signed(harness, target, secret))[1])
    return code(client.request("public/auth", grant_type=way, client_id="alice-key", **params))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("right", WAYS)
def test_an_address_with_wrong_secrets_is_limited_and_right_ones_are_accepted(
    way: str, right: str
) -> None:
    """20 wrong secrets a minute get 13004, more get 12003; right ones are still accepted."""
    harness = Harness()
    codes = [by(way, harness.connect(), f"wrong{number}") for number in range(25)]
    assert [13004] * 20 + [12003] * 5 == codes
    assert by(right, harness.connect(), "alice-secret") is None
    harness.seconds += 61
    assert 13004 == by(way, harness.connect(), "wrong")


def test_tokens_stay_valid_from_a_limited_address() -> None:
    """Tokens are not counted: they stay valid, over HTTP and WebSocket, in every form."""
    harness = Harness()
    client = harness.connect()
    granted = client.login("alice", scope="session:one")
    token = granted["access_token"]
    status, bought = harness.get(f"/api/v2/private/buy?{ORDER}", f"bearer {token}")
    assert 200 == status
    for _ in range(60):
        log_in_with_wrong_secret(harness)
    order = bought["result"]["order"]["order_id"]
    calls: list[tuple[str, Any]] = [
        (f"/api/v2/private/cancel?order_id={order}", f"bearer {token}"),
        ("/api/v2/private/get_open_orders", f"bearer {token}"),
        (f"/api/v2/private/get_open_orders?access_token={token}", ""),
        ("/api/v2/private/cancel_all", basic("bob-key", "bob-secret")),
    ]
    assert [200] * 4 == [harness.get(*call)[0] for call in calls]
    assert [] == client.call("private/get_open_orders")
    assert [] == client.call("private/get_open_orders", access_token=token)
    assert "access_token" in client.call(
        "public/auth", grant_type="refresh_token", refresh_token=granted["refresh_token"]
    )


def test_wrong_tokens_are_not_counted() -> None:
    """A signature of 32 bytes cannot be guessed, and a bot with an old token may refresh it."""
    harness = Harness()
    client = harness.connect()
    for _ in range(150):
        status, body = harness.get("/api/v2/private/get_open_orders", "bearer x.y")
        assert (401, 13009) == (status, code(body))
        assert 13009 == client.error("private/get_open_orders", access_token="x.y")["code"]
        renewal = {"grant_type": "refresh_token", "refresh_token": "x.y"}
        assert 13009 == client.error("public/auth", **renewal)["code"]
    assert [13004] * 20 == [log_in_with_wrong_secret(harness) for _ in range(20)]


def test_signatures_with_the_right_secret_are_not_counted() -> None:
    """A late or repeated signature is rejected, however often, and locks no client out."""
    harness = Harness()
    target = "/api/v2/private/get_open_orders"
    header = signed(harness, target, "alice-secret")
    assert 200 == harness.get(target, header)[0]
    for _ in range(150):
        assert 13004 == code(harness.get(target, header)[1])
    assert [13004] * 20 == [log_in_with_wrong_secret(harness) for _ in range(20)]


@pytest.mark.parametrize("key", ["alice-key", "no-key"])
def test_a_key_takes_a_hundred_wrong_secrets_an_hour(key: str) -> None:
    """This holds for all addresses together; the error does not reveal whether the key exists."""
    harness = Harness()
    codes = [log_in_with_wrong_secret(harness, key, f"10.0.{number}.1") for number in range(101)]
    assert [13004] * 100 + [12003] == codes
    if key == "alice-key":
        assert 12003 == log_in_with_right_secret(harness, key, "10.1.0.1")
        assert log_in_with_right_secret(harness, "bob-key", "10.1.0.1") is None
    harness.seconds += 3_599
    assert 12003 == log_in_with_wrong_secret(harness, key, "10.2.0.1")
    harness.seconds += 1
    assert 13004 == log_in_with_wrong_secret(harness, key, "10.2.0.1")


def test_wrong_secrets_from_elsewhere_do_not_lock_an_owner_out() -> None:
    """An address from which the key was used stays allowed if it sends no wrong secrets."""
    harness = Harness()
    assert log_in_with_right_secret(harness, address="192.0.2.1") is None
    for number in range(150):
        log_in_with_wrong_secret(harness, address=f"10.0.{number}.1")
    assert 12003 == log_in_with_right_secret(harness, address="10.0.0.1")
    assert log_in_with_right_secret(harness, address="192.0.2.1") is None
    # Within a minute of each other, and also at a rate below the limit of an address.
    codes = []
    for _ in range(30):
        harness.seconds += 10
        codes.append(log_in_with_wrong_secret(harness, address="192.0.2.1"))
    assert [13004] * 20 + [12003] * 10 == codes
    assert 12003 == log_in_with_right_secret(harness, address="192.0.2.1")
    assert log_in_with_right_secret(harness, "bob-key", address="192.0.2.1") is None


def test_an_ipv6_network_is_limited_as_one_address() -> None:
    """One host has a whole /64 to log_in_with_wrong_secret from."""
    harness = Harness()
    codes = [
        log_in_with_wrong_secret(harness, address=f"2001:db8::{number:x}") for number in range(25)
    ]
    assert [13004] * 20 + [12003] * 5 == codes


steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "own"]), st.booleans(), st.floats(0, 40)),
    max_size=200,
)


@given(steps)
def test_no_hour_holds_more_wrong_secrets_than_allowed(
    steps: list[tuple[str, bool, float]],
) -> None:
    """An hour holds at most the key's limit, plus that of the owner's address."""
    now = 0.0
    guard = LoginGuard(3, 6, lambda: now)
    guard.record_success("key", "own")
    tried: list[float] = []
    for address, right, pause in steps:
        now += pause
        if guard.blocks("key", address, known=True):
            assert len([at for at in tried if at + 3_600 > now]) >= 6
            continue
        if right and address == "own":
            guard.record_success("key", address)
        else:
            guard.record_failure("key", address, known=True)
            tried.append(now)
        assert len([at for at in tried if at + 3_600 > now]) <= 6 + 3


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters are bounded, and the addresses that a key's owner used last stay known."""
    monkeypatch.setattr(login_attempts, "UNKNOWN_KEYS", 10)
    monkeypatch.setattr(login_attempts, "MAX_SUBJECTS", 10)
    guard = LoginGuard()
    for number in range(1_000):
        guard.record_failure(f"no-key{number}", f"10.{number // 250}.{number % 250}.1", known=False)
        guard.record_success("alice-key", f"10.{number // 250}.{number % 250}.1")
    sizes = [
        len(guard._by_address),
        len(guard._by_unknown_id),
        len(guard._by_key),
        len(guard._by_key_and_address),
    ]
    assert [10, 10, 0, 0] == sizes
    assert ADDRESSES_PER_KEY == len(guard._addresses_of_key["alice-key"])


def test_the_failures_of_a_subject_are_bounded() -> None:
    """The subject whose last failure is the oldest is dropped first; each has `limit` times."""
    failures: FailureCounter[str] = FailureCounter(2, 60.0, 5)
    for number in range(100):
        failures.add(str(number), number / 100)
        failures.add("guesser", number / 100)
    assert 5 == len(failures)
    assert failures.limit_reached("guesser", 1.0)
    assert 2 == len(failures._failures["guesser"])
    assert not failures.limit_reached("guesser", 0.98 + 60.0)


@given(st.lists(st.floats(0, 30), max_size=80), st.integers(1, 5))
def test_no_window_has_more_failures_than_allowed(pauses: list[float], most: int) -> None:
    """However attempts are spaced, any window holds at most that many failures."""
    failures: FailureCounter[str] = FailureCounter(most, 60.0, 5)
    now = 0.0
    guard: list[float] = []
    for pause in pauses:
        now += pause
        recent = [at for at in guard if at + 60 > now]
        assert failures.limit_reached("a", now) == (len(recent) >= most)
        if len(recent) < most:
            failures.add("a", now)
            guard.append(now)
