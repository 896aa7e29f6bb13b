"""The control socket: who may move a demo's market, and how."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from gateway.demo import control
from gateway.demo.control import ControlError, listen, send_shock


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of our own, with a name short enough for a socket's address."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@asynccontextmanager
async def demo(port: int, moved: list[float]) -> AsyncIterator[None]:
    """A listening control socket that notes what it is told."""

    def move(fraction: float) -> dict[str, float]:
        moved.append(fraction)
        return {"btc_usd": 52_000.0}

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(listen, port, move))
            yield
            nursery.cancel_scope.cancel()


async def test_a_shock_reaches_the_only_demo() -> None:
    """Without a port, and the prices come back."""
    moved: list[float] = []
    async with demo(8080, moved):
        assert {"btc_usd": 52_000.0} == await send_shock(-0.2)
    assert [-0.2] == moved


async def test_of_several_demos_one_has_to_be_chosen() -> None:
    """Nothing moves until it is."""
    first: list[float] = []
    second: list[float] = []
    async with demo(8080, first), demo(9090, second):
        with pytest.raises(ControlError, match="8080, 9090"):
            await send_shock(-0.1)
        await send_shock(-0.2, 9090)
    assert ([], [-0.2]) == (first, second)


@pytest.mark.parametrize("port", [None, 8080])
async def test_without_a_demo_that_is_what_is_said(port: int | None) -> None:
    """And not that a file is missing."""
    with pytest.raises(ControlError, match="no demo of yours"):
        await send_shock(-0.2, port)


async def test_the_file_of_a_killed_demo_is_in_nobody_s_way() -> None:
    """Neither of a shock for another demo, nor of a new demo on the same port."""
    with control._bound(7070):
        stale = control._address(7070)
        kept = stale.with_suffix(".kept")
        stale.rename(kept)
    kept.rename(stale)
    moved: list[float] = []
    async with demo(8080, moved):
        await send_shock(-0.1)
    async with demo(7070, moved):
        await send_shock(-0.2)
    assert [-0.1, -0.2] == moved


@pytest.mark.parametrize("line", [b"\n", b"drop it\n", b'{"fraction": -1}\n', b"x" * 10_000])
async def test_what_is_no_shock_is_answered_with_an_error(line: bytes) -> None:
    """It moves nothing, and the next one is heard."""
    moved: list[float] = []
    async with demo(8080, moved):
        async with await trio.open_unix_socket(str(control._address(8080))) as stream:
            await stream.send_all(line)
            assert b'"error":"' in await stream.receive_some()
        await send_shock(-0.2)
    assert [-0.2] == moved


async def test_a_directory_that_others_can_enter_is_not_used(home: Path) -> None:
    """Somebody may have made it first, to listen or to move our market."""
    folder = home / f"tidegate-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(ControlError, match="yours alone"):
        await send_shock(-0.2)


async def test_the_socket_is_gone_with_its_demo() -> None:
    """Nothing is left lying around."""
    async with demo(8080, []):
        assert control._address(8080).is_socket()
    assert not control._address(8080).exists()
