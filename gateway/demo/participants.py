"""The accounts of the demo, for the user and for every bot, added to a configuration."""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from random import Random
from typing import Final

import msgspec

from book.units import MONEY, Money
from gateway.config.schema import AccountSettings, Config
from gateway.config.toml_reader import ConfigError

MAKERS: Final = 3
TAKERS: Final = 6
GAMBLERS: Final = 24

# All bots and the user's own programs connect from one address.
CONNECTIONS: Final = 256

_SEED: Final = 20


class Participants(msgspec.Struct, frozen=True, gc=False):
    """The accounts by role; `guests` are for the user, funded and without a bot."""

    guests: tuple[AccountSettings, ...]
    makers: tuple[AccountSettings, ...]
    takers: tuple[AccountSettings, ...]
    gamblers: tuple[AccountSettings, ...]


def assemble(config: Config) -> tuple[Config, Participants]:
    """Return the configuration with the bots' accounts added, and the accounts by role.

    The guests are the accounts of the file, if it has any. Raises ConfigError if the file uses the
    name of a bot.
    """
    random = Random(_SEED)  # noqa: S311 - deposits of bots
    participants = Participants(
        guests=config.account or _guests(config),
        makers=tuple(_bot("maker", number, 200, 3_000) for number in range(1, MAKERS + 1)),
        takers=tuple(_bot("taker", number, 20, 300) for number in range(1, TAKERS + 1)),
        gamblers=tuple(
            _bot("gambler", number, round(random.uniform(0.05, 0.5), 3), random.randint(1, 8))
            for number in range(1, GAMBLERS + 1)
        ),
    )
    bots = (*participants.makers, *participants.takers, *participants.gamblers)
    names = {name for bot in bots for name in (bot.name, bot.client_id)}
    for guest in participants.guests:
        if names & {guest.name, guest.client_id}:
            raise ConfigError(f"[[account]] {guest.name}: the demo's bots have names like this one")
    limits = msgspec.structs.replace(
        config.limits,
        connections_per_address=max(CONNECTIONS, config.limits.connections_per_address),
    )
    return msgspec.structs.replace(
        config, limits=limits, account=(*participants.guests, *bots)
    ), participants


def _guests(config: Config) -> tuple[AccountSettings, ...]:
    """Two accounts, with well-known secrets if the venue is reachable from this machine only."""
    private = all(
        _is_loopback(endpoint.host) for endpoint in (config.server.http, config.server.websocket)
    )
    return tuple(
        AccountSettings(
            name,
            f"{name}-key",
            f"{name}-secret" if private else secrets.token_urlsafe(24),
            _funds(10, 100, 500_000),
        )
        for name in ("alice", "bob")
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bot(role: str, number: int, bitcoin: float, ether: float) -> AccountSettings:
    name = f"demo.{role}{number}"
    return AccountSettings(name, name, secrets.token_urlsafe(24), _funds(bitcoin, ether))


def _funds(bitcoin: float, ether: float, dollars: float = 0) -> dict[str, Money]:
    funds = {"BTC": bitcoin, "ETH": ether, "USDC": dollars}
    return {currency: Money(round(amount * MONEY)) for currency, amount in funds.items()}
