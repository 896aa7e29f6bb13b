"""How `tidegate shock` reaches a demo that runs in another process: a Unix-domain socket.

The socket is in a directory that only its owner may enter, so that only the user who started the
demo can move its market. A port, even on loopback, would be open to every user and every web page
of the machine, and would need a shared secret.

The exchange is one line of JSON each way: {"fraction": -0.2} and {"prices": {...}}.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import trio
from msgspec import Meta

# One line from a program of ours on the same machine.
SECONDS: Final = 2.0
LINE_BYTES: Final = 4_096


class ControlError(Exception):
    """No demo could be reached, and the reason."""


class Shock(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Move every index by a fraction of itself."""

    fraction: Annotated[float, Meta(gt=-1, le=100)]


class Report(msgspec.Struct, frozen=True, gc=False):
    """The index prices that a shock leads to, or an error."""

    prices: dict[str, float] = {}
    error: str = ""


def folder() -> Path:
    """Return the private directory of this user's demos, created if it is missing.

    Raises ControlError if it cannot be created or is open to other users.
    """
    if not hasattr(os, "getuid"):
        raise ControlError("this system has no Unix-domain sockets")
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    path = base / f"tidegate-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise ControlError(f"no directory for control sockets: {error}") from error
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise ControlError(f"{path} is not a directory of yours alone; remove it and start again")
    return path


def _address(port: int) -> Path:
    return folder() / f"demo-{port}.sock"


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """A listening socket named by the demo's HTTP port, removed at the end.

    This process holds that port, so an existing file of that name is of a demo that was killed.
    Raises ControlError if the socket cannot be created.
    """
    path = _address(port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        try:
            path.unlink(missing_ok=True)
            bound.bind(str(path))
            bound.listen()
        except OSError as error:
            raise ControlError(f"no control socket: {error}") from error
        try:
            yield bound
        finally:
            path.unlink(missing_ok=True)


async def listen(
    port: int,
    move: Callable[[float], dict[str, float]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `move` with the fraction of each requested shock; it returns the index prices to come.

    `port` is the demo's HTTP port. Raises ControlError if the socket cannot be created.
    """
    with _bound(port) as bound:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        task_status.started()
        await trio.serve_listeners(partial(_answer, move), [listener])


async def _answer(move: Callable[[float], dict[str, float]], stream: trio.SocketStream) -> None:
    with trio.move_on_after(SECONDS):
        try:
            report = _shock(move, await _line(stream))
            await stream.send_all(msgspec.json.encode(report) + b"\n")
        except trio.BrokenResourceError:
            # The client closed its end; a shock that it requested has begun.
            return


def _shock(move: Callable[[float], dict[str, float]], line: bytes) -> Report:
    try:
        shock = msgspec.json.decode(line, type=Shock)
    except msgspec.DecodeError as error:
        return Report(error=str(error))
    return Report(move(shock.fraction))


async def _line(stream: trio.SocketStream) -> bytes:
    """Return the bytes before the first line end, the end of the stream or the limit."""
    data = b""
    while b"\n" not in data and len(data) <= LINE_BYTES:
        received = await stream.receive_some(LINE_BYTES)
        if not received:
            break
        data += received
    return data.partition(b"\n")[0]


async def send_shock(fraction: float, port: int | None = None) -> dict[str, float]:
    """Send a shock to the demo at an HTTP port, or to the only one; return the prices to come.

    Raises ControlError if there is no demo, there are several, or it does not reply.
    """
    with trio.move_on_after(SECONDS):
        demos = await _connect(_ports() if port is None else [port])
        if len(demos) == 1:
            (stream,) = demos.values()
            async with stream:
                return await _request(stream, fraction)
        for stream in demos.values():
            await stream.aclose()
        if demos:
            listed = ", ".join(map(str, demos))
            raise ControlError(f"several demos are running; choose one with --port: {listed}")
        where = "" if port is None else f" on port {port}"
        raise ControlError(f"no demo of yours is running{where}; start one with `tidegate demo`")
    raise ControlError("the demo does not answer")


def _ports() -> list[int]:
    """Return the HTTP ports of this user's demos, including those that were killed."""
    numbers = (path.stem.removeprefix("demo-") for path in folder().glob("demo-*.sock"))
    return sorted(int(number) for number in numbers if number.isdigit())


async def _connect(ports: Sequence[int]) -> dict[int, trio.SocketStream]:
    """Return connections to the running demos."""
    found = {}
    for port in ports:
        try:
            found[port] = await trio.open_unix_socket(str(_address(port)))
        except OSError:
            # The demo was killed and has left its file.
            continue
    return found


async def _request(stream: trio.SocketStream, fraction: float) -> dict[str, float]:
    try:
        await stream.send_all(msgspec.json.encode(Shock(fraction)) + b"\n")
        report = msgspec.json.decode(await _line(stream), type=Report)
    except (trio.BrokenResourceError, msgspec.DecodeError) as error:
        raise ControlError(f"the demo hung up: {error}") from error
    if report.error:
        raise ControlError(report.error)
    return report.prices
