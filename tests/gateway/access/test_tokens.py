"""Tests of access and refresh tokens."""

import base64

import msgspec
import pytest

from gateway.access import tokens as module
from gateway.access.scope import parse_scope
from gateway.access.tokens import HTTP, LIFETIME_SECONDS, AuthError, TokenPair, Tokens

NOW = 1_700_000_000_000
MAX = parse_scope("mainaccount account:read_write trade:read_write")
ADDRESS = "127.0.0.1"


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(b"s" * 32)


def issue(tokens: Tokens, scope: str = "", connection: str = "c1", now: int = NOW) -> TokenPair:
    return tokens.issue("alice-key", 7, parse_scope(scope).within(MAX), connection, now)


def refused(
    tokens: Tokens, token: str, connection: str = "c1", address: str = ADDRESS, now: int = NOW
) -> str:
    """Return the reason for which an access token is invalid."""
    with pytest.raises(AuthError) as error:
        tokens.read(token, connection, address, now)
    assert (13009, "unauthorized") == (error.value.code, error.value.message)
    assert error.value.data is not None
    return error.value.data["reason"]


def test_a_token_gives_its_principal(tokens: Tokens) -> None:
    """Reading an access token gives the principal of the log-in."""
    pair = issue(tokens, "session:bot trade:read")
    assert pair.principal == tokens.read(pair.access, "c2", ADDRESS, NOW)
    assert ("alice-key", 7) == (pair.principal.client_id, pair.principal.account)
    assert "session:bot mainaccount trade:read" == str(pair.principal.scope)


def test_a_connection_token_is_valid_on_its_connection_only(tokens: Tokens) -> None:
    """It is invalid on other connections and over HTTP; a session's token is valid anywhere."""
    bound, free = issue(tokens), issue(tokens, "session:bot")
    assert bound.principal == tokens.read(bound.access, "c1", ADDRESS, NOW)
    for elsewhere in ("c2", HTTP):
        assert "token belongs to another connection" == refused(tokens, bound.access, elsewhere)
        assert free.principal == tokens.read(free.access, elsewhere, ADDRESS, NOW)


def test_a_token_issued_over_http_is_valid_over_http(tokens: Tokens) -> None:
    """HTTP has no connection that ends: its tokens are valid for later HTTP requests only."""
    pair = issue(tokens, connection=HTTP)
    assert pair.principal == tokens.read(pair.access, HTTP, ADDRESS, NOW)
    assert "token belongs to another connection" == refused(tokens, pair.access, "c1")


def test_a_token_expires(tokens: Tokens) -> None:
    """`expires:60` ends the access token after a minute; the refresh token outlives it."""
    pair = issue(tokens, "expires:60")
    assert 60 == pair.expires_seconds
    assert pair.principal == tokens.read(pair.access, "c1", ADDRESS, NOW + 59_999)
    assert "token has expired" == refused(tokens, pair.access, now=NOW + 60_000)
    again = tokens.refresh(pair.refresh, "c1", ADDRESS, NOW + 60_000)
    assert again.principal == tokens.read(again.access, "c1", ADDRESS, NOW + 119_999)


def test_the_longest_lifetime_is_a_year(tokens: Tokens) -> None:
    """Without `expires:`, and with a longer one, both tokens live for the API's year."""
    for scope in ("", "expires:99999999"):
        pair = issue(tokens, scope)
        end = NOW + LIFETIME_SECONDS * 1_000
        assert (LIFETIME_SECONDS, end) == (pair.expires_seconds, pair.principal.expires_at)
        with pytest.raises(AuthError) as error:
            tokens.refresh(pair.refresh, "c1", ADDRESS, end)
        assert {"reason": "token has expired"} == error.value.data


def test_a_refresh_replaces_the_generation_before(tokens: Tokens) -> None:
    """After a refresh, old tokens and a stored principal are invalid; new ones are valid."""
    first = issue(tokens)
    tokens.require_valid(first.principal, NOW)
    second = tokens.refresh(first.refresh, "c1", ADDRESS, NOW)
    assert "token was replaced or invalidated" == refused(tokens, first.access)
    with pytest.raises(AuthError):
        tokens.refresh(first.refresh, "c1", ADDRESS, NOW)
    with pytest.raises(AuthError):
        tokens.require_valid(first.principal, NOW)
    assert second.principal == tokens.read(second.access, "c1", ADDRESS, NOW)


def test_a_refresh_affects_no_other_log_in(tokens: Tokens) -> None:
    """Another log-in on the same connection, with the same key, keeps its tokens."""
    one, other = issue(tokens), issue(tokens)
    tokens.refresh(one.refresh, "c1", ADDRESS, NOW)
    assert other.principal == tokens.read(other.access, "c1", ADDRESS, NOW)


