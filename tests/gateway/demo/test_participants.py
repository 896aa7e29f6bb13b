"""Who takes part in the demo."""

import pytest

from gateway.config.schema import Config, parse
from gateway.config.toml_reader import ConfigError
from gateway.demo.participants import CONNECTIONS, GAMBLERS, MAKERS, TAKERS, assemble

ACCOUNT = """
[[account]]
name = "carol"
client_id = "{client_id}"
client_secret = "carol-secret"
"""


def test_the_guests_are_two_funded_accounts_with_known_keys() -> None:
    """So that examples and documentation can name them."""
    config, participants = assemble(Config())
    assert [("alice-key", "alice-secret"), ("bob-key", "bob-secret")] == [
        (guest.client_id, guest.client_secret) for guest in participants.guests
    ]
    assert all(guest.deposits["BTC"] > 0 for guest in participants.guests)
    assert 2 + MAKERS + TAKERS + GAMBLERS == len(config.account)


def test_a_venue_that_others_can_reach_has_secrets_that_nobody_knows() -> None:
    """A well-known secret is for loopback alone."""
    open_to_all = parse('[server]\nhttp = "0.0.0.0:8080"')
    first, second = (assemble(open_to_all)[1].guests[0].client_secret for _ in range(2))
    assert "alice-secret" not in {first, second}
    assert first != second


def test_accounts_of_the_file_are_the_guests() -> None:
    """Then no others are made up."""
    _, participants = assemble(parse(ACCOUNT.format(client_id="carol-key")))
    assert ["carol"] == [guest.name for guest in participants.guests]


def test_an_account_named_like_a_bot_is_refused() -> None:
    """Two accounts with one key would be one."""
    with pytest.raises(ConfigError, match="carol"):
        assemble(parse(ACCOUNT.format(client_id="demo.maker1")))


@pytest.mark.parametrize("wanted", [1, 5_000])
def test_all_bots_may_connect_from_one_address(wanted: int) -> None:
    """The limit is raised to what the crowd needs, and never lowered."""
    config, _ = assemble(parse(f"[limits]\nconnections_per_address = {wanted}"))
    assert max(CONNECTIONS, wanted) == config.limits.connections_per_address
