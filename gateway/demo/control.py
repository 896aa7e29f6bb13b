"""How `tidegate shock` reaches a demo that runs in another process: a Unix-domain socket.

It lies in a directory that only its owner may enter, so the file system says who may move the
market: whoever started the demo. A port, even on loopback, would be open to every user and to
every web page of the machine, and would need a secret that somebody has to carry over.

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
    """No demo could be told, and why."""


class Shock(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Move every index by a fraction of itself."""

    fraction: Annotated[float, Meta(gt=-1, le=100)]


class Report(msgspec.Struct, frozen=True, gc=False):
    """The index prices that a shock leads to; or what was wrong."""

    prices: dict[str, float] = {}
    error: str = ""


def folder() -> Path:
    """The private directory of this user's demos, made where it is missing.

    Raises ControlError where there can be none, or it is open to others.
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

    Whoever holds that port is this process, so that a file of its name is one that a killed demo
    has left. Raises ControlError where no such socket can be had.
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
    """Call `move` with the fraction of each shock that is asked for; it says where that leads.

    `port` is the demo's HTTP port. Raises ControlError where no socket can be had.
    """
    with _bound(port) as bound:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
        task_status.started()
        await trio.serve_listeners(partial(_answer, move), [listener])


async def _answer(move: Callable[[float], dict[str, float]], stream: trio.SocketStream) -> None:
    with trio.move_on_after(SECONDS):
        try:
            report = _obey(move, await _line(stream))
            await stream.send_all(msgspec.json.encode(report) + b"\n")
        except trio.BrokenResourceError:
            # Gone; where it has asked for a shock, it has had it.
            return


def _obey(move: Callable[[float], dict[str, float]], line: bytes) -> Report:
    try:
        shock = msgspec.json.decode(line, type=Shock)
    except msgspec.DecodeError as error:
        return Report(error=str(error))
    return Report(move(shock.fraction))


async def _line(stream: trio.SocketStream) -> bytes:
    """What comes before the first line end, the end of the stream or the limit."""
    data = b""
    while b"\n" not in data and len(data) <= LINE_BYTES:
        received = await stream.receive_some(LINE_BYTES)
        if not received:
            break
        data += received
    return data.partition(b"\n")[0]


async def send_shock(fraction: float, port: int | None = None) -> dict[str, float]:
    """Tell the demo at an HTTP port, or the only one; returns where its indices go.

    Raises ControlError where there is none, or several, or it does not answer.
    """
    with trio.move_on_after(SECONDS):
        demos = await _call(_ports() if port is None else [port])
        if len(demos) == 1:
            (stream,) = demos.values()
            async with stream:
                return await _tell(stream, fraction)
        for stream in demos.values():
            await stream.aclose()
        if demos:
            listed = ", ".join(map(str, demos))
            raise ControlError(f"several demos are running; choose one with --port: {listed}")
        where = "" if port is None else f" on port {port}"
        raise ControlError(f"no demo of yours is running{where}; start one with `tidegate demo`")
    raise ControlError("the demo does not answer")


def _ports() -> list[int]:
    """The HTTP ports of this user's demos, those that were killed among them."""
    numbers = (path.stem.removeprefix("demo-") for path in folder().glob("demo-*.sock"))
    return sorted(int(number) for number in numbers if number.isdigit())


async def _call(ports: Sequence[int]) -> dict[int, trio.SocketStream]:
    """Connections to the demos that are there."""
    found = {}
    for port in ports:
        try:
            found[port] = await trio.open_unix_socket(str(_address(port)))
        except OSError:
            # Nobody listens: it was killed, and has left its file.
            continue
    return found


async def _tell(stream: trio.SocketStream, fraction: float) -> dict[str, float]:
    try:
        await stream.send_all(msgspec.json.encode(Shock(fraction)) + b"\n")
        report = msgspec.json.decode(await _line(stream), type=Report)
    except (trio.BrokenResourceError, msgspec.DecodeError) as error:
        raise ControlError(f"the demo hung up: {error}") from error
    if report.error:
        raise ControlError(report.error)
    return report.prices
