"""The expiry calendar: Fridays, month ends and quarter ends, all at 08:00 UTC."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.calendar import (
    Period,
    averaging_start,
    date_code,
    day_of,
    expiries,
    expiry_on,
    last_friday,
    next_settlement,
)
from book.units import DAY, HOUR

WEEK, MONTH = Period.WEEK, Period.MONTH
TIMES = st.integers(
    expiry_on(date(2000, 1, 1)),
    expiry_on(date(2099, 1, 1)),
)


def at(text: str) -> int:
    """Return the milliseconds of a UTC time such as 2026-06-26T08:00."""
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def listed(text: str) -> list[tuple[str, Period]]:
    """Return date codes and periods of the expiries listed at a time."""
    return [(date_code(expiry), period) for expiry, period in expiries(at(text))]


@pytest.mark.parametrize(
    ("time", "opens"),
    [
        ("2026-06-03T07:30:00.000", "2026-06-03T07:30"),
        ("2026-06-03T07:29:59.999", "2026-06-02T07:30"),
        ("2026-06-03T08:00:00.000", "2026-06-03T07:30"),
        ("2026-06-03T23:59:59.999", "2026-06-03T07:30"),
        ("2026-06-04T00:00:00.000", "2026-06-03T07:30"),
        ("2026-06-04T00:30:00.000", "2026-06-03T07:30"),
    ],
)
def test_the_averaging_window_opens_half_an_hour_before_expiry(time: str, opens: str) -> None:
    """The last window that has opened is returned, exact to the millisecond."""
    assert at(opens) == averaging_start(at(time))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        pytest.param(
            "2026-06-03T12:00",
            [("5JUN26", WEEK), ("12JUN26", WEEK), ("26JUN26", MONTH)],
            id="the last month of a quarter, whose end is the quarter end",
        ),
        pytest.param(
            "2026-07-01T00:00",
            [("3JUL26", WEEK), ("10JUL26", WEEK), ("31JUL26", MONTH), ("25SEP26", MONTH)],
            id="another month, with four expiries",
        ),
        pytest.param(
            "2026-05-29T07:59:59.999",
            [("29MAY26", MONTH), ("5JUN26", WEEK), ("26JUN26", MONTH)],
            id="a Friday that is a month end counts as monthly",
        ),
        pytest.param(
            "2026-05-29T08:00",
            [("5JUN26", WEEK), ("12JUN26", WEEK), ("26JUN26", MONTH)],
            id="at 08:00 the monthly has expired",
        ),
        pytest.param(
            "2026-06-26T07:59:59.999",
            [("26JUN26", MONTH), ("3JUL26", WEEK)],
            id="a Friday that is month end and quarter end",
        ),
        pytest.param(
            "2026-06-26T08:00",
            [("3JUL26", WEEK), ("10JUL26", WEEK), ("31JUL26", MONTH), ("25SEP26", MONTH)],
            id="at 08:00 all three have expired",
        ),
        pytest.param(
            "2026-06-05T08:00",
            [("12JUN26", WEEK), ("19JUN26", WEEK), ("26JUN26", MONTH)],
            id="an ordinary Friday at 08:00",
        ),
        pytest.param(
            "2026-12-28T00:00",
            [("1JAN27", WEEK), ("8JAN27", WEEK), ("29JAN27", MONTH), ("26MAR27", MONTH)],
            id="after the year's last expiry",
        ),
        pytest.param(
            "2026-12-20T00:00",
            [("25DEC26", MONTH), ("1JAN27", WEEK)],
            id="across the end of the year",
        ),
    ],
)
def test_the_listed_expiries(time: str, expected: list[tuple[str, Period]]) -> None:
    """The next two Fridays, the month end and the quarter end, each date once, soonest first."""
    assert expected == listed(time)


@given(TIMES)
def test_expiries_are_future_fridays_at_eight(time: int) -> None:
    """Ascending, after the given time, and exactly at 08:00 on a Friday."""
    found = [expiry for expiry, _ in expiries(time)]
    assert sorted(set(found)) == found
    for expiry in found:
        moment = datetime.fromtimestamp(expiry // 1000, UTC)
        assert (4, 8, 0, 0, 0) == (moment.weekday(), moment.hour, moment.minute, moment.second, 0)
        assert expiry > time
        assert expiry % HOUR == 0
    assert found[1] - found[0] == 7 * DAY
    assert found[0] - time <= 7 * DAY


@given(TIMES, st.integers(0, 100 * DAY))
def test_an_expiry_keeps_its_period_while_it_is_listed(time: int, later: int) -> None:
    """A weekly never becomes a monthly, which would change the fees of open positions."""
    before, after = dict(expiries(time)), dict(expiries(time + later))
    for expiry in before.keys() & after.keys():
        assert before[expiry] is after[expiry]


@given(TIMES, st.integers(0, 100 * DAY))
def test_an_expiry_stays_listed_until_it_is_over(time: int, later: int) -> None:
    """Every listed expiry that is still ahead later is listed later as well."""
    alive = {expiry for expiry, _ in expiries(time) if expiry > time + later}
    assert alive <= {expiry for expiry, _ in expiries(time + later)}


@given(st.dates(date(1970, 1, 1), date(2200, 1, 1)))
def test_last_friday_is_the_last_friday_of_its_month(day: date) -> None:
    """It is a Friday of the month, and a week later is in the next month."""
    found = last_friday(day.year, day.month)
    assert (day.year, day.month, 4) == (found.year, found.month, found.weekday())
    assert (found + timedelta(days=7)).month != day.month


@pytest.mark.parametrize(
    ("time", "settlement"),
    [
        ("2026-02-28T07:59:59.999", "2026-02-28T08:00"),
        ("2026-02-28T08:00", "2026-03-01T08:00"),
        ("2026-02-28T23:59:59.999", "2026-03-01T08:00"),
        ("2026-03-01T00:00", "2026-03-01T08:00"),
    ],
)
def test_the_next_settlement_is_strictly_later(time: str, settlement: str) -> None:
    """At 08:00 itself the next settlement is that of the next day."""
    assert at(settlement) == next_settlement(at(time))


@pytest.mark.parametrize(
    ("time", "code"),
    [
        ("2026-06-05T08:00", "5JUN26"),
        ("2026-12-25T08:00", "25DEC26"),
        ("2009-01-03T00:00", "3JAN09"),
    ],
)
def test_date_codes_have_no_leading_zero_and_a_two_digit_year(time: str, code: str) -> None:
    """Months are in upper case English."""
    assert code == date_code(at(time))


@given(st.dates(date(1970, 1, 1), date(2200, 1, 1)))
def test_day_of_is_the_inverse_of_expiry_on(day: date) -> None:
    """For every day of two centuries."""
    assert day == day_of(expiry_on(day))
