"""The `library` fixture, which runs a test with each WebSocket library."""

from __future__ import annotations

from typing import get_args

import pytest

from gateway.network.transport import Library
from tests.gateway import server_fixtures


@pytest.fixture(params=get_args(Library))
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    """The WebSocket library of the servers that the test runs."""
    chosen: Library = request.param
    monkeypatch.setattr(server_fixtures, "library", chosen)
    return chosen
