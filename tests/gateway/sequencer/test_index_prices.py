"""Tests of index sources."""

import itertools
import logging
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from book.units import DAY, HOUR, SCALE, SECOND, Millis, Price
from gateway.config import schema
from gateway.config.toml_reader import ConfigError
from gateway.sequencer.index_prices import (
    FixedIndex,
    IndexSource,
    IndexSources,
    NoPriceError,
    WalkIndex,
    open_index_sources,
    read_csv,
    round_to_index_price,
)

START = Millis(1_700_000_000_000)
WALK = schema.WalkIndexSettings(
    "btc_usd", Price(65_000 * SCALE), volatility=0.8, drift=0.1, jumps=20, jump_size=0.03, seed=7
)


def after(millis: int) -> Millis:
    return Millis(START + millis)


@pytest.mark.parametrize(
    ("level", "price"),
    [
        (65_000.126, 6_500_013_000_000),
        (100.004, 100 * SCALE),
        (99.99996, 100 * SCALE),
        (99.12344, 9_912_340_000),
        (0.0001, 10_000),
    ],
)
def test_prices_have_two_decimals_from_100_and_four_below(level: float, price: int) -> None:
    """An index is published in cents from 100 upwards and in hundredths of a cent below."""
    assert price == round_to_index_price(level)


@pytest.mark.parametrize("level", [0.0, -1.0, 0.00001, math.nan, math.inf, 1e11])
def test_an_invalid_level_is_not_published(level: float) -> None:
    """Zero, not-a-number and levels beyond a Price raise NoPriceError."""
    with pytest.raises(NoPriceError):
        round_to_index_price(level)


def test_a_fixed_index_changes_by_shocks_alone() -> None:
    """A shock of -20 % is permanent, and a second one multiplies."""
    index = FixedIndex(Price(65_000 * SCALE))
    assert 65_000 * SCALE == index.price(START)
    index.shock(-0.2)
    assert 52_000 * SCALE == index.price(after(DAY))
    index.shock(-0.5)
    assert 26_000 * SCALE == index.price(after(DAY))


@pytest.mark.parametrize("fraction", [-1.0, -2.0, math.nan, math.inf])
def test_a_shock_to_zero_is_rejected(fraction: float) -> None:
    """A shock to zero or below, or by not-a-number, raises ValueError."""
    index = FixedIndex(Price(SCALE))
    with pytest.raises(ValueError, match="above -1"):
        index.shock(fraction)
    assert index.price(START) == SCALE


def test_a_walk_starts_at_its_price() -> None:
    """The first reading is the configured price, at whatever time."""
    assert 65_000 * SCALE == WalkIndex(WALK).price(START)
    assert 65_000 * SCALE == WalkIndex(WALK).price(after(12_345_678))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3 * HOUR), min_size=1, max_size=20))
def test_a_walk_does_not_depend_on_how_often_it_is_read(pauses: list[int]) -> None:
    """Readings in between do not change the price at a later time."""
    often, once = WalkIndex(WALK), WalkIndex(WALK)
    assert often.price(START) == once.price(START)
    for pause in itertools.accumulate(pauses):
        often.price(after(pause))
    assert often.price(after(sum(pauses))) == once.price(after(sum(pauses)))


def test_a_walk_steps_on_whole_seconds() -> None:
    """Within a second the price is constant; over the next ones it changes."""
    walk = WalkIndex(WALK)
    assert walk.price(START) == walk.price(after(999))
    assert len({walk.price(after(second * SECOND)) for second in range(10)}) > 5


def test_a_walk_does_not_go_back_by_hours() -> None:
    """Earlier seconds of the hour can be read again; an earlier hour has no price."""
    walk = WalkIndex(WALK)
    walk.price(START)
    later = walk.price(after(HOUR + SECOND))
    walk.price(after(HOUR + 9 * SECOND))
    assert later == walk.price(after(HOUR + SECOND))
    with pytest.raises(NoPriceError, match="time went back by 1 h"):
        walk.price(after(HOUR - SECOND))


def test_seed_and_name_determine_the_walk() -> None:
    """The same seed repeats a walk; another seed, or another index with that seed, differs."""
    other_seed = msgspec.structs.replace(WALK, seed=8)
    other_name = msgspec.structs.replace(WALK, name="eth_usd")
    paths = []
    for each in (WALK, WALK, other_seed, other_name):
        walk = WalkIndex(each)
        paths.append([walk.price(after(second * SECOND)) for second in range(5)])
    assert paths[0] == paths[1]
    assert paths[0] != paths[2]
    assert paths[0] != paths[3]


def test_a_walk_has_the_configured_volatility() -> None:
    """Over 200 hours, steps within and across hours have the configured deviation."""
    walk = WalkIndex(
        schema.WalkIndexSettings("btc_usd", Price(10**6 * SCALE), volatility=0.8, seed=3)
    )
    logs = [math.log(walk.price(after(minute * 60_000))) for minute in range(200 * 60)]
    steps = [later - earlier for earlier, later in itertools.pairwise(logs)]
    assert statistics.stdev(steps) == pytest.approx(0.8 / math.sqrt(365 * 24 * 60), rel=0.05)
    across = steps[59::60]
    assert statistics.stdev(across) == pytest.approx(0.8 / math.sqrt(365 * 24 * 60), rel=0.2)


