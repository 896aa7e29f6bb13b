"""Tests of every configuration key with every odd value: a one-line error without secrets."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import main
from gateway.config import schema
from gateway.config.toml_reader import ConfigError, Secret
from gateway.log.errors import DiskError, LogError
from gateway.server.server import Running, serve
from tests.gateway.config.test_schema import sections
from tests.hypothesis_settings import thorough

SECRET = "hunter2-of-the-test"

ODD = {
    "empty": '""',
    "text": '"odd"',
    "nul": '"a\\u0000b"',
    "nul as host": '"a\\u0000b:0"',
    "newline": '"a\\nb"',
    "newline at the end": '"a\\n"',
    "newline as host": '"a\\nb:0"',
    "escape": '"\\u001b[31m"',
    "direction": '"\\u202e"',
    "emoji": '"\\U0001f600"',
    "long": '"' + "x" * 5_000 + '"',
    "long as host": '"' + "x" * 5_000 + ':0"',
    "empty label": '"é..x:0"',
    "empty ascii label": '"a..b:0"',
    "long label": '"' + "é" * 70 + ':0"',
    "blank host": '" :0"',
    "long port": '"localhost:' + "9" * 5_000 + '"',
    "huge": "9" * 5_000,
    "huge hexadecimal": "0x" + "f" * 5_000,
    "past 64 bits": str(2**64),
    "negative": "-1",
    "below 64 bits": str(-(2**64)),
    "decimal": "0.5",
    "long decimal": "1." + "1" * 5_000,
    "large exponent": "1e999999",
    "small exponent": "1e-999999",
    "exponent past reading": "1e99999999999999999999",
    "infinite": "inf",
    "minus infinite": "-inf",
    "not a number": "nan",
    "yes": "true",
    "date": "1979-05-27",
    "time": "07:32:00",
    "moment": "1979-05-27T07:32:00Z",
    "array": "[1]",
    "array of arrays": "[" * 200 + "]" * 200,
    "deep array": "[" * 5_000 + "]" * 5_000,
    "table": "{ odd = 1 }",
    "deep tables": "{ a = " * 2_000 + "1" + " }" * 2_000,
    "deep dotted table": "{ " + ".".join("a" * 500) + " = 1 }",
    "odd key": '{ "a\\n\\u001b" = 1 }',
    "long key": "{ " + "k" * 5_000 + " = 1 }",
}

REQUIRED = {
    "index": {"name": '"btc_usd"'},
    "account": {"name": '"a"', "client_id": '"k"', "client_secret": f'"{SECRET}"'},
}
SOURCES = {
    schema.FixedIndexSettings: "fixed",
    schema.WalkIndexSettings: "walk",
    schema.CsvIndexSettings: "csv",
}


def document(section: str, kind: type[msgspec.Struct], key: str, literal: str) -> str:
    """Return a file in which one value is odd."""
    values = dict(REQUIRED.get(section, {}))
    if section == "index":
        values["source"] = f'"{SOURCES[kind]}"'
        required = {"price": "1", "file": '"none.csv"'}
        values |= {name: required[name] for name in kind.__struct_fields__ if name in required}
        if kind is schema.WalkIndexSettings:
            del values["price"]
    values[key] = literal
    head = f"[[{section}]]" if section in REQUIRED else f"[{section}]"
    return "\n".join([head, *(f"{name} = {value}" for name, value in values.items())])


LONGEST = 700
"""An error for an unknown key lists all known ones: forty words in the largest section."""

KEYS = [
    (section, kind, key)
    for section, kinds in sections().items()
    for kind in kinds
    for key in kind.__struct_fields__
]
NAMES = [f"{kind.__name__}.{key}" for _, kind, key in KEYS]


def refused(text: str) -> str | None:
    """Return the error for a file, or None. Any other exception fails the test."""
    try:
        schema.parse(text)
    except ConfigError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("section", "kind", "key"), KEYS, ids=NAMES)
def test_an_odd_value_is_accepted_or_rejected_with_an_error(
    section: str, kind: type[msgspec.Struct], key: str
) -> None:
    """The error is short, prints as one line, and contains no secret."""
    for name, literal in ODD.items():
        message = refused(document(section, kind, key, literal))
        if message is not None:
            assert message.isprintable(), (name, message)
            assert len(message) < LONGEST, (name, message)
            assert SECRET not in message, name


@pytest.mark.parametrize("name", ["nul", "huge", "deep array", "odd key", "table", "long"])
@pytest.mark.parametrize("section", ["server", "log", "limits", "risk", "index", "account", "odd"])
def test_an_odd_section_is_rejected_with_an_error(section: str, name: str) -> None:
    """A value is in the place of a table, or of an array of tables."""
    for literal in (ODD[name], f"[{ODD[name]}]"):
        message = refused(f"{section} = {literal}")
        if not (section in ("index", "account") and literal == "[]"):
            assert message is not None
            assert message.isprintable()
            assert len(message) < LONGEST


def test_a_newline_at_the_end_is_part_of_a_value() -> None:
    """A pattern that ends with `$` would accept it."""
    for key in ("name", "client_id"):
        message = refused(
            document("account", schema.AccountSettings, key, ODD["newline at the end"])
        )
        assert message is not None
    message = refused('[server]\norigins = ["*\\n"]')
    assert message is not None


SECRETS = [(section, kind, key) for section, kind, key in KEYS if key.endswith("secret")]


def test_every_secret_key_has_the_type_of_secrets() -> None:
    """Keys are found by name; the test below finds the values of all that have the type."""
    for _, kind, key in KEYS:
        secret = any(word in key for word in ("secret", "password", "token", "seal", "private"))
        types = {each.name: each.type for each in msgspec.structs.fields(kind)}
        assert secret == (types[key] == Secret), key
    assert SECRETS


@pytest.mark.parametrize(
    "literal",
    [
        f'["{SECRET}"]',
        f'{{ value = "{SECRET}" }}',
        f'{{ {SECRET} = "{SECRET}" }}',
        f'[["{SECRET}"]]',
        '"' + SECRET * 20 + '"',
        "4711471147114711",
        "47114711.4711",
        "0x4711471147114711",
        "1471-11-17",
        f'"{SECRET}',
        f'"{SECRET}\\q"',
        f"'{SECRET}",
        SECRET,
        f'"{SECRET}" "{SECRET}"',
    ],
)
def test_a_wrong_secret_is_not_shown(literal: str) -> None:
    """The value is of a wrong type, too long, or not even TOML."""
    for section, kind, key in SECRETS:
        message = refused(document(section, kind, key, literal))
        assert message is not None
        for shown in (SECRET, "4711", str(0x4711471147114711), "1471"):
            assert shown not in message


@pytest.mark.parametrize(("section", "kind", "key"), KEYS, ids=NAMES)
def test_a_secret_in_a_wrong_place_is_not_shown(
    section: str, kind: type[msgspec.Struct], key: str
) -> None:
    """A table or an array with a secret is in the place of another value."""
    for literal in (f'{{ client_secret = "{SECRET}" }}', f'[{{ client_secret = "{SECRET}" }}]'):
        message = refused(document(section, kind, key, literal))
        assert message is not None
        assert SECRET not in message


def test_an_account_that_is_no_table_is_not_shown() -> None:
    """`account = [...]` has the parts in one text, or in an array."""
    for literal in (
        f'["a:{SECRET}"]',
        f'[["a", "{SECRET}"]]',
        f'"{SECRET}"',
        f'{{ a = "{SECRET}" }}',
    ):
        message = refused(f"account = {literal}")
        assert message is not None
        assert SECRET not in message


@given(text=st.text(max_size=40))
@thorough(300)
def test_any_text_is_accepted_or_rejected_with_an_error(text: str) -> None:
    """Any file, and any string value, is either a configuration or a ConfigError."""
    quoted = msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
    for document_ in (
        text,
        f"[server]\nhttp = {quoted}",
        f"[server]\nhttp = {msgspec.json.encode(text + ':0').decode()}".replace("\x7f", ""),
        f"[server]\ndata_dir = {quoted}",
        f'[[account]]\nname = {quoted}\nclient_id = "k"\nclient_secret = "s"',
        f"[{quoted}]",
    ):
        message = refused(document_)
        assert message is None or message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        document("server", schema.ServerSettings, "http", ODD["nul as host"]),
        document("server", schema.ServerSettings, "http", ODD["empty label"]),
        document("server", schema.ServerSettings, "data_dir", ODD["nul"]),
        document("index", schema.CsvIndexSettings, "file", ODD["nul"]),
        document("limits", schema.Limits, "general_pool", ODD["huge"]),
        document("risk", schema.RiskSettings, "insurance_fund", ODD["deep array"]),
        document("account", schema.AccountSettings, "client_secret", f'["{SECRET}"]'),
        document("server", schema.ServerSettings, "strict", ODD["newline"]),
    ],
)
@pytest.mark.parametrize("command", [("serve",), ("demo",)])
def test_the_command_ends_with_one_line_and_its_status(
    text: str, command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no traceback, and the status is 2."""
    file = tmp_path / "venue.toml"
    file.write_text(text)
    assert 2 == main([*command, "--config", str(file)])
    said = capsys.readouterr()
    assert "" == said.out
    assert re.fullmatch(r"tidegate: [^\n]+\n", said.err)
    assert SECRET not in said.err


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Undo what the command line does to logging, which belongs to the process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


