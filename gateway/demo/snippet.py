"""The lines that point ccxt at a venue: the demo prints them, README and docs/API.md show them."""

from __future__ import annotations

from typing import Final

_SNIPPET: Final = """\
import ccxt  # or: import ccxt.pro as ccxt, and await each call

exchange = ccxt.deribit({{"apiKey": "{client_id}", "secret": "{client_secret}"}})
here = {{"rest": "{http}", "ws": "{websocket}"}}
# set_sandbox_mode(True) copies "test" over "api": with "api" alone, it would take the lines below
# to test.deribit.com.
exchange.urls.update(api=here, test=here)

print(exchange.fetch_ticker("BTC/USD:BTC")["last"])
print(exchange.create_order("BTC/USD:BTC", "market", "buy", 100))
print(exchange.fetch_positions(["BTC/USD:BTC"]))
"""


def ccxt_snippet(http: str, websocket: str, client_id: str, client_secret: str) -> str:
    """A program that trades with ccxt at these addresses."""
    return _SNIPPET.format(
        http=http, websocket=websocket, client_id=client_id, client_secret=client_secret
    )