def test_a_walk_without_volatility_moves_by_drift_and_jumps_alone() -> None:
    """With one jump expected an hour, each step is none or a whole jump of 5 % up or down."""
    walk = WalkIndex(
        schema.WalkIndexSettings(
            "btc_usd", Price(SCALE * 10**6), volatility=0, jumps=24, jump_size=0.05
        )
    )
    prices = [walk.price(after(second * 10 * SECOND)) for second in range(360 * 48)]
    moves = [round(later / earlier, 5) for earlier, later in itertools.pairwise(prices)]
    assert {1.0, 1.05, round(1 / 1.05, 5)} >= set(moves)
    assert 24 < sum(move != 1.0 for move in moves) < 96


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "prices.csv"
    file.write_text(text)
    return file


def test_a_recording_plays_from_the_first_reading_and_holds_its_end(tmp_path: Path) -> None:
    """Each price holds until the next one's time; the last holds for ever."""
    file = write(tmp_path, "timestamp,volume,price\n1000,9,100.5\n2000,9,101.25\n4000,9,99.1234\n")
    index = read_csv(file)
    assert [10_050_000_000, 10_050_000_000, 10_125_000_000, 9_912_340_000, 9_912_340_000] == [
        index.price(after(millis)) for millis in (0, 999, 1000, 3000, DAY)
    ]


def test_a_recording_plays_faster(tmp_path: Path) -> None:
    """At speed 10 a recorded second lasts 100 ms."""
    index = read_csv(write(tmp_path, "timestamp,price\n0,100\n1000,200\n"), speed=10)
    assert [100 * SCALE, 100 * SCALE, 200 * SCALE] == [
        index.price(after(millis)) for millis in (0, 99, 100)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column price and timestamp"),
        ("time,price\n1,2\n", "line 1: no column timestamp"),
        ("timestamp,price\n", "no prices after the header"),
        ("timestamp,price\n1,2\nx,3\n", "line 3: invalid literal for int() with base 10: 'x'"),
        ("timestamp,price\n1\n", "line 2: could not convert string to float: ''"),
        ("timestamp,price\n1,nan\n", "line 2: timestamp 1 or price nan is out of range"),
        ("timestamp,price\n1,0\n", "line 2: timestamp 1 or price 0.0 is out of range"),
        ("timestamp,price\n5,1\n5,2\n", "line 3: timestamp 5 does not follow 5"),
    ],
)
def test_an_error_in_a_recording_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    """The error names file and line of the first mistake."""
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        read_csv(file)
    assert str(refused.value).startswith(str(file))
    assert message in str(refused.value)


def test_a_missing_recording_is_a_configuration_error(tmp_path: Path) -> None:
    """A file that does not exist is an error of the configuration."""
    with pytest.raises(ConfigError, match=r"cannot be read: .*No such file"):
        read_csv(tmp_path / "none.csv")


def test_index_sources_read_all_indices_in_name_order(tmp_path: Path) -> None:
    """Each source is built from its settings, and prices are sorted by name."""
    write(tmp_path, "timestamp,price\n0,3000\n")
    text = """
        [[index]]
        name = "sol_usdc"
        source = "fixed"
        price = 150.5
        [[index]]
        name = "eth_usd"
        source = "csv"
        file = "prices.csv"
    """
    sources = open_index_sources(schema.parse(text, folder=tmp_path).index)
    assert (
        ("btc_usd", 65_000 * SCALE),
        ("btc_usdc", 65_000 * SCALE),
        ("eth_usd", 3_000 * SCALE),
        ("eth_usdc", 3_500 * SCALE),
        ("sol_usdc", 15_050_000_000),
    ) == sources.prices(START)


def test_a_shock_moves_one_index_or_all() -> None:
    """Without a name, every index is shocked, whatever its source."""
    sources = open_index_sources(schema.parse("").index)
    before = dict(sources.prices(START))
    sources.shock(-0.5, "btc_usd")
    one = dict(sources.prices(START))
    assert {**before, "btc_usd": before["btc_usd"] // 2} == one
    sources.shock(-0.5)
    assert {name: price // 2 for name, price in one.items()} == dict(sources.prices(START))
    with pytest.raises(ValueError, match="no index doge_usd; there are btc_usd, btc_usdc"):
        sources.shock(-0.1, "doge_usd")


@define
class Scripted(IndexSource):
    """A source that does what `script` does."""

    script: Callable[[Millis], float]

    def level(self, now: Millis) -> float:
        return self.script(now)


def test_an_index_without_a_price_is_omitted_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    """The other indices are still read; the log reports the failure once."""
    levels = iter([100.0, 0.0, 0.0, 101.0])
    sources = IndexSources(
        {"b": Scripted(lambda now: next(levels)), "a": FixedIndex(Price(200 * SCALE))}
    )
    caplog.set_level(logging.INFO, logger="gateway.sequencer.index_prices")
    seen = [dict(sources.prices(START)).get("b") for _ in range(2)]
    assert [100 * SCALE, None] == seen
    assert {"b": "level 0.0 is not between 0 and 10000000000"} == sources.failing
    assert (("a", 200 * SCALE),) == sources.prices(START)
    assert 2 == len(sources.prices(START))
    assert {} == sources.failing
    assert [
        "index b has no price: level 0.0 is not between 0 and 10000000000",
        "index b has a price again",
    ] == [record.getMessage() for record in caplog.records]


def test_a_bug_in_a_source_propagates() -> None:
    """Only NoPriceError is handled; any other exception propagates."""
    sources = IndexSources({"b": Scripted(lambda now: 1 / (now - START))})
    with pytest.raises(ZeroDivisionError):
        sources.prices(START)
