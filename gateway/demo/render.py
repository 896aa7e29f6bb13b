"""The live terminal view: books, trades, liquidations, the insurance fund and the rates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from gateway.demo.activity import Book, Picture, Round, Trade
from risk.events import LiquidationStep

# Lines that are not price levels: the frame, the header, the headings and the liquidations.
FIXED_LINES: Final = 18
ROUNDS: Final = 5
TRADES_WIDTH: Final = 50
BOOK_WIDTH: Final = 27
LEVELS: Final = (3, 10)
_BUY, _SELL, _ALARM = "green", "red", "bold magenta"


def draw(picture: Picture, width: int, height: int) -> RenderableType:
    """Return the view for a terminal of this size; a narrow one has fewer books."""
    least, most = LEVELS
    levels = max(least, min(most, (height - FIXED_LINES) // 2))
    books = max(1, (width - TRADES_WIDTH) // BOOK_WIDTH)
    upper = [
        *(_book(book, levels) for book in picture.books[:books]),
        _trades(picture.trades[: 2 * levels + 1]),
    ]
    side_by_side = Table.grid(padding=(0, 1))
    side_by_side.add_row(*upper)
    return Group(_header(picture), side_by_side, _rounds(picture.rounds[:ROUNDS]))


def funds(picture: Picture) -> str:
    """Return the insurance fund as text."""
    return "  ".join(f"{amount:,.4f} {currency}" for currency, amount in picture.funds.items())


def steps(picture: Picture) -> str:
    """Return how often each step of the liquidation ladder was taken."""
    counts = ((step.value, picture.steps.get(step, 0)) for step in LiquidationStep)
    return ", ".join(f"{step} {count}" for step, count in counts if count) or "none"


def clock(timestamp: int) -> str:
    """Return milliseconds since 1970 as a time of day, UTC."""
    return f"{datetime.fromtimestamp(timestamp / 1000, UTC):%H:%M:%S}"


def _header(picture: Picture) -> RenderableType:
    rates = (
        f"connections {picture.connections}  orders {picture.orders_rate:,.0f}/s"
        f"  trades {picture.trades_rate:,.1f}/s"
    )
    note = Text(picture.note, style=_ALARM, no_wrap=True, overflow="ellipsis")
    fund = f"insurance fund  {funds(picture)}"
    taken = f"liquidation steps  {steps(picture)}"
    return Panel(Group(rates, fund, taken, note), title="tidegate demo", subtitle="q quits")


def _book(book: Book, levels: int) -> Table:
    table = Table(title=book.instrument_name, show_header=False, box=None, padding=(0, 1))
    table.add_column(justify="right", min_width=10)
    table.add_column(justify="right", min_width=11)
    for price, amount in reversed(_padded(book.asks, levels)):
        table.add_row(Text(price, style=_SELL), amount)
    table.add_row(Text(f"{book.mark_price:,.2f}", style="bold"), Text("mark", style="dim"))
    for price, amount in _padded(book.bids, levels):
        table.add_row(Text(price, style=_BUY), amount)
    table.caption = f"index {book.index_price:,.2f}\nopen {book.open_interest:,.0f}"
    return table


def _padded(side: tuple[tuple[float, float], ...], levels: int) -> list[tuple[str, str]]:
    """Return the best levels as text, padded with empty lines so that the layout is stable."""
    shown = [(f"{price:,.2f}", f"{amount:,.0f}") for price, amount in side[:levels]]
    return shown + [("", "")] * (levels - len(shown))


def _trades(trades: tuple[Trade, ...]) -> Table:
    table = Table(title="trades", show_header=False, box=None, padding=(0, 1))
    for trade in trades:
        style = _BUY if trade.direction == "buy" else _SELL
        table.add_row(
            Text(clock(trade.timestamp), style="dim"),
            Text(trade.instrument_name),
            Text(f"{trade.price:,.2f}", style=style),
            f"{trade.amount:,.0f}",
            Text("LIQ" if trade.liquidation else "", style=_ALARM),
        )
    return table


def _rounds(rounds: tuple[Round, ...]) -> Panel:
    table = Table(show_header=False, box=None, padding=(0, 1))
    for each in rounds:
        table.add_row(Text(clock(each.timestamp), style="dim"), *describe(each))
    for _ in range(ROUNDS - len(rounds)):
        table.add_row("")
    return Panel(table, title="liquidations")


def describe(each: Round) -> tuple[str, str, str]:
    """Return account, step, and amount, instrument and price as text."""
    if not each.instrument:
        return each.name, each.step.value, ""
    return each.name, each.step.value, f"{each.amount:,.0f} {each.instrument} at {each.price:,.2f}"
