"""Apply the configuration at start: commands make the state what the configuration asks for.

All of them go through the log, so that a replay needs no configuration file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import trio
from attrs import define, field

from book.units import SECOND
from gateway.access.authenticator import ApiKey, Keyring
from gateway.access.scope import parse_scope
from gateway.config.schema import Config
from gateway.config.toml_reader import ConfigError
from gateway.log import Proposal
from gateway.sequencer.inbox import COMMANDS_PER_LIST, Inbox
from gateway.session_numbers import SESSIONS_PER_START, split_session
from risk.commands import (
    Command,
    Deposit,
    EndSessions,
    Entry,
    OpenAccount,
    Origin,
    SetParameters,
    SetProduct,
)
from risk.contract_specs import LEGACY_2025
from risk.events import Event, Refused
from risk.risk_terms import LossPolicy, Parameters
from risk.state import FIRST_CLIENT, INSURANCE, State


def next_start(state: State) -> int:
    """Return the number of this start of the process: one above all that the state has seen."""
    return split_session(state.first_session)[0] + 1


def account_numbers(config: Config, state: State) -> dict[str, int]:
    """Map account names to numbers: existing ones stay, new ones follow in the file's order."""
    numbers = {
        account.name: number for number, account in state.accounts.items() if number >= FIRST_CLIENT
    }
    for account in config.account:
        if account.name not in numbers:
            numbers[account.name] = max(numbers.values(), default=FIRST_CLIENT - 1) + 1
    return numbers


def configuration_commands(config: Config, state: State, start: int) -> list[Command]:
    """Return the commands that turn the state into what the configuration asks for.

    Opening deposits are made when an account is opened, and the insurance fund is endowed once in
    each currency. Existing balances are never changed.
    """
    commands: list[Command] = [EndSessions(before=start * SESSIONS_PER_START)]
    configured = risk_parameters(config)
    if state.parameters != configured:
        commands.append(SetParameters(parameters=configured))
    for contract, terms in LEGACY_2025:
        product = SetProduct(contract=contract, terms=terms)
        if state.products.get((contract.family, contract.dated)) != product:
            commands.append(product)
    for currency, amount in config.risk.insurance_fund.items():
        if amount and currency not in state.deposited:
            commands.append(Deposit(account=INSURANCE, currency=currency, amount=amount))
    numbers = account_numbers(config, state)
    for account in config.account:
        number = numbers[account.name]
        if number in state.accounts:
            continue
        commands.append(OpenAccount(account=number, name=account.name))
        commands += [
            Deposit(account=number, currency=currency, amount=amount)
            for currency, amount in account.deposits.items()
            if amount
        ]
    return commands


def risk_parameters(config: Config) -> Parameters:
    """Return the risk parameters of a configuration."""
    return Parameters(
        loss_policy=LossPolicy(config.risk.loss_policy),
        supervision=config.risk.supervision_seconds * SECOND,
        open_orders=config.limits.open_orders_per_account,
    )


def fill_keyring(keyring: Keyring, config: Config, state: State) -> None:
    """Add the API key of every configured account."""
    numbers = account_numbers(config, state)
    for account in config.account:
        keyring.add(
            ApiKey(
                account.client_id,
                account.client_secret,
                numbers[account.name],
                parse_scope(account.scope, strict=True),
            )
        )


@define(eq=False)
class Bootstrap:
    """Sends the first commands through the log and waits until all of them were applied.

    `observe` must be among the matcher's observers while `run` runs.
    """

    commands: Sequence[Command]
    origin: Origin
    _outstanding: int = field(init=False)
    _refusal: tuple[Command, Refused] | None = field(default=None, init=False)
    _done: trio.Event = field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        """Expect an entry for each command."""
        self._outstanding = len(self.commands)

    def observe(self, entry: Entry, events: Sequence[Event]) -> None:
        """Count the entries of these commands, and remember the first refusal."""
        origin = entry.origin
        if (origin.node, origin.start, origin.session) != (self.origin.node, self.origin.start, 0):
            return
        for event in events:
            if isinstance(event, Refused) and event.origin == origin and self._refusal is None:
                self._refusal = (entry.command, event)
        if origin.request:
            self._outstanding -= 1
        if not self._outstanding:
            self._done.set()

    async def run(self, inbox: Inbox) -> None:
        """Run to the end. Raises ConfigError where the venue refuses a command."""
        proposals = iter(
            Proposal(command, Origin(self.origin.node, self.origin.start, 0, request))
            for request, command in enumerate(self.commands, 1)
        )
        while turn := list(islice(proposals, COMMANDS_PER_LIST)):
            await inbox.put(turn)
        await self._done.wait()
        if self._refusal is not None:
            command, refused = self._refusal
            raise ConfigError(f"the venue refuses {command}: {refused.reason.value}")
