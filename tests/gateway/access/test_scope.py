"""Tests of scopes: requests, grants, and their text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.scope import AREAS, LEVELS, ScopeError, canonical_address, parse_scope

MAX = parse_scope("mainaccount account:read_write trade:read_write wallet:read")


@pytest.mark.parametrize(
    ("requested", "granted"),
    [
        ("", "connection mainaccount account:read_write trade:read_write wallet:read"),
        (
            "session:bot-1",
            "session:bot-1 mainaccount account:read_write trade:read_write wallet:read",
        ),
        ("trade:read", "connection mainaccount trade:read"),
        (
            "trade:read_write wallet:read_write",
            "connection mainaccount trade:read_write wallet:read",
        ),
        ("block_trade:read account:read", "connection mainaccount account:read"),
        ("trade:none", "connection mainaccount"),
        ("wallet:read session:x connection", "connection mainaccount wallet:read"),
        (
            "expires:60 name:desk ip:10.0.0.1 account:read session:x",
            "session:x mainaccount account:read expires:60 ip:10.0.0.1 name:desk",
        ),
        ("custody:everything teleport trade:read ip:*", "connection mainaccount trade:read"),
    ],
)
def test_a_grant_is_the_intersection_of_request_and_key(requested: str, granted: str) -> None:
    """The granted scope is the intersection, formatted with the session first."""
    assert granted == str(parse_scope(requested).within(MAX))


def test_a_key_for_a_subaccount_does_not_become_a_main_account() -> None:
    """`mainaccount` comes with the key and is never granted on request."""
    key = parse_scope("trade:read")
    assert "connection trade:read" == str(parse_scope("mainaccount trade:read_write").within(key))


def test_the_bounds_of_the_key_apply() -> None:
    """A key's own lifetime and address bind each of its log-ins."""
    key = parse_scope("trade:read expires:60 ip:10.0.0.1")
    assert "connection trade:read expires:60 ip:10.0.0.1" == str(
        parse_scope("expires:3600 ip:10.0.0.2").within(key)
    )
    assert "connection trade:read expires:30 ip:10.0.0.1" == str(
        parse_scope("expires:30 ip:*").within(key)
    )


@pytest.mark.parametrize(
    ("scope", "need", "allowed"),
    [
        ("trade:read", "trade:read", True),
        ("trade:read", "trade:read_write", False),
        ("trade:read_write", "trade:read", True),
        ("trade:none", "trade:read", False),
        ("account:read_write", "trade:read", False),
        ("", "account:read", False),
        ("mainaccount", "mainaccount", True),
        ("account:read_write", "mainaccount", False),
    ],
)
def test_write_includes_read_and_nothing_else(scope: str, need: str, allowed: bool) -> None:
    """A method needs its area at its level; read_write includes read; the default is none."""
    assert allowed is parse_scope(scope).allows(need)


@pytest.mark.parametrize(
    "text",
    [
        *("session", "session:", "session:" + "x" * 65, "session:a/b", "session:\u00e9"),
        *("expires", "expires:", "expires:0", "expires:-1", "expires:x", "expires:1.5"),
        *("expires:1e3", "expires:\u0661", "expires:" + "9" * 10),
        *("ip", "ip:", "ip:banana", "ip:10.0.0", "ip:10.0.0.256", "ip:10.0.0.1/24", "ip:10.0.0.*"),
        *("ip:010.0.0.1", "ip:0x7f000001", "ip:127.1", "ip:localhost", "ip:[::1]", "ip:::g"),
        *("name", "name:", "name:a/b", "name:" + "x" * 65),
        *("trade", "trade:", "trade:write", "trade:READ", "account:read:write", "wallet:read,none"),
        *("block_trade:rw", "block_rfq:1"),
    ],
)
def test_invalid_bounds_are_rejected(text: str) -> None:
    """A session, lifetime, address, label or level that would be misread is an error."""
    with pytest.raises(ScopeError, match=re.escape(f"cannot read scope `{text}`")):
        parse_scope(text)
    with pytest.raises(ScopeError, match=re.escape(f"scope `{text}`")):
        parse_scope(text, strict=True)


@pytest.mark.parametrize(
    "text", ["teleport", "teleport:read", "custody:everything", "connection:x", "mainaccount:x"]
)
def test_an_unknown_permission_grants_nothing(text: str) -> None:
    """Requested alone, it grants nothing, rather than the key's other permissions."""
    assert "connection mainaccount" == str(parse_scope(text).within(MAX))
    assert "connection mainaccount trade:read" == str(parse_scope(f"{text} trade:read").within(MAX))
    with pytest.raises(ScopeError, match=f"unknown scope `{text}`"):
        parse_scope(text, strict=True)


@pytest.mark.parametrize(
    ("bound", "address"),
    [
        ("ip:10.0.0.1", "10.0.0.1"),
        ("ip:10.0.0.1", "::ffff:10.0.0.1"),
        ("ip:::ffff:10.0.0.1", "10.0.0.1"),
        ("ip:2001:DB8:0:0::1", "2001:db8::1"),
    ],
)
def test_spellings_of_an_address_are_equal(bound: str, address: str) -> None:
    """A token bound to an address is valid from it in every spelling of the address."""
    assert canonical_address(address) == parse_scope(bound).address


def test_a_configured_scope_is_parsed_strictly() -> None:
    """In a configuration a misspelt permission is an error."""
    with pytest.raises(ScopeError, match="unknown scope `trade:write`: areas are account,"):
        parse_scope("account:read trade:write", strict=True)


permissions = st.lists(
    st.tuples(st.sampled_from(AREAS), st.sampled_from(LEVELS)).map(":".join), max_size=8
).map(" ".join)


@given(permissions, permissions)
def test_a_grant_never_exceeds_the_key_nor_a_request(requested: str, limit: str) -> None:
    """A grant has only what the key has and, if areas were requested, what was requested."""
    asked, key = parse_scope(requested), parse_scope(limit)
    granted = asked.within(key)
    for need in (f"{area}:{level}" for area in AREAS for level in ("read", "read_write")):
        assert granted.allows(need) == (
            key.allows(need) and (asked.allows(need) or not requested)
        ), need


@given(permissions, permissions)
def test_a_granted_scope_survives_formatting(requested: str, limit: str) -> None:
    """Tokens carry scopes as text: parsing one gives the same scope."""
    granted = parse_scope(f"session:a expires:5 {requested}").within(parse_scope(limit))
    assert granted == parse_scope(str(granted))
