"""The accept loop, also while the system is short of resources."""

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
    """A listener whose first accepts fail with given errors."""

    errors: list[int]
    stop: trio.CancelScope
    accepted: int = field(default=0, init=False)

    async def accept(self) -> trio.SocketStream:
        """Raise the next error; after the last one, end the test."""
        await trio.lowlevel.checkpoint()
        if not self.errors:
            self.stop.cancel()
            await trio.sleep_forever()
        raise OSError(self.errors.pop(0), "short")

    async def aclose(self) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()


async def test_a_shortage_is_waited_out_and_logged_once(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A pause after each attempt keeps it from filling the processor and the log."""
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


async def test_another_error_is_raised() -> None:
    """It is not retried."""
    async with trio.open_nursery() as nursery:
        listener = ShortListener([errno.EBADF], nursery.cancel_scope)
        with pytest.raises(OSError, match="short"):
            await accept_loop._accept(listener, trio.aclose_forcefully, nursery)


async def test_the_error_names_a_port_taken_between_bind_and_listen() -> None:
    """Two sockets that do not listen yet may bind the same port."""
    (first,) = bind(Endpoint("127.0.0.1", 0))
    with first:
        port = first.getsockname()[1]
        (second,) = bind(Endpoint("127.0.0.1", port))
        first.listen()
        with second:
            async with trio.open_nursery() as nursery:
                with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match=str(port))):
                    await accept_all([second], trio.aclose_forcefully, nursery)
