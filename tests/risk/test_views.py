"""Views only look."""

from risk import views
from risk.commands import OpenAccount
from risk.exchange import Exchange
from tests.risk.venue import Venue


def test_looking_at_a_currency_that_is_not_there_changes_nothing() -> None:
    """A summary in a currency that no product settles in is all zero, and leaves no wallet."""
    venue = Venue()
    exchange: Exchange = venue.exchange
    venue.do(OpenAccount(account=901, name="looker"))
    before = exchange.digest()
    summary = views.summary(exchange.state, 901, "EURR")
    assert (summary.margin_balance, summary.initial) == (0, 0)
    assert "EURR" not in exchange.state.accounts[901].wallets
    assert before == exchange.digest()
