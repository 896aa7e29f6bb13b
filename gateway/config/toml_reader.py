"""Convert a TOML table into a Struct, with errors that name the place and the valid values.

The fields of the Struct are the schema: their names are the keys, their types and bounds the valid
values. msgspec checks plain types; the project's own types have converters here.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, Inexact, localcontext
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import FieldInfo

from book.units import MONEY, SCALE, Money, Price
from gateway.printable import escape_unprintable, shorten

CURRENCIES: Final = ("BTC", "ETH", "USDC")

# Largest price, and largest amount of one currency, in a file: far above any market, and far below
# where a price in 1e-8 would exceed 64 bits.
MAX_PRICE: Final = 10**9
MAX_FUNDS: Final = 10**12

MAX_FORMATTED: Final = 10**100
_MAX_HINT_CHARACTERS: Final = 64


Secret = Annotated[str, Meta(min_length=1, max_length=256)]
"""The type of keys whose value must not appear in an error message."""


class ConfigError(ValueError):
    """An unusable configuration; the message names the place and the valid values."""


class Endpoint(Struct, frozen=True, gc=False):
    """A TCP address to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Format as in the file and in URLs: IPv6 hosts in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


StructType = TypeVar("StructType", bound=Struct)


def read_table(
    kind: type[StructType],
    place: str,
    raw: object,
    *,
    base: Mapping[str, object] | None = None,
    other_keys: tuple[str, ...] = (),
) -> StructType:
    """Build a Struct from one table, over the values of `base`; `other_keys` are read elsewhere.

    `place` names the table in errors. Raises ConfigError for unknown and missing keys and for
    values of the wrong type or out of bounds.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{place}: expected a table of keys, not {format_value(raw)}")
    fields: dict[str, FieldInfo] = {each.name: each for each in msgspec.structs.fields(kind)}
    require_known_keys(place, raw, (*fields, *other_keys))
    values = dict(base or {})
    for key, value in raw.items():
        if key in fields:
            values[key] = _value(f"{place}, key `{key}`", fields[key].type, value)
    for name, info in fields.items():
        if info.required and name not in values:
            raise ConfigError(f"{place}: key `{name}` is missing")
    return kind(**values)


def read_choice(place: str, key: str, raw: object, choices: tuple[str, ...]) -> str:
    """Return the word at `key`. Raises ConfigError if it is missing or not one of `choices`."""
    if raw is None:
        raise ConfigError(f"{place}: key `{key}` is missing; it is one of {', '.join(choices)}")
    return _choice(f"{place}, key `{key}`", raw, choices)


def require_known_keys(place: str, raw: Mapping[str, object], known: tuple[str, ...]) -> None:
    """Raise ConfigError for the first unknown key, with the one probably meant."""
    for key in raw:
        if key not in known:
            raise ConfigError(
                f"{place}: unknown key `{_format_text(key)}`{_hint(key, known)};"
                f" known: {', '.join(known)}"
            )


def format_value(raw: object) -> str:
    """Return a value as the file would write it, on one line, shortened if long.

    Tables and arrays are only named, because they may contain a secret.
    """
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str):
        return f'"{_format_text(raw)}"'
    if isinstance(raw, dict):
        return "a table"
    if isinstance(raw, list):
        return "an array"
    # Python refuses to format larger ones.
    if isinstance(raw, int) and abs(raw) >= MAX_FORMATTED:
        return "a number of a hundred digits or more"
    return shorten(str(raw))


def _format_text(text: str) -> str:
    return escape_unprintable(shorten(text))


def _value(place: str, kind: Any, raw: Any) -> object:
    """Convert one value to the type of its field."""
    if get_origin(kind) is Literal:
        return _choice(place, raw, get_args(kind))
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(place, raw)
    if kind == Secret:
        return _secret(place, raw)
    if isinstance(raw, Decimal) and not raw.is_finite():
        raise ConfigError(f"{place}: expected a finite number, not {raw}")
    try:
        value: object = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{place}: {error}, not {format_value(raw)}") from error
    return value


def _secret(place: str, raw: object) -> str:
    try:
        secret: str = msgspec.convert(raw, Secret)
    except msgspec.ValidationError as error:
        # Without the cause, whose text msgspec may change to include the value.
        raise ConfigError(f"{place}: {error}; the value is not shown") from None
    return secret


def _endpoint(place: str, raw: object) -> Endpoint:
    right = 'expected "HOST:PORT", such as "127.0.0.1:8080" or "[::1]:0"'
    if not isinstance(raw, str):
        raise ConfigError(f"{place}: {right}, not {format_value(raw)}")
    host, _, port = raw.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    digits = port.isascii() and port.isdigit()
    if (":" in host) != bracketed or not (_is_host(host) and digits):
        raise ConfigError(f"{place}: {right}, not {format_value(raw)}")
    if len(port) > 5 or int(port) > 65_535:
        raise ConfigError(f"{place}: {right}; port {shorten(port)} is above 65535")
    return Endpoint(host, int(port))


def _is_host(host: str) -> bool:
    """Whether a name can be encoded for a lookup, which would raise otherwise."""
    try:
        return bool(host.encode("idna")) and host.isprintable() and " " not in host
    except UnicodeError:
        return False


def _price(place: str, raw: object) -> Price:
    price = _units(place, raw, SCALE, MAX_PRICE)
    if price == 0:
        raise ConfigError(f"{place}: expected a price above 0")
    return Price(price)


def _funds(place: str, raw: object) -> dict[str, Money]:
    """Convert a table of currency to amount, in Money."""
    if not isinstance(raw, dict):
        raise ConfigError(
            f"{place}: expected a table such as {{ BTC = 10, USDC = 500000 }},"
            f" not {format_value(raw)}"
        )
    require_known_keys(place, raw, CURRENCIES)
    return {
        currency: Money(_units(f"{place}, key `{currency}`", raw[currency], MONEY, MAX_FUNDS))
        for currency in sorted(raw)
    }


def _units(place: str, raw: object, scale: int, most: int) -> int:
    """Return a number of the file as an integer count of 1/scale, rejected rather than rounded."""
    if isinstance(raw, bool) or not isinstance(raw, int | Decimal):
        raise ConfigError(f"{place}: expected a number, not {format_value(raw)}")
    number = Decimal(raw)
    if not (number.is_finite() and 0 <= number <= most):
        raise ConfigError(f"{place}: expected a number from 0 to {most}, not {format_value(raw)}")
    decimals = len(str(scale)) - 1
    with localcontext(prec=60) as context:
        context.traps[Inexact] = True
        try:
            return int(number.quantize(Decimal(1).scaleb(-decimals)).scaleb(decimals))
        except Inexact as error:
            raise ConfigError(
                f"{place}: {format_value(raw)} has more than {decimals} decimals"
            ) from error


def _file(place: str, raw: object) -> Path:
    return _path(place, raw, "file")


def _folder(place: str, raw: object) -> Path:
    return _path(place, raw, "folder")


def _path(place: str, raw: object, what: str) -> Path:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise ConfigError(f"{place}: expected the name of a {what}, not {format_value(raw)}")
    return Path(raw)


_READERS: Final[dict[object, Callable[[str, object], object]]] = {
    Endpoint: _endpoint,
    Price: _price,
    dict[str, Money]: _funds,
    Path: _file,
    Path | None: _folder,
}


def _choice(place: str, raw: object, choices: tuple[str, ...]) -> str:
    if isinstance(raw, str) and raw in choices:
        return raw
    raise ConfigError(
        f"{place}: {format_value(raw)} is not one of {', '.join(choices)}{_hint(raw, choices)}"
    )


def _hint(raw: object, known: Iterable[str]) -> str:
    """Return a hint at the known word that was probably meant, ignoring letter case."""
    by_folded = {word.casefold(): word for word in known}
    if not isinstance(raw, str):
        return ""
    # Shortened, because matching takes quadratic time.
    close = get_close_matches(raw[:_MAX_HINT_CHARACTERS].casefold(), by_folded, n=1)
    return f"; did you mean `{by_folded[close[0]]}`?" if close else ""
