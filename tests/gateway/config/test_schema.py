"""Tests of the configuration file: defaults, exact numbers, and errors."""

import re
from pathlib import Path
from types import UnionType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.units import MONEY, SCALE, Money, Price
from gateway.config import schema
from gateway.config.toml_reader import ConfigError, Endpoint

DOCUMENT = Path(__file__).parents[3] / "docs" / "CONFIGURATION.md"

EXAMPLE = """
[server]
http = "127.0.0.1:8080"
websocket = "127.0.0.1:8081"
[limits]
enabled = false
[risk]
loss_policy = "adl"
insurance_fund = { BTC = 10, ETH = 100, USDC = 500000 }
[[index]]
name = "btc_usd"
source = "fixed"
price = 65000
[[account]]
name = "alice"
client_id = "alice-key"
client_secret = "alice-secret"
deposits = { BTC = 100, ETH = 1000, USDC = 1000000 }
"""


def test_an_empty_file_is_the_default() -> None:
    """Every key may be omitted; the defaults are those of the Structs."""
    assert schema.Config() == schema.parse("")
    assert Endpoint("127.0.0.1", 8080) == schema.parse("").server.http
    assert schema.parse("").limits.enabled
    assert {"BTC": 10 * MONEY, "ETH": 100 * MONEY, "USDC": 500_000 * MONEY} == (
        schema.parse("").risk.insurance_fund
    )


def test_the_example_is_read() -> None:
    """Values are in the core's units, and an index without a table is a walk."""
    read = schema.parse(EXAMPLE)
    assert (
        schema.AccountSettings(
            "alice",
            "alice-key",
            "alice-secret",
            {"BTC": Money(100 * MONEY), "ETH": Money(1000 * MONEY), "USDC": Money(10**6 * MONEY)},
        ),
    ) == read.account
    assert schema.FixedIndexSettings("btc_usd", Price(65_000 * SCALE)) == read.index[0]
    assert ["btc_usd", "btc_usdc", "eth_usd", "eth_usdc", "sol_usdc"] == [
        each.name for each in read.index
    ]
    assert all(isinstance(each, schema.WalkIndexSettings) for each in read.index[1:])


@pytest.mark.parametrize(
    ("text", "endpoint", "written"),
    [
        ("0.0.0.0:80", Endpoint("0.0.0.0", 80), "0.0.0.0:80"),
        ("localhost:0", Endpoint("localhost", 0), "localhost:0"),
        ("[::1]:0", Endpoint("::1", 0), "[::1]:0"),
        ("[fe80::1]:65535", Endpoint("fe80::1", 65_535), "[fe80::1]:65535"),
    ],
)
def test_endpoints_are_hosts_and_ports(text: str, endpoint: Endpoint, written: str) -> None:
    """Port 0 and IPv6 are allowed, and an endpoint is formatted as it was read."""
    read = schema.parse(f'[server]\nhttp = "{text}"').server.http
    assert (endpoint, written) == (read, str(read))


@given(st.integers(0, 10**12 * MONEY))
def test_money_is_exact(units: int) -> None:
    """An amount with 12 decimals is exact: no float is involved."""
    whole, rest = divmod(units, MONEY)
    text = f"[risk]\ninsurance_fund = {{ BTC = {whole}.{rest:012d} }}"
    assert {"BTC": units} == schema.parse(text).risk.insurance_fund


def test_a_walk_keeps_the_defaults_of_its_index() -> None:
    """A table that only sets the seed has the usual price and volatility."""
    walk = schema.parse('[[index]]\nname = "sol_usdc"\nseed = 9').index[-1]
    assert schema.WalkIndexSettings("sol_usdc", Price(150 * SCALE), volatility=0.9, seed=9) == walk


def test_numbers_may_be_whole_or_decimal() -> None:
    """Seconds and rates take both forms."""
    limits = schema.parse("[limits]\nbody_seconds = 2.5\nidle_seconds = 60").limits
    assert (2.5, 60.0) == (limits.body_seconds, limits.idle_seconds)


