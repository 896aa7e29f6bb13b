"""Accepting, also while the system is short of descriptors."""

from __future__ import annotations

import errno
import logging

import pytest
import trio
from attrs import define, field

from gateway.config.toml_reader import ConfigError, Endpoint
from gateway.network import accept_loop
from gateway.network.accept_loop import accept_all
from gateway.network.sockets import bind


@define(eq=False)
class ShortListener(trio.abc.Listener[trio.SocketStream]):
    """A listener whose system is out of something for the first few times."""

    errors: list[int]
    stop: trio.CancelScope
    accepted: int = field(default=0, init=False)

    async def accept(self) -> trio.SocketStream:
        """Fail as often as told, then end the test."""
        await trio.lowlevel.checkpoint()
        if not self.errors:
            self.stop.cancel()
            await trio.sleep_forever()
        raise OSError(self.errors.pop(0), "short")

    async def aclose(self) -> None:
        """Nothing is open."""
        await trio.lowlevel.checkpoint()


async def test_a_shortage_is_waited_out_and_said_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """With a pause after each attempt, which would otherwise fill processor and log."""
    shortages = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM] * 100
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        listener = ShortListener(list(shortages), nursery.cancel_scope)
        with caplog.at_level(logging.WARNING):
            await accept_loop._accept(listener, trio.aclose_forcefully, nursery)
    paused = trio.current_time() - began
    assert paused == pytest.approx(len(shortages) * accept_loop.PAUSE_SECONDS)
    assert 1 == len(caplog.records)
    assert caplog.records[0].exc_info is None


async def test_another_error_is_a_bug() -> None:
    """It is raised, and not repeated for ever."""
    async with trio.open_nursery() as nursery:
        listener = ShortListener([errno.EBADF], nursery.cancel_scope)
        with pytest.raises(OSError, match="short"):
            await accept_loop._accept(listener, trio.aclose_forcefully, nursery)


async def test_a_port_taken_between_bind_and_listen_is_named() -> None:
    """Two that do not listen yet may bind one port."""
    (first,) = bind(Endpoint("127.0.0.1", 0))
    with first:
        port = first.getsockname()[1]
        (second,) = bind(Endpoint("127.0.0.1", port))
        first.listen()
        with second:
            async with trio.open_nursery() as nursery:
                with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=str(port))):
                    await accept_all([second], trio.aclose_forcefully, nursery)
