"""Tests of the start-up: differences from the configuration become commands, once."""

import pytest
import trio

from book.units import MONEY, SECOND
from gateway.access.authenticator import Keyring
from gateway.config import schema
from gateway.config.toml_reader import ConfigError
from gateway.sequencer.bootstrap import (
    Bootstrap,
    account_numbers,
    configuration_commands,
    fill_keyring,
    next_start,
    risk_parameters,
)
from gateway.session_numbers import SESSIONS_PER_START
from risk.commands import (
    Command,
    Deposit,
    EndSessions,
    Entry,
    OpenAccount,
    Origin,
    SetParameters,
    SetProduct,
    StartSession,
)
from risk.exchange import Exchange
from risk.risk_terms import LossPolicy
from risk.state import INSURANCE
from tests.gateway.harness import START
from tests.gateway.server_fixtures import floor

ALICE = '[[account]]\nname = "alice"\nclient_id = "a"\nclient_secret = "s"\n'
BOB = '[[account]]\nname = "bob"\nclient_id = "b"\nclient_secret = "s"\ndeposits = { ETH = 5 }\n'


def started(text: str, exchange: Exchange | None = None) -> Exchange:
    """Return an exchange on which a process with this configuration has started."""
    exchange = exchange or Exchange()
    apply(
        exchange,
        configuration_commands(schema.parse(text), exchange.state, next_start(exchange.state)),
    )
    return exchange


def apply(exchange: Exchange, commands: list[Command], session: int = 0) -> None:
    """Apply commands one after the other."""
    for command in commands:
        number = exchange.state.sequence + 1
        exchange.apply(Entry(number, START, Origin(session=session, request=number), command))


def test_an_empty_venue_gets_products_fund_accounts_and_deposits() -> None:
    """Their order is such that each command finds what it needs."""
    exchange = started(ALICE + "deposits = { BTC = 2 }\n" + BOB)
    state = exchange.state
    assert ["alice", "bob"] == [state.accounts[number].name for number in (101, 102)]
    assert 2 * MONEY == state.wallet(101, "BTC").balance
    assert 5 * MONEY == state.wallet(102, "ETH").balance
    assert 10 * MONEY == state.wallet(INSURANCE, "BTC").balance
    assert "BTC-PERPETUAL" in state.markets
    exchange.check()


def test_the_same_configuration_changes_nothing_at_the_next_start() -> None:
    """Deposits are made once, when an account is opened."""
    exchange = started(ALICE + BOB)
    again = configuration_commands(
        schema.parse(ALICE + BOB), exchange.state, next_start(exchange.state)
    )
    assert [EndSessions(before=2 * SESSIONS_PER_START)] == again


def test_a_new_account_gets_the_next_number_at_any_position_in_the_file() -> None:
    """Numbers belong to names, not to positions in the file."""
    exchange = started(BOB)
    parsed = schema.parse(ALICE + BOB)
    assert {"bob": 101, "alice": 102} == account_numbers(parsed, exchange.state)
    new = configuration_commands(parsed, exchange.state, 2)
    assert [OpenAccount(account=102, name="alice")] == new[1:]
    keyring = Keyring()
    fill_keyring(keyring, parsed, exchange.state)
    found = [keyring.get(client_id) for client_id in ("a", "b")]
    assert [102, 101] == [each.account for each in found if each is not None]


def test_changed_parameters_and_terms_are_set_again() -> None:
    """The configuration is compared with the state, not with an earlier configuration."""
    exchange = started("")
    text = '[risk]\nloss_policy = "socialise"\nsupervision_seconds = 9\n'
    rules = risk_parameters(schema.parse(text))
    assert (LossPolicy.SOCIALISE, 9 * SECOND) == (rules.loss_policy, rules.supervision)
    changed = exchange.state.products["BTC", False]
    exchange.state.products["BTC", False] = SetProduct(
        contract=changed.contract, terms=exchange.state.products["ETH", False].terms
    )
    new = configuration_commands(schema.parse(text), exchange.state, 2)
    assert [SetParameters(parameters=rules), changed] == new[1:]


def test_each_start_ends_the_sessions_of_those_before() -> None:
    """After a crash, no session of the earlier process can keep orders."""
    exchange = started(ALICE)
    session = SESSIONS_PER_START + 1
    apply(exchange, [StartSession(session=session, account=101)], session)
    assert [session] == list(exchange.state.sessions)
    started(ALICE, exchange)
    assert {} == exchange.state.sessions
    assert 3 == next_start(exchange.state)


async def test_bootstrap_waits_until_all_commands_are_applied() -> None:
    """More commands than one list holds are applied when it returns."""
    async with floor() as venue:
        commands: list[Command] = [
            Deposit(account=101, currency="BTC", amount=MONEY) for _ in range(40)
        ]
        bootstrap = Bootstrap(commands, Origin())
        venue.observers.append(bootstrap.observe)
        with trio.fail_after(10):
            await bootstrap.run(venue.intake.inbox)
        assert 140 * MONEY == venue.harness.exchange.state.wallet(101, "BTC").balance


async def test_a_refused_command_is_a_configuration_error() -> None:
    """The error names command and reason; the process does not serve a part of it."""
    async with floor() as venue:
        bootstrap = Bootstrap([Deposit(account=999, currency="BTC", amount=1)], Origin())
        venue.observers.append(bootstrap.observe)
        with trio.fail_after(10), pytest.raises(ConfigError, match=r"999.*user_not_found"):
            await bootstrap.run(venue.intake.inbox)