def test_a_refresh_keeps_the_session_and_can_only_narrow(tokens: Tokens) -> None:
    """The session name stays, and permissions that were given up do not return."""
    pair = issue(tokens, "session:bot trade:read_write")
    pair = tokens.refresh(pair.refresh, "c9", ADDRESS, NOW, "session:other trade:read")
    assert "session:bot mainaccount trade:read" == str(pair.principal.scope)
    pair = tokens.refresh(pair.refresh, HTTP, ADDRESS, NOW, "trade:read_write account:read")
    assert "session:bot mainaccount trade:read" == str(pair.principal.scope)


def test_log_ins_to_one_session_share_a_token_family(tokens: Tokens) -> None:
    """A named session joined twice is one family: a refresh replaces the tokens of both."""
    first, second = issue(tokens, "session:bot"), issue(tokens, "session:bot")
    assert second.principal == tokens.read(second.access, "c1", ADDRESS, NOW)
    tokens.refresh(second.refresh, "c1", ADDRESS, NOW)
    assert "token was replaced or invalidated" == refused(tokens, first.access)
    third = issue(tokens, "session:bot")
    assert third.principal == tokens.read(third.access, "c1", ADDRESS, NOW)


def test_a_seventeenth_session_ends_the_oldest(tokens: Tokens) -> None:
    """A key has 16 named sessions; the least recently used one ends."""
    pairs = [issue(tokens, f"session:s{number}") for number in range(16)]
    pairs[0] = issue(tokens, "session:s0")
    issue(tokens, "session:s16")
    assert "token was replaced or invalidated" == refused(tokens, pairs[1].access)
    for pair in (pairs[0], *pairs[2:]):
        assert pair.principal == tokens.read(pair.access, "c1", ADDRESS, NOW)


def test_invalidated_tokens_stay_invalid(tokens: Tokens) -> None:
    """After an invalidating log-out, a new log-in to the session does not revive old tokens."""
    old = issue(tokens, "session:bot")
    tokens.invalidate(old.principal)
    new = issue(tokens, "session:bot")
    assert "token was replaced or invalidated" == refused(tokens, old.access)
    assert new.principal == tokens.read(new.access, "c1", ADDRESS, NOW)


def test_an_invalidated_session_is_not_counted(tokens: Tokens) -> None:
    """It is not counted among the key's 16, so that a new one ends no other."""
    pairs = [issue(tokens, f"session:s{number}") for number in range(16)]
    tokens.invalidate(pairs[5].principal)
    issue(tokens, "session:s16")
    assert pairs[0].principal == tokens.read(pairs[0].access, "c1", ADDRESS, NOW)


def test_a_full_memory_revives_no_token(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bound, the memory of revoked families invalidates whole old families."""
    monkeypatch.setattr(module, "MAX_REVOKED_FAMILIES", 10)
    dead = []
    bystander = issue(tokens, "session:bot")
    for _ in range(100):
        pair = issue(tokens)
        tokens.invalidate(pair.principal)
        dead.append(pair.access)
    young = issue(tokens)
    assert 10 >= len(tokens._oldest_valid)
    assert {"token was replaced or invalidated"} == {refused(tokens, each) for each in dead}
    assert "token was replaced or invalidated" == refused(tokens, bystander.access)
    assert young.principal == tokens.read(young.access, "c1", ADDRESS, NOW)
    again = issue(tokens, "session:bot")
    assert again.principal == tokens.read(again.access, "c1", ADDRESS, NOW)


def test_a_token_is_bound_to_its_address(tokens: Tokens) -> None:
    """`ip:` tokens are valid from that address only, for access and for refresh."""
    pair = issue(tokens, "ip:10.0.0.1")
    assert "bound to another address" == refused(tokens, pair.access)
    with pytest.raises(AuthError):
        tokens.refresh(pair.refresh, "c1", ADDRESS, NOW)
    assert pair.principal == tokens.read(pair.access, "c1", "10.0.0.1", NOW)


def test_access_and_refresh_tokens_are_not_interchangeable(tokens: Tokens) -> None:
    """A refresh token grants no access, and an access token cannot be refreshed."""
    pair = issue(tokens)
    assert "token is of kind refresh, not access" == refused(tokens, pair.refresh)
    with pytest.raises(AuthError):
        tokens.refresh(pair.access, "c1", ADDRESS, NOW)


def test_forged_tokens_are_refused(tokens: Tokens) -> None:
    """A changed claim, a cut signature, another process's secret and random text are invalid."""
    pair = issue(tokens, "trade:read")
    payload, seal = pair.access.split(".")
    claims = msgspec.json.decode(base64.urlsafe_b64decode(payload))
    claims[2] += 1
    forged = base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode()
    foreign = issue(Tokens(b"t" * 32)).access
    for token in (
        f"{forged}.{seal}",
        f"{payload}.{seal[:-1]}",
        payload,
        foreign,
        "",
        ".",
        "é\ud800",
    ):
        assert "not a token of this venue" == refused(tokens, token)


def test_the_secret_is_not_shown(tokens: Tokens) -> None:
    """The text of the object, as a traceback shows it, contains no secret."""
    assert "ssss" not in repr(tokens)
