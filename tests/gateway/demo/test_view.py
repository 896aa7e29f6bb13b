"""What the demo prints and draws."""

import msgspec
import pytest
from rich.console import Console

from gateway.demo.activity import Book, Picture, Round, Trade
from gateway.demo.render import draw
from gateway.demo.view import Lines
from risk.events import LiquidationStep

BOOK = Book(
    "BTC-PERPETUAL",
    mark_price=52_000.0,
    index_price=51_990.0,
    open_interest=1_000_000.0,
    bids=tuple((51_999.5 - level, 1_000.0) for level in range(10)),
    asks=tuple((52_000.5 + level, 2_000.0) for level in range(10)),
)
ROUND = Round(
    0, "demo.gambler7", LiquidationStep.REDUCED, "BTC-PERPETUAL", amount=5_000, price=51_900.0
)
PICTURE = Picture(
    books=(BOOK, msgspec.structs.replace(BOOK, instrument_name="ETH-PERPETUAL")),
    trades=tuple(Trade(0, "BTC-PERPETUAL", "sell", 51_900.5, 5_000, "T") for _ in range(50)),
    rounds=(ROUND,) * 50,
    funds={"BTC": 9.5},
    connections=34,
    orders_rate=81.0,
    trades_rate=28.0,
    steps={LiquidationStep.REDUCED: 50},
    note="",
)


def drawn(picture: Picture, width: int, height: int) -> list[str]:
    """The lines of a terminal."""
    console = Console(width=width, height=height)
    with console.capture() as capture:
        console.print(draw(picture, width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (110, 30), (110, 44), (200, 60)])
def test_the_view_fits_the_terminal_and_shows_everything(width: int, height: int) -> None:
    """Best prices, trades that liquidate, the fund and the rates."""
    lines = drawn(PICTURE, width, height)
    assert len(lines) <= height
    text = "\n".join(lines)
    for shown in ("51,999.50", "52,000.50", "LIQ", "demo.gambler7", "9.5000 BTC", "81/s"):
        assert shown in text


def test_an_empty_venue_takes_as_many_lines_as_a_busy_one() -> None:
    """Nothing on the screen jumps when the first order comes."""
    empty = msgspec.structs.replace(
        PICTURE,
        books=tuple(msgspec.structs.replace(book, bids=(), asks=()) for book in PICTURE.books),
        rounds=(),
        steps={},
    )
    assert len(drawn(PICTURE, 110, 40)) == len(drawn(empty, 110, 40))


def test_each_liquidation_step_is_printed_once() -> None:
    """Although every picture holds the latest ones."""
    lines = Lines()
    first = msgspec.structs.replace(
        PICTURE, rounds=(ROUND,) * 2, steps={LiquidationStep.REDUCED: 2}
    )
    newest = msgspec.structs.replace(ROUND, name="demo.gambler8")
    second = msgspec.structs.replace(
        PICTURE, rounds=(newest, ROUND, ROUND), steps={LiquidationStep.REDUCED: 3}
    )
    printed = ["\n".join(lines.lines(picture)) for picture in (first, second, second)]
    counts = [[text.count(name) for name in ("gambler7", "gambler8")] for text in printed]
    assert [[2, 0], [0, 1], [0, 0]] == counts


def test_a_note_is_printed_once() -> None:
    """When the market is moved."""
    lines = Lines()
    shocked = msgspec.structs.replace(PICTURE, note="shock of -20.00%")
    assert "shock of -20.00%" in lines.lines(shocked)
    assert "shock of -20.00%" not in lines.lines(shocked)
