"""The schema of the configuration file, with its defaults.

Every key is a field of a Struct below; docs/CONFIGURATION.md gives the meanings. Amounts of money
and prices are read exactly and stored in the core's integer units.
"""

import tomllib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from book.units import MONEY, SCALE, Money, Price
from gateway.access.scope import ScopeError, parse_scope
from gateway.config.toml_reader import (
    ConfigError,
    Endpoint,
    Secret,
    read_choice,
    read_table,
    require_known_keys,
)
from gateway.files import open_regular
from gateway.log.event_hash import CHECKPOINT_ENTRIES
from gateway.log.follower import SNAPSHOT_ENTRIES
from gateway.log.writer import SEGMENT_BYTES
from gateway.printable import escape_unprintable, shorten

Library = Literal["websockets", "trio-websocket"]
"""The library that implements WebSocket connections."""

Count = Annotated[int, Meta(ge=1, le=10**9)]
Bytes = Annotated[int, Meta(ge=1024, le=2**24)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
PerSecond = Annotated[float, Meta(gt=0, le=10**9)]
WebOrigin = Annotated[str, Meta(max_length=256, pattern=r"^(\*|null|https?://[^/\s]+)\Z")]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[\w.:@+-]+\Z")]


class ServerSettings(Struct, frozen=True, gc=False):
    """[server]: the addresses to listen on, and how the venue presents itself."""

    http: Endpoint = Endpoint("127.0.0.1", 8080)
    websocket: Endpoint = Endpoint("127.0.0.1", 8081)
    data_dir: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    transport: Library = "websockets"
    testnet: bool = True
    strict: bool = False
    # Origins of web pages that may open a WebSocket, besides those of the venue's own host.
    origins: tuple[WebOrigin, ...] = ()

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """The certificate and its key, if the venue uses TLS."""
        if self.certificate is None or self.key is None:
            return None
        return self.certificate, self.key


class LogSettings(Struct, frozen=True, gc=False):
    """[log]: how the log and snapshots below `data_dir` are written."""

    # About what can be copied, checked or deleted in a second: 200,000 entries.
    segment_bytes: Annotated[int, Meta(ge=2**16, le=2**32)] = SEGMENT_BYTES
    # Half a second of a replay: a divergence is located that closely, at the cost of one entry in
    # ten thousand.
    checkpoint_entries: Annotated[int, Meta(ge=1, le=10**9)] = CHECKPOINT_ENTRIES
    follower: bool = True
    # A start replays this many entries, and those up to the next checkpoint: five seconds.
    snapshot_entries: Annotated[int, Meta(ge=1, le=10**9)] = SNAPSHOT_ENTRIES
    prune: bool = False


class Limits(Struct, frozen=True, gc=False):
    """[limits]: rate-limit credits, which `enabled` turns off, and safety limits, always on."""

    # On by default, so that a public venue is protected before its operator knows floods.
    enabled: bool = True
    # The API's credits: each pool refills by `credits_per_second`, and each request costs some.
    credits_per_second: Count = 10_000
    general_pool: Count = 50_000
    general_cost: Count = 500
    # For each row of a reply beyond 256: a reply of ten thousand open orders costs as much work as
    # twenty requests.
    row_cost: Count = 1
    get_instruments_pool: Count = 500_000
    get_instruments_cost: Count = 10_000
    subscribe_pool: Count = 30_000
    subscribe_cost: Count = 3_000
    transaction_log_pool: Count = 80_000
    transaction_log_cost: Count = 10_000
    move_positions_pool: Count = 600_000
    move_positions_cost: Count = 100_000
    # The best tier of the API. Cancelling all has a pool of its own with the same numbers, so that
    # a client that spent all credits on orders can still cancel them.
    matching_per_second: PerSecond = 30.0
    matching_burst: Count = 100
    cancel_all_per_second: PerSecond = 30.0
    cancel_all_burst: Count = 100
    # Four accounts at the API's full rate, and a twentieth of one processor.
    http_requests_per_second: PerSecond = 200.0
    http_requests_burst: Count = 500
    undecided_requests: Count = 8
    # The API's limit on the size of a request, as a WebSocket message or an HTTP body.
    frame_bytes: Bytes = 32_768
    body_bytes: Bytes = 32_768
    # A request fits into a few packets, which arrive within five seconds even on a slow mobile
    # link.
    body_seconds: Seconds = 5.0
    handshake_seconds: Seconds = 5.0
    # Longer than a network interruption, and short enough to bound the memory of dead connections.
    send_seconds: Seconds = 10.0
    idle_seconds: Seconds = 600.0
    # Pings, pongs, fragments and empty messages: clients need only a few a second. Reads of a few
    # bytes count as a quarter of one.
    control_frames_per_second: PerSecond = 100.0
    control_frames_burst: Count = 400
    # Bytes from clients with rate limits: twice what their credits allow if every request had the
    # largest size.
    bytes_per_second: Count = 4 * 2**20
    bytes_burst: Count = 16 * 2**20
    connections_per_address: Count = 32
    # Only failed attempts count, so that working clients never reach the limit. It stops guessing.
    login_attempts: Count = 20
    # From all addresses together: years of guessing at this rate do not find a secret.
    login_attempts_per_key: Count = 100
    # Two calls with the API's 500 channels: every channel of every listed instrument.
    subscriptions_per_connection: Count = 1_000
    open_orders_per_account: Count = 10_000


class RiskSettings(Struct, frozen=True, gc=False):
    """[risk]: how losses are covered, and how long the venue trades without supervision."""

    loss_policy: Literal["adl", "socialise"] = "adl"
    insurance_fund: dict[str, Money] = field(
        default_factory=lambda: {
            "BTC": Money(10 * MONEY),
            "ETH": Money(100 * MONEY),
            "USDC": Money(500_000 * MONEY),
        }
    )
    supervision_seconds: Annotated[int, Meta(ge=2, le=3_600)] = 5
    parameter_set: Literal["legacy-2025"] = "legacy-2025"


class FixedIndexSettings(Struct, frozen=True, gc=False):
    """[[index]] with source = "fixed": a constant price, apart from shocks."""

    name: str
    price: Price


class WalkIndexSettings(Struct, frozen=True, gc=False):
    """[[index]] with source = "walk": a seeded random walk from `price`."""

    name: str
    price: Price
    volatility: Annotated[float, Meta(ge=0, le=10)] = 0.6
    drift: Annotated[float, Meta(ge=-10, le=10)] = 0.0
    jumps: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    jump_size: Annotated[float, Meta(ge=0, le=1)] = 0.02
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1


class CsvIndexSettings(Struct, frozen=True, gc=False):
    """[[index]] with source = "csv": recorded prices, played at `speed` times real time."""

    name: str
    file: Path
    speed: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0


IndexSettings = FixedIndexSettings | WalkIndexSettings | CsvIndexSettings
INDEX_SOURCES: Final[dict[str, type[IndexSettings]]] = {
    "fixed": FixedIndexSettings,
    "walk": WalkIndexSettings,
    "csv": CsvIndexSettings,
}

# The indices of the listed instruments, with the walk that applies where a file names none.
DEFAULT_WALKS: Final = {
    walk.name: walk
    for walk in (
        WalkIndexSettings("btc_usd", Price(65_000 * SCALE)),
        WalkIndexSettings("btc_usdc", Price(65_000 * SCALE)),
        WalkIndexSettings("eth_usd", Price(3_500 * SCALE), volatility=0.75),
        WalkIndexSettings("eth_usdc", Price(3_500 * SCALE), volatility=0.75),
        WalkIndexSettings("sol_usdc", Price(150 * SCALE), volatility=0.9),
    )
}


class AccountSettings(Struct, frozen=True, gc=False):
    """[[account]]: a client with one API key and opening deposits."""

    name: Name
    client_id: Name
    client_secret: Secret
    deposits: dict[str, Money] = field(default_factory=dict)
    scope: str = "mainaccount account:read_write trade:read_write wallet:read_write"

    def __repr__(self) -> str:
        """Omit the secret, so that no log or traceback shows it."""
        return f"AccountSettings(name={self.name!r}, client_id={self.client_id!r})"


class Config(Struct, frozen=True, gc=False):
    """The whole configuration. `index` holds every index of the venue, sorted by name."""

    server: ServerSettings = ServerSettings()
    log: LogSettings = LogSettings()
    limits: Limits = Limits()
    risk: RiskSettings = field(default_factory=RiskSettings)
    index: tuple[IndexSettings, ...] = tuple(DEFAULT_WALKS.values())
    account: tuple[AccountSettings, ...] = ()


def load(path: Path) -> Config:
    """Read the file at `path`. Raises ConfigError, also if it cannot be read or is not TOML."""
    try:
        with path.open("rb") if _is_descriptor(path) else open_regular(path) as file:
            text = file.read().decode()
    # ValueError: not UTF-8 text, or a name that no file can have.
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    try:
        return parse(text, folder=path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_descriptor(path: Path) -> bool:
    """Whether the path is a pipe that a shell has opened: `--config <(command)`."""
    return str(path) == "/dev/stdin" or path.parent in (Path("/dev/fd"), Path("/proc/self/fd"))


def parse(text: str, folder: Path = Path()) -> Config:
    """Parse TOML `text`; relative file names start at `folder`. Raises ConfigError."""
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}") from error
    except (ValueError, ArithmeticError) as error:
        raise ConfigError("not usable: a number in it has more digits than can be read") from error
    except RecursionError:
        raise ConfigError("not usable: arrays or tables in it are nested too deeply") from None
    require_known_keys("the file", raw, Config.__struct_fields__)
    server = read_table(ServerSettings, "[server]", raw.get("server", {}))
    if server.http == server.websocket and server.http.port:
        raise ConfigError(
            f"[server], key `websocket`: {server.websocket} is taken by `http`;"
            " HTTP and WebSocket need a port each"
        )
    if (server.certificate is None) != (server.key is None):
        raise ConfigError("[server]: `certificate` and `key` are of use only together")
    for name in ("data_dir", "certificate", "key"):
        path = getattr(server, name)
        if path is not None:
            server = msgspec.structs.replace(server, **{name: folder / path})
    limits = read_table(Limits, "[limits]", raw.get("limits", {}))
    _require_payable_costs(limits)
    return Config(
        server=server,
        log=read_table(LogSettings, "[log]", raw.get("log", {})),
        limits=limits,
        risk=read_table(RiskSettings, "[risk]", raw.get("risk", {})),
        index=_indices(raw.get("index", []), folder),
        account=_accounts(raw.get("account", [])),
    )


def _require_payable_costs(limits: Limits) -> None:
    """Reject a pool smaller than the cost of one request, which could never be paid."""
    for pool in (name for name in Limits.__struct_fields__ if name.endswith("_pool")):
        cost = pool.removesuffix("_pool") + "_cost"
        if getattr(limits, cost) > getattr(limits, pool):
            raise ConfigError(
                f"[limits], key `{cost}`: {getattr(limits, cost)} is more than `{pool}`,"
                f" {getattr(limits, pool)}; such a request would never pass"
            )


def _indices(tables: object, folder: Path) -> tuple[IndexSettings, ...]:
    """Return the indices of the file, and the default walk for every other index."""
    named: dict[str, IndexSettings] = {}
    for place, table in _tables("index", tables):
        name = read_choice(place, "name", table.get("name"), tuple(DEFAULT_WALKS))
        if name in named:
            raise ConfigError(f'{place}, key `name`: "{name}" is already the name of another index')
        source = read_choice(place, "source", table.get("source", "walk"), tuple(INDEX_SOURCES))
        if source == "walk":
            base = msgspec.structs.asdict(DEFAULT_WALKS[name])
            named[name] = read_table(
                WalkIndexSettings, place, table, base=base, other_keys=("source",)
            )
        elif source == "csv":
            played = read_table(CsvIndexSettings, place, table, other_keys=("source",))
            named[name] = msgspec.structs.replace(played, file=folder / played.file)
        else:
            named[name] = read_table(FixedIndexSettings, place, table, other_keys=("source",))
    indices: dict[str, IndexSettings] = {**DEFAULT_WALKS, **named}
    return tuple(indices[name] for name in sorted(indices))


def _accounts(tables: object) -> tuple[AccountSettings, ...]:
    accounts: list[AccountSettings] = []
    for place, table in _tables("account", tables):
        account = read_table(AccountSettings, place, table)
        for key in ("name", "client_id"):
            value = getattr(account, key)
            if value in {getattr(other, key) for other in accounts}:
                raise ConfigError(
                    f'{place}, key `{key}`: "{value}" is taken by an account above;'
                    " each needs its own"
                )
        try:
            parse_scope(account.scope, strict=True)
        except ScopeError as error:
            why = escape_unprintable(shorten(str(error), most=200))
            raise ConfigError(f"{place}, key `scope`: {why}") from error
        accounts.append(account)
    return tuple(accounts)


def _tables(name: str, raw: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Iterate over an array of tables, each with its place for error messages."""
    if not isinstance(raw, list):
        raise ConfigError(f"`{name}`: expected tables that each begin with [[{name}]]")
    for number, table in enumerate(raw, start=1):
        place = f"[[{name}]] no. {number}"
        if not isinstance(table, dict):
            # The value is not shown, because it may contain an account's secret.
            raise ConfigError(f"{place}: expected a table of keys")
        yield place, table