REACHING = [
    (key, name)
    for key in ("http", "websocket", "data_dir", "certificate")
    for name, literal in ODD.items()
    if refused(f"[server]\n{key} = {literal}" + ("\nkey = 'k'" if key == "certificate" else ""))
    is None
]


@pytest.mark.parametrize(("key", "name"), REACHING)
async def test_what_the_system_rejects_is_reported(key: str, name: str, tmp_path: Path) -> None:
    """A value that only the system can check starts a venue or ends with an error."""
    text = '[server]\nhttp = "127.0.0.1:0"\nwebsocket = "127.0.0.1:0"\n[log]\nfollower = false\n'
    line = f"{key} = {ODD[name]}\n"
    text = re.sub(rf"{key} = .*\n", "", text).replace("[server]\n", f"[server]\n{line}")
    if key == "certificate":
        text = text.replace("[server]\n", "[server]\nkey = 'k'\n")

    async def until_it_serves(task_status: trio.TaskStatus[Running]) -> None:
        await serve(schema.parse(text, folder=tmp_path), task_status=task_status)

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(until_it_serves)
            nursery.cancel_scope.cancel()
    except* (ConfigError, LogError, DiskError):
        # The test is that the exception is one of these; any other propagates.
        pass


def test_a_configuration_may_come_from_a_pipe(tmp_path: Path) -> None:
    """A secret need not be on the disk: `--config <(command)`."""
    reader, writer = os.pipe()
    os.write(writer, b'[server]\nhttp = "127.0.0.1:1"\n')
    os.close(writer)
    try:
        assert 1 == schema.load(Path(f"/dev/fd/{reader}")).server.http.port
    finally:
        os.close(reader)


def test_a_name_that_no_file_can_have_is_rejected() -> None:
    """This includes names that cannot be given on a command line."""
    for name in ("a\0b", "x" * 5_000, "a\nb"):
        with pytest.raises(ConfigError, match="cannot be read"):
            schema.load(Path(name))


def test_the_process_prints_one_line(tmp_path: Path) -> None:
    """The whole process prints it to standard error."""
    file = tmp_path / "venue.toml"
    file.write_text(document("server", schema.ServerSettings, "http", ODD["empty label"]))
    done = subprocess.run(
        [sys.executable, "-m", "tidegate", "serve", "--config", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(schema.__file__).parent.parent,
    )
    assert 2 == done.returncode
    assert re.fullmatch(r"tidegate: [^\n]+\n", done.stderr)
