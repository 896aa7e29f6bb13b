"""Sessions and large cancels: effects of the end of a session, requests in many entries."""

from tests.scenarios.script import run_scenario


def test_cancelling_many_orders_is_answered_once() -> None:
    """The answer comes after the last entry, with the number of orders that it cancelled.

    Sixteen per entry: after two of them 32 of 40 are cancelled, one of the last eight is traded
    meanwhile, and a later order stays.
    """
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bob has 1 BTC
    and ann sells 10 BTC-PERPETUAL at 10000 40 times
    and a slice is 16
    when ann cancels all
    then cancellations:
        | count |
    and markets:
        | instrument    | ask         |
        | BTC-PERPETUAL | 240 @ 10000 |
    when bob buys 10 BTC-PERPETUAL at 10000 => filled, 10 filled
    then markets:
        | instrument    | ask        |
        | BTC-PERPETUAL | 70 @ 10000 |
    and work is in progress
    when ann sells 20 BTC-PERPETUAL at 10000 => open, 0 filled
    then cancellations:
        | count |
        | 39    |
    and ended orders:
        | reason       | count |
        | user_request | 39    |
    and markets:
        | instrument    | ask        | orders |
        | BTC-PERPETUAL | 20 @ 10000 | 1      |
    when 1 more entry comes
    then cancellations:
        | count |
    and all accounts are sound
    """)


def test_the_end_of_a_connection_cancels_its_own_orders() -> None:
    """Only if it is set to, only its own orders, and not after a log-out."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and session 7 of ann starts
    and session 8 of ann starts
    and session 9 of ann starts
    and session 7 of ann cancels on disconnect
    and session 9 of ann cancels on disconnect
    and ann buys 10 BTC-PERPETUAL at 9910 session-7
    and ann buys 10 BTC-PERPETUAL at 9907 session-7
    and ann buys 20 BTC-PERPETUAL at 9908 session-8
    and ann buys 30 BTC-PERPETUAL at 9909 session-9
    and ann buys 40 BTC-PERPETUAL at 9906
    when session 7 ends
    then ended orders:
        | reason               | count |
        | cancel_on_disconnect | 2     |
    and markets:
        | instrument    | bid       | orders |
        | BTC-PERPETUAL | 30 @ 9909 | 3      |
    when session 8 ends
    and session 9 logs out
    then ended orders:
        | reason |
    and markets:
        | instrument    | bid       | orders |
        | BTC-PERPETUAL | 30 @ 9909 | 3      |
    """)


def test_no_order_rests_for_an_ended_connection() -> None:
    """The end overtakes requests in the inbox, including the start of the session."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and session 7 of ann starts
    and session 7 of ann cancels on disconnect
    and ann buys 10 BTC-PERPETUAL at 9910 session-7 => open, 0 filled
    when session 7 ends
    and ann buys 10 BTC-PERPETUAL at 9910 session-7 => refused: session_ended
    and session 8 ends
    and session 8 of ann starts                     => refused: session_ended
    and ann buys 10 BTC-PERPETUAL at 9910 session-8 => refused: session_ended
    then markets:
        | instrument    | bid | orders |
        | BTC-PERPETUAL |     | 0      |
    """)


def test_no_order_rests_for_a_session_whose_orders_are_being_cancelled() -> None:
    """Late requests are refused while the cancelling takes several entries."""
    run_scenario("""
    given btc_usd is 10000
    and a slice is 4
    and ann has 1 BTC
    and bob has 1 BTC
    and session 7 of ann starts
    and session 7 of ann cancels on disconnect
    and ann buys 10 BTC-PERPETUAL at 9910 session-7
    and ann buys 10 BTC-PERPETUAL at 9911 session-7
    and ann buys 10 BTC-PERPETUAL at 9912 session-7
    and ann buys 10 BTC-PERPETUAL at 9913 session-7
    and ann buys 10 BTC-PERPETUAL at 9914 session-7
    and ann buys 10 BTC-PERPETUAL at 9915 session-7
    when session 7 ends
    then work is in progress
    and markets:
        | instrument    | orders |
        | BTC-PERPETUAL | 2      |
    when ann buys 10 BTC-PERPETUAL at 9916 session-7 => refused: session_ended
    then ended orders:
        | reason               | count |
        | cancel_on_disconnect | 6     |
    and markets:
        | instrument    | orders |
        | BTC-PERPETUAL | 0      |
    and all accounts are sound
    """)


def test_a_restart_ends_all_earlier_sessions() -> None:
    """It has the effect of dropped connections; their late requests are refused."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and session 7 of ann starts
    and session 8 of ann starts
    and session 7 of ann cancels on disconnect
    and ann buys 10 BTC-PERPETUAL at 9910 session-7
    and ann buys 20 BTC-PERPETUAL at 9908 session-8
    when all sessions below 9 end
    then ended orders:
        | reason               | count |
        | cancel_on_disconnect | 1     |
    and markets:
        | instrument    | bid       | orders |
        | BTC-PERPETUAL | 20 @ 9908 | 1      |
    when ann buys 10 BTC-PERPETUAL at 9910 session-8 => refused: session_ended
    and session 6 of ann starts                      => refused: session_ended
    and session 9 of ann starts                      => done
    """)


def test_a_log_in_after_the_end_of_its_connection_is_refused() -> None:
    """It is refused every time and for every account, so no order rests."""
    run_scenario("""
    given btc_usd is 10000
    and ann has 1 BTC
    and bea has 1 BTC
    and session 7 of ann starts
    when session 7 ends
    and session 7 of ann starts => refused: session_ended
    and session 7 of bea starts => refused: session_ended
    and bea buys 10 BTC-PERPETUAL at 9900 session-7 => refused: session_ended
    then markets:
        | instrument    | orders |
        | BTC-PERPETUAL | 0      |
    """)
