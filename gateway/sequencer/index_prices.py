"""Sources of index prices: a fixed level, a seeded random walk, or a recorded file.

Levels are floats in here; the result is an integer `Price`, rounded as the index is published.
"""

import csv
import logging
import math
import random
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from attrs import Factory, define, field

from book.units import HOUR, SCALE, SECOND, Millis, Price
from gateway.config import schema
from gateway.config.toml_reader import ConfigError
from gateway.files import open_regular
from gateway.printable import shorten

logger = logging.getLogger(__name__)

SECONDS_PER_HOUR: Final = HOUR // SECOND
SECONDS_PER_DAY: Final = 24 * SECONDS_PER_HOUR
SECONDS_PER_YEAR: Final = 365 * SECONDS_PER_DAY

# Above this a Price in 1e-8 would come near 64 bits, the size of integers in the log and the API.
MAX_LEVEL: Final = 10**10


class NoPriceError(Exception):
    """A source has no price at present; the message says why."""


def round_to_index_price(level: float) -> Price:
    """Round a level as indices are published: 2 decimals from 100 upwards, 4 below.

    Raises NoPriceError for a level that rounds to zero or exceeds MAX_LEVEL.
    """
    if not 0 < level <= MAX_LEVEL:
        raise NoPriceError(f"level {level} is not between 0 and {MAX_LEVEL}")
    decimals = 2 if level >= 100 else 4
    price = round(level * 10**decimals) * (SCALE // 10**decimals)
    if price == 0:
        raise NoPriceError(f"level {level} rounds to zero")
    return Price(price)


@define
class IndexSource:
    """An index price over time, multiplied by the shocks so far."""

    factor: float = field(default=1.0, init=False)

    def level(self, now: Millis) -> float:
        """Return the level before shocks. Raises NoPriceError when there is none."""
        raise NotImplementedError

    def price(self, now: Millis) -> Price:
        """Return the published price at venue time `now`. Raises NoPriceError without one."""
        return round_to_index_price(self.level(now) * self.factor)

    def shock(self, fraction: float) -> None:
        """Move the level by `fraction` of itself from now on: -0.2 is a fall of a fifth."""
        if not -1 < fraction < math.inf:
            raise ValueError(f"a shock is a fraction above -1, not {fraction}")
        self.factor *= 1 + fraction


@define
class FixedIndex(IndexSource):
    """A constant price, apart from shocks."""

    fixed: Price

    def level(self, now: Millis) -> float:  # noqa: ARG002 - other sources move with time
        """Return the fixed level."""
        return self.fixed / SCALE


@define
class WalkIndex(IndexSource):
    """A geometric random walk with jumps, in steps of a second from its first reading.

    A reading depends on the settings and the seconds since the first one, not on how often it is
    read. The walk is built from hours: a sequential generator draws each hour's total move and its
    jumps, and only the hour being read is filled in with seconds (a Brownian bridge: a free path
    bent to end where the hour ends). So a clock moved by a month costs 720 steps instead of 2.6
    million, which would hold the event loop for a second.
    """

    settings: schema.WalkIndexSettings
    _hours: random.Random = field(init=False)
    _origin: int | None = field(default=None, init=False)
    _hour: int = field(default=-1, init=False)
    _open: float = field(default=0.0, init=False)
    _close: float = field(default=0.0, init=False)
    _jumps: list[tuple[int, float]] = field(default=Factory(list), init=False)
    _path: list[float] = field(default=Factory(list), init=False)

    def __attrs_post_init__(self) -> None:
        """Seed by name too, so that two indices with one seed differ."""
        self._hours = random.Random(self._seed("hours"))  # noqa: S311 - a simulation

    def level(self, now: Millis) -> float:
        """Return the level at the second of `now`; before the first reading, the first level."""
        second = now // SECOND
        if self._origin is None:
            self._origin = second
        hour, offset = divmod(max(0, second - self._origin), SECONDS_PER_HOUR)
        if hour > self._hour:
            self._advance(hour)
        elif hour < self._hour:
            raise NoPriceError(f"time went back by {self._hour - hour} h; a walk does not")
        log = self._open + self._path[offset]
        log += sum(size for at, size in self._jumps if at <= offset)
        return self.settings.price / SCALE * math.exp(log)

    def _advance(self, hour: int) -> None:
        """Draw the hours up to `hour`, then fill that one with seconds."""
        deviation = self.settings.volatility * math.sqrt(SECONDS_PER_HOUR / SECONDS_PER_YEAR)
        drift = self.settings.drift - self.settings.volatility**2 / 2
        move = 0.0
        while self._hour < hour:
            move = drift * SECONDS_PER_HOUR / SECONDS_PER_YEAR + self._hours.gauss(0, deviation)
            self._jumps = list(self._draw_jumps())
            self._open = self._close
            self._close = self._open + move + sum(size for _, size in self._jumps)
            self._hour += 1
        self._path = self._bridge(move, deviation / math.sqrt(SECONDS_PER_HOUR))

    def _draw_jumps(self) -> Iterator[tuple[int, float]]:
        """Draw an hour's jumps: seconds at exponential gaps, logarithmic sizes of either sign."""
        rate = self.settings.jumps / SECONDS_PER_DAY
        size = math.log1p(self.settings.jump_size)
        at = self._hours.expovariate(rate) if rate else math.inf
        while at < SECONDS_PER_HOUR:
            yield math.ceil(at), self._hours.choice((-size, size))
            at += self._hours.expovariate(rate)

    def _bridge(self, move: float, deviation: float) -> list[float]:
        """Return an hour's path of seconds, from 0 to `move` at the start of the next hour."""
        draw = random.Random(self._seed(str(self._hour)))  # noqa: S311 - a simulation
        free = [0.0]
        for _ in range(SECONDS_PER_HOUR):
            free.append(free[-1] + draw.gauss(0, deviation))
        bend = (move - free.pop()) / SECONDS_PER_HOUR
        return [value + bend * second for second, value in enumerate(free)]

    def _seed(self, part: str) -> str:
        """Return a text seed, which Python hashes with SHA-512, the same in every process."""
        return f"{self.settings.seed}:{self.settings.name}:{part}"


@define
class CsvIndex(IndexSource):
    """Recorded prices, played from the first reading on; after the last one it stays there.

    `times` are milliseconds, ascending; `prices` are levels, one for each time.
    """

    times: Sequence[int]
    prices: Sequence[float]
    speed: float = 1.0
    _origin: Millis | None = field(default=None, init=False)

    def level(self, now: Millis) -> float:
        """Return the last price recorded up to the playing position."""
        if self._origin is None:
            self._origin = now
        position = self.times[0] + max(0, now - self._origin) * self.speed
        return self.prices[bisect_right(self.times, position) - 1]


def read_csv(file: Path, speed: float = 1.0) -> CsvIndex:
    """Read a file with a header and the columns `timestamp` (ms) and `price`; others are ignored.

    Raises ConfigError naming file and line.
    """
    times, prices = array("q"), array("d")
    try:
        with TextIOWrapper(open_regular(file), encoding="utf-8", newline="") as text:
            rows = csv.DictReader(text, strict=True)
            missing = {"timestamp", "price"}.difference(rows.fieldnames or ())
            if missing:
                raise ConfigError(
                    f"{file}, line 1: no column {' and '.join(sorted(missing))};"
                    " expected a header with timestamp,price"
                )
            for row in rows:
                at, price = _read_row(f"{file}, line {rows.line_num}", row)
                if times and at <= times[-1]:
                    raise ConfigError(
                        f"{file}, line {rows.line_num}: timestamp {at} does not follow {times[-1]}"
                    )
                times.append(at)
                prices.append(price)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    if not times:
        raise ConfigError(f"{file}: no prices after the header")
    return CsvIndex(times, prices, speed)


def _read_row(place: str, row: Mapping[str, str | None]) -> tuple[int, float]:
    try:
        at, price = int(row["timestamp"] or ""), float(row["price"] or "")
    except ValueError as error:
        raise ConfigError(f"{place}: {shorten(str(error))}") from error
    if not (0 <= at < 2**62 and 0 < price <= MAX_LEVEL):
        raise ConfigError(f"{place}: timestamp {row['timestamp']} or price {price} is out of range")
    return at, price


@define
class IndexSources:
    """All indices of the venue by name.

    An index without a price is omitted from a reading, so that its age shows in the state.
    `failing` maps such indices to the reason; the log reports when one starts and stops failing.
    Only NoPriceError is handled: any other exception of a source is a bug, and propagates.
    """

    sources: dict[str, IndexSource]
    failing: dict[str, str] = field(default=Factory(dict), init=False)

    def prices(self, now: Millis) -> tuple[tuple[str, Price], ...]:
        """Return the available prices at venue time `now`, sorted by name."""
        read: list[tuple[str, Price]] = []
        for name in sorted(self.sources):
            try:
                read.append((name, self.sources[name].price(now)))
            except NoPriceError as error:
                if name not in self.failing:
                    logger.warning("index %s has no price: %s", name, error)
                self.failing[name] = str(error)
            else:
                if self.failing.pop(name, None) is not None:
                    logger.info("index %s has a price again", name)
        return tuple(read)

    def resume(self, last: Mapping[str, int], now: Millis) -> None:
        """Continue random walks from their `last` prices, so that a restart is no shock.

        Fixed and recorded prices are those of the configuration.
        """
        for name, source in self.sources.items():
            if isinstance(source, WalkIndex) and last.get(name):
                source.factor = last[name] / SCALE / source.level(now)

    def shock(self, fraction: float, name: str | None = None) -> None:
        """Move one index, or all, by `fraction` of itself from now on.

        Raises ValueError for an unknown name and for a fraction of -1 or less.
        """
        if name is not None and name not in self.sources:
            raise ValueError(f"no index {name}; there are {', '.join(sorted(self.sources))}")
        for shocked in self.sources if name is None else (name,):
            self.sources[shocked].shock(fraction)


def open_index_sources(settings: Iterable[schema.IndexSettings]) -> IndexSources:
    """Build every source. Raises ConfigError for a file that cannot be played."""
    return IndexSources({each.name: _open_source(each) for each in settings})


def _open_source(settings: schema.IndexSettings) -> IndexSource:
    match settings:
        case schema.FixedIndexSettings(price=price):
            return FixedIndex(price)
        case schema.WalkIndexSettings():
            return WalkIndex(settings)
        case schema.CsvIndexSettings(file=file, speed=speed):
            return read_csv(file, speed)
