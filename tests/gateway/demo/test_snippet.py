"""The ccxt snippet: the same everywhere, and never to the real exchange."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ccxt
import ccxt.pro
import pytest

from gateway.demo.snippet import ccxt_snippet

HTTP, WEBSOCKET = "http://127.0.0.1:8080", "ws://127.0.0.1:8081/ws/api/v2"
SNIPPET = ccxt_snippet(HTTP, WEBSOCKET, "alice-key", "alice-secret")


@pytest.mark.parametrize("page", ["README.md", "docs/API.md"])
def test_the_documentation_shows_what_the_demo_prints(page: str) -> None:
    """To the letter, and nothing else about ccxt's addresses."""
    blocks = re.findall(r"```python\n(.*?)```", Path(page).read_text(), re.DOTALL)
    assert [SNIPPET] == [block for block in blocks if "ccxt" in block]


@pytest.mark.parametrize("library", [ccxt, ccxt.pro])
@pytest.mark.parametrize("switches", [(), (True,), (True, False), (False,), (True, True)])
def test_no_address_of_the_exchange_is_left(library: Any, switches: tuple[bool, ...]) -> None:
    """Neither with ccxt nor with ccxt.pro, whatever becomes of the sandbox mode."""
    setup = SNIPPET.partition("\n\nprint")[0].replace("import ccxt", "", 1)
    scope: dict[str, Any] = {"ccxt": library}
    exec(setup.lstrip().partition("\n")[2], scope)
    exchange = scope["exchange"]
    for switch in switches:
        exchange.set_sandbox_mode(switch)
    assert {"rest": HTTP, "ws": WEBSOCKET} == exchange.urls["api"]
    assert "deribit.com" not in str([exchange.urls["api"], exchange.urls["test"]])
    signed = exchange.sign("get_positions", ["private"], "GET", {"currency": "BTC"})
    assert signed["url"].startswith(f"{HTTP}/api/v2/private/get_positions?")


def test_the_snippet_says_what_the_sandbox_mode_would_do() -> None:
    """In a comment beside the line that takes care of it."""
    comment = " ".join(line[2:] for line in SNIPPET.splitlines() if line.startswith("# "))
    assert "set_sandbox_mode(True)" in comment
    assert "test.deribit.com" in comment
