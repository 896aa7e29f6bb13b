"""The expiry calendar: which dated futures are listed, and when they expire.

Everything expires at 08:00 UTC. Weeklies end on Fridays, monthlies on the last Friday of a
month, quarterlies on the last Friday of March, June, September and December.
"""

from datetime import date, timedelta
from enum import Enum

from book.units import DAY, HOUR, MINUTE, Millis

EXPIRY_HOUR = 8
AVERAGING_WINDOW = 30 * MINUTE
"""A delivery price is the average index price over this window before the expiry."""

_EPOCH = date(1970, 1, 1).toordinal()
_FRIDAY = 4
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class Period(Enum):
    """The API's `settlement_period` of an instrument; quarterlies count as month."""

    PERPETUAL = "perpetual"
    WEEK = "week"
    MONTH = "month"


def day_of(time: int) -> date:
    """Return the UTC day of `time`."""
    return date.fromordinal(_EPOCH + time // DAY)


def expiry_on(day: date) -> Millis:
    """Return 08:00 UTC of a day."""
    return Millis((day.toordinal() - _EPOCH) * DAY + EXPIRY_HOUR * HOUR)


def next_settlement(time: int) -> Millis:
    """Return the first 08:00 UTC after `time`; at 08:00 itself, that of the next day."""
    return Millis((time - EXPIRY_HOUR * HOUR) // DAY * DAY + DAY + EXPIRY_HOUR * HOUR)


def averaging_start(time: int) -> Millis:
    """Return the start of the last averaging window that opened by `time`: 07:30 UTC."""
    since_midnight = EXPIRY_HOUR * HOUR - AVERAGING_WINDOW
    return Millis((time - since_midnight) // DAY * DAY + since_midnight)


def date_code(time: int) -> str:
    """Return the day of `time` as written in instrument names: 5JUN26, 25DEC26."""
    day = day_of(time)
    return f"{day.day}{_MONTHS[day.month - 1]}{day.year % 100:02}"


def last_friday(year: int, month: int) -> date:
    """Return the last Friday of a month."""
    following = date(year + month // 12, month % 12 + 1, 1)
    last = following - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - _FRIDAY) % 7)


def expiries(time: int) -> tuple[tuple[Millis, Period], ...]:
    """Return the listed expiries: the next two Fridays, month end and quarter end, soonest first.

    An expiry at `time` itself is over. Each date is listed once, under its longest period.
    """
    today = day_of(time)
    friday = today + timedelta(days=(_FRIDAY - today.weekday()) % 7)
    if expiry_on(friday) <= time:
        friday += timedelta(days=7)
    listed = {expiry_on(friday + timedelta(days=7 * week)): Period.WEEK for week in range(2)}
    listed[_end_of(today, time, quarterly=False)] = Period.MONTH
    listed[_end_of(today, time, quarterly=True)] = Period.MONTH
    return tuple(sorted(listed.items()))


def _end_of(today: date, time: int, *, quarterly: bool) -> Millis:
    """Return the first expiry at a month end (or quarter end) after `time`."""
    year, month = today.year, today.month
    while (quarterly and month % 3) or expiry_on(last_friday(year, month)) <= time:
        year, month = year + month // 12, month % 12 + 1
    return expiry_on(last_friday(year, month))