ACCOUNT = '[[account]]\nname = "a"\nclient_id = "k"\nclient_secret = "s"\n'
WALK = '[[index]]\nname = "btc_usd"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sever]", "the file: unknown key `sever`; did you mean `server`?; known: server,"),
        ("[server]\nHTTP = 1", "[server]: unknown key `HTTP`; did you mean `http`?; known: http,"),
        ("server = 1", "[server]: expected a table of keys, not 1"),
        ("[server]\nhttp = 8080", '[server], key `http`: expected "HOST:PORT"'),
        ('[server]\nhttp = "::1:80"', 'such as "127.0.0.1:8080" or "[::1]:0", not "::1:80"'),
        ('[server]\nhttp = "a:70000"', "port 70000 is above 65535"),
        ('[server]\nhttp = "127.0.0.1:8081"', "[server], key `websocket`: 127.0.0.1:8081 is taken"),
        ("[server]\nstrict = 1", "[server], key `strict`: Expected `bool`, got `int`, not 1"),
        ("[limits]\nframe_bytes = 10", "key `frame_bytes`: Expected `int` >= 1024, not 10"),
        (
            "[limits]\ngeneral_pool = 100",
            "key `general_cost`: 500 is more than `general_pool`, 100",
        ),
        ("[limits]\nidle_seconds = nan", "`idle_seconds`: expected a finite number, not NaN"),
        ("[limits]\nlogin_attempts = true", "Expected `int`, got `bool`, not true"),
        (
            '[risk]\nloss_policy = "ADL"',
            '[risk], key `loss_policy`: "ADL" is not one of adl, socialise; did you mean `adl`?',
        ),
        (
            "[risk]\ninsurance_fund = { btc = 1 }",
            "[risk], key `insurance_fund`: unknown key `btc`; did you mean `BTC`?; known: BTC,",
        ),
        ("[risk]\ninsurance_fund = 5", "expected a table such as { BTC = 10, USDC = 500000 }"),
        (
            "[risk]\ninsurance_fund = { BTC = -1 }",
            "key `insurance_fund`, key `BTC`: expected a number from 0 to 1000000000000, not -1",
        ),
        ("[risk]\ninsurance_fund = { BTC = 1e-13 }", "1E-13 has more than 12 decimals"),
        ("[risk]\ninsurance_fund = { BTC = 1e-999999 }", "1E-999999 has more than 12 decimals"),
        ("[risk]\ninsurance_fund = { BTC = 1e999999 }", "expected a number from 0 to"),
        ("[risk]\ninsurance_fund = { BTC = inf }", "expected a number from 0 to"),
        ('[risk]\ninsurance_fund = { BTC = "1" }', 'expected a number, not "1"'),
        ('[index]\nname = "btc_usd"', "`index`: expected tables that each begin with [[index]]"),
        ("[[index]]", "[[index]] no. 1: key `name` is missing; it is one of btc_usd, btc_usdc"),
        (
            WALK + '[[index]]\nname = "eth_usdt"',
            (
                '[[index]] no. 2, key `name`: "eth_usdt" is not one of btc_usd, btc_usdc, eth_usd,'
                " eth_usdc, sol_usdc; did you mean `eth_usd"
            ),
        ),
        (WALK + WALK, '[[index]] no. 2, key `name`: "btc_usd" is already the name of another'),
        (
            WALK + 'source = "wlak"',
            (
                '[[index]] no. 1, key `source`: "wlak" is not one of fixed, walk, csv;'
                " did you mean `walk`?"
            ),
        ),
        (WALK + 'source = "fixed"', "[[index]] no. 1: key `price` is missing"),
        (WALK + 'source = "fixed"\nprice = 0', "key `price`: expected a price above 0"),
        (WALK + "price = 1.000000001", "key `price`: 1.000000001 has more than 8 decimals"),
        (WALK + 'source = "fixed"\nprice = 1\nseed = 1', "[[index]] no. 1: unknown key `seed`;"),
        (WALK + 'source = "csv"', "[[index]] no. 1: key `file` is missing"),
        ("[server]\ndata_dir = 1", "key `data_dir`: expected the name of a folder, not 1"),
        (WALK + 'source = "csv"\nfile = 1', "key `file`: expected the name of a file, not 1"),
        (WALK + "volatility = -0.1", "key `volatility`: Expected `float` >= 0.0, not -0.1"),
        ("[[account]]", "[[account]] no. 1: key `name` is missing"),
        (ACCOUNT + ACCOUNT, '[[account]] no. 2, key `name`: "a" is taken by an account above'),
        (
            ACCOUNT + ACCOUNT.replace('"a"', '"b"'),
            '[[account]] no. 2, key `client_id`: "k" is taken by an account above',
        ),
        (ACCOUNT + 'scope = "trade:write"', "key `scope`: unknown scope `trade:write`"),
        (ACCOUNT + "deposits = { DOGE = 1 }", "unknown key `DOGE`; known: BTC, ETH, USDC"),
        ("[server\n", "not valid TOML: Expected ']' at the end of a table declaration (at line 1"),
    ],
)
def test_errors_name_the_place_and_the_valid_values(text: str, message: str) -> None:
    """A message names section, number and key, and the valid values."""
    with pytest.raises(ConfigError) as refused:
        schema.parse(text)
    assert message in str(refused.value)


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    """Errors begin with the path of the file, and syntax errors have a line number."""
    file = tmp_path / "venue.toml"
    file.write_text("[server]\nhttp = \n")
    with pytest.raises(ConfigError) as refused:
        schema.load(file)
    assert str(refused.value).startswith(f"{file}: not valid TOML: ")
    assert "line 2" in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that cannot be read is an error of the configuration, not a traceback."""
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: .*No such file"):
        schema.load(tmp_path / "none.toml")


def test_recordings_are_relative_to_the_configuration(tmp_path: Path) -> None:
    """A relative file name starts at the folder of the configuration; an absolute one stays."""
    file = tmp_path / "venue.toml"
    file.write_text(WALK + 'source = "csv"\nfile = "btc.csv"')
    assert schema.CsvIndexSettings("btc_usd", tmp_path / "btc.csv") == schema.load(file).index[0]
    file.write_text(WALK + 'source = "csv"\nfile = "/data/btc.csv"')
    assert schema.CsvIndexSettings("btc_usd", Path("/data/btc.csv")) == schema.load(file).index[0]


def test_the_data_folder_is_relative_to_the_configuration(tmp_path: Path) -> None:
    """It is relative like every name in the file, and None by default."""
    file = tmp_path / "venue.toml"
    file.write_text('[server]\ndata_dir = "data"\n')
    assert tmp_path / "data" == schema.load(file).server.data_dir
    file.write_text('[server]\ndata_dir = "/var/lib/tidegate"\n')
    assert Path("/var/lib/tidegate") == schema.load(file).server.data_dir
    assert schema.Config().server.data_dir is None


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    """One without the other would leave a venue without the TLS that was configured."""
    file = tmp_path / "venue.toml"
    file.write_text('[server]\ncertificate = "c.pem"\nkey = "/etc/k.pem"\n')
    assert (tmp_path / "c.pem", Path("/etc/k.pem")) == schema.load(file).server.tls
    assert schema.Config().server.tls is None
    for half in ('certificate = "c.pem"', 'key = "k.pem"'):
        with pytest.raises(ConfigError, match="`certificate` and `key` are of use only together"):
            schema.parse(f"[server]\n{half}\n")


def test_secrets_are_not_shown() -> None:
    """The text of a configuration, as a log or a traceback shows it, contains no secret."""
    assert "alice-key" in repr(schema.parse(EXAMPLE))
    assert "alice-secret" not in repr(schema.parse(EXAMPLE))


def sections() -> dict[str, list[type[msgspec.Struct]]]:
    """Return the Structs of each section of the configuration, by its name."""
    found: dict[str, list[type[msgspec.Struct]]] = {}
    for each in msgspec.structs.fields(schema.Config):
        kind = each.type
        if kind not in (
            schema.ServerSettings,
            schema.LogSettings,
            schema.Limits,
            schema.RiskSettings,
        ):
            kind = kind.__args__[0]
        found[each.name] = list(kind.__args__) if isinstance(kind, UnionType) else [kind]
    return found


def documented(section: str) -> dict[str, set[str]]:
    """Return the defaults that the document gives for each key of one section."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (part,) = re.findall(rf"^## `\[+{section}\]+`$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", part, re.MULTILINE)
    return {key: {default for name, default in rows if name == key} for key, _ in rows}


def test_every_key_is_documented_and_no_other() -> None:
    """docs/CONFIGURATION.md has a row for each field of each section."""
    for section, kinds in sections().items():
        keys = {name for kind in kinds for name in kind.__struct_fields__}
        also = {"source"} if section == "index" else set()
        assert keys | also == set(documented(section)), section


def test_documented_defaults_are_the_defaults() -> None:
    """Reading the documented defaults gives the default configuration."""
    for section in ("server", "log", "limits", "risk"):
        lines = [
            f"{key} = {default.strip('`')}"
            for key, defaults in documented(section).items()
            for default in defaults - {"none"}
        ]
        assert schema.Config() == schema.parse("\n".join([f"[{section}]", *lines])), section


def test_the_documents_example_is_valid() -> None:
    """The file shown in the document can be used as it is."""
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert ["alice"] == [account.name for account in schema.parse(example).account]
